"""Paired differences: what a method gains over its base, seed by seed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pml_proxyext.benchmark.evaluation import METRICS
from pml_proxyext.benchmark.inference import bootstrap_interval, holm, paired_p_value
from pml_proxyext.benchmark.report import provenance_line
from pml_proxyext.benchmark.summaries import METRIC_NAMES, Summary
from pml_proxyext.benchmark.tables import TextTable

__all__ = ["Change", "Difference", "differences_table", "paired_differences"]


@dataclass(frozen=True)
class Change:
    """The mean difference of a metric, with its 95% interval (NaN where there are too few seeds for one)."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return points of percent."""
        mean, low, high = (f"{100 * value:+.2f}".replace("+nan", "nan") for value in (self.mean, self.low, self.high))
        return mean if math.isnan(self.low) else f"{mean} [{low}, {high}]"


@dataclass(frozen=True)
class Difference:
    """A method minus its base, on the seeds that both have.

    Attributes:
        method: the method.
        base: what it is compared with.
        seeds: the seeds that both have.
        changes: by metric.
        p_value: of the paired t test on the metric that the method is ranked by.
        adjusted_p: the same after Holm's correction over all comparisons made together.
    """

    method: Summary
    base: Summary
    seeds: list[int]
    changes: dict[str, Change]
    p_value: float
    adjusted_p: float

    @property
    def gain(self) -> Change:
        """The change of the metric that the method is ranked by."""
        return self.changes[self.method.ranked_by]


def paired_differences(summaries: Sequence[Summary], bases: Mapping[str, str | None]) -> list[Difference]:
    """Compare each method with its base; the largest gain comes first, NaN last.

    Runs of one seed share initial weights and data, so that their difference varies less than either. Only runs on the
    same data and split, with as many steps, in the same environment are compared. If the base is there with several
    settings, it is the one with the method's overrides; else the one with the most seeds in common; of several
    equally good choices, the one that scores best, so that a gain is never one over a base left untuned.

    Args:
        summaries: methods and bases.
        bases: from the name of a recipe to that of the recipe it is compared with, ``Recipe.compared_with``.

    Returns:
        one entry for each method that has a base with a seed in common.
    """
    found = []
    for method in summaries:
        named = [base for base in summaries if base.recipe == bases.get(method.recipe)]
        candidates = [base for base in named if _place(base) == _place(method) and _common_seeds(method, base)]
        if candidates:
            found.append(_difference(method, max(candidates, key=lambda base: _preference(method, base))))
    adjusted = holm([difference.p_value for difference in found])
    found = [replace(difference, adjusted_p=p) for difference, p in zip(found, adjusted, strict=True)]
    return sorted(found, key=lambda difference: np.nan_to_num(-difference.gain.mean, nan=np.inf))


def _place(summary: Summary) -> tuple[str, str, int, str]:
    return summary.data, summary.split, summary.steps, json.dumps(summary.environment, sort_keys=True)


def _common_seeds(method: Summary, base: Summary) -> list[int]:
    return sorted({run["seed"] for run in method.runs} & {run["seed"] for run in base.runs})


def _preference(method: Summary, base: Summary) -> tuple[bool, bool, int, float]:
    same = base.overrides == method.overrides, base.is_tuned == method.is_tuned
    return *same, len(_common_seeds(method, base)), float(np.nan_to_num(base.score.mean, nan=-1.0))


def _difference(method: Summary, base: Summary) -> Difference:
    seeds = _common_seeds(method, base)
    scores = [{run["seed"]: run["metrics"] for run in summary.runs} for summary in (method, base)]
    pairs = {
        name: [scores[0][seed][name] - scores[1][seed][name] for seed in seeds]
        for name in method.metrics
        if name in base.metrics
    }
    changes = {name: Change(float(np.mean(pair)), *bootstrap_interval(pair)) for name, pair in pairs.items()}
    return Difference(method, base, seeds, changes, paired_p_value(pairs[method.ranked_by]), math.nan)


def differences_table(
    differences: Sequence[Difference], recipes: Sequence[str] | None = None, metrics: Sequence[str] = METRICS
) -> TextTable:
    """Return one row for each comparison.

    Args:
        differences: all that were made. P-values are corrected for all of them, whichever are shown.
        recipes: the methods to show; None for all.
        metrics: those to show.

    Raises:
        ValueError: if none is left.
    """
    tests = sum(not math.isnan(difference.p_value) for difference in differences)
    differences = [difference for difference in differences if not recipes or difference.method.recipe in recipes]
    if not differences:
        raise ValueError(f"there must be a method and its base with a seed in common, got none for {recipes=}")
    methods = [difference.method for difference in differences]
    several_data = len({method.data for method in methods}) > 1
    several_steps = len({method.steps for method in methods}) > 1
    columns = {
        "Method": [method.label for method in methods],
        "Compared with": [difference.base.label for difference in differences],
        **({"Data": [method.data for method in methods]} if several_data else {}),
        **({"Steps": [str(method.steps) for method in methods]} if several_steps else {}),
        **{METRIC_NAMES[name]: [str(d.changes.get(name, "")) for d in differences] for name in metrics},
        "p (Holm)": [_p_text(difference.adjusted_p) for difference in differences],
        "Seeds": [str(len(difference.seeds)) for difference in differences],
    }
    parts = [
        "difference in points, mean over paired seeds [95% bootstrap-t interval]",
        f"p of a paired t test on {METRIC_NAMES[methods[0].ranked_by]}, corrected by Holm for {tests} comparisons",
    ]
    caption = provenance_line([*methods, *(difference.base for difference in differences)], parts)
    rows = list(zip(*columns.values(), strict=True))
    return TextTable(list(columns), rows, caption, words=("Method", "Compared with", "Data"))


def _p_text(p: float) -> str:
    if math.isnan(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
