"""From result lines to methods: the seeds of each gathered, with the mean and 95% confidence interval of its scores."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

__all__ = ["METRIC_NAMES", "RANKED_BY", "RANKED_BY_ACROSS", "Estimate", "Summary", "select", "summarise"]

#: What tables call the metrics.
METRIC_NAMES = {
    "precision_at_1": "R@1",
    "r_precision": "R-precision",
    "mean_average_precision_at_r": "MAP@R",
    "NMI": "NMI",
    "mean_average_precision": "mAP",
    "recall_at_1": "R@1",
    "recall_at_10": "R@10",
    "subgroup_accuracy": "Probe",
}
#: The metric that methods are ordered by.
RANKED_BY = "mean_average_precision_at_r"
#: The same where queries and references are of two modalities.
RANKED_BY_ACROSS = "mean_average_precision"


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, with half the width of its 95% confidence interval (NaN for a single seed)."""

    mean: float
    half_width: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Estimate the mean by Student's t: scores of different seeds are taken as independent and near normal.

        Example:
            >>> print(Estimate.of([0.1, 0.2, 0.3]))
            20.0 ± 24.8
        """
        count = len(values)
        if count < 2:
            return cls(float(values[0]), math.nan, count)
        quantile = stats.t.ppf(0.975, count - 1)
        return cls(float(np.mean(values)), float(quantile * stats.sem(values)), count)

    def __str__(self) -> str:
        """Return percent, as papers do."""
        if math.isnan(self.half_width):
            return f"{100 * self.mean:.1f}"
        return f"{100 * self.mean:.1f} ± {100 * self.half_width:.1f}"


@dataclass(frozen=True)
class Summary:
    """All seeds of one method with the same settings, on the same data, in the same environment."""

    recipe: str
    label: str
    data: str
    split: str
    steps: int
    metrics: dict[str, Estimate]
    runs: list[dict[str, Any]]

    @property
    def ranked_by(self) -> str:
        """Name of the metric that tables and figures rank by: MAP@R, or mAP across modalities."""
        return RANKED_BY_ACROSS if RANKED_BY_ACROSS in self.metrics else RANKED_BY

    @property
    def score(self) -> Estimate:
        """The metric that tables and figures rank by."""
        return self.metrics[self.ranked_by]

    @property
    def title(self) -> str:
        """What the recipe is called, whatever the settings."""
        return str(self.runs[0].get("title", self.recipe))

    @property
    def overrides(self) -> dict[str, Any]:
        """The settings that replaced the recipe's."""
        return dict(self.runs[0].get("overrides", {}))

    @property
    def is_tuned(self) -> bool:
        """Whether a search chose the settings."""
        return bool(self.runs[0].get("tuned"))

    @property
    def environment(self) -> dict[str, Any] | None:
        """The versions and machine of the runs; None for lines that do not say."""
        return self.runs[0].get("environment")

    @property
    def ms_per_step(self) -> float | None:
        """Mean CPU milliseconds of a training step; None if untrained, or if no line says."""
        costs = [1000 * run["cpu_seconds_training"] / self.steps for run in self.runs if _has_cost(run)]
        return float(np.mean(costs)) if costs else None


def _has_cost(run: dict[str, Any]) -> bool:
    return run["steps"] > 0 and run.get("cpu_seconds_training") is not None


def select(
    records: Iterable[dict[str, Any]], split: str, smoke: bool = False, recipes: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Return the records of one split; untrained lines are among them whatever ``recipes`` says.

    Raises:
        ValueError: if none is left.
    """
    chosen = [
        record
        for record in records
        if record["split"] == split
        and record.get("smoke", False) == smoke
        and (not recipes or record["recipe"] in recipes or record["steps"] == 0)
    ]
    if not chosen:
        raise ValueError(f"there must be a finished run, got none for {split=}, {smoke=}, {recipes=}")
    return chosen


def summarise(records: Iterable[dict[str, Any]]) -> list[Summary]:
    """Gather the seeds of each method with the same settings; the best score comes first, NaN last.

    A metric that some of the seeds lack is left out. Results with settings from a search, from before a recipe was
    changed, from other versions or from another machine stand apart, and labels say in which of these they differ.
    """
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        identity = [record[name] for name in ("recipe", "data", "split", "steps")]
        identity += [record.get("overrides", {}), bool(record.get("tuned")), record.get("settings")]
        identity.append(record.get("environment"))
        groups[json.dumps(identity, sort_keys=True)].append(record)
    alike: dict[tuple[str, str, str, int], list[Summary]] = defaultdict(list)
    for runs in groups.values():
        summary = _summary(runs)
        alike[summary.label, summary.data, summary.split, summary.steps].append(summary)
    summaries = [
        replace(summary, label=summary.label + mark)
        for group in alike.values()
        for summary, mark in zip(group, _marks(group), strict=True)
    ]
    return sorted(summaries, key=lambda summary: -float(np.nan_to_num(summary.score.mean, nan=-1.0)))


def _summary(runs: list[dict[str, Any]]) -> Summary:
    first = runs[0]
    common = [name for name in METRIC_NAMES if all(name in run["metrics"] for run in runs)]
    metrics = {name: Estimate.of([run["metrics"][name] for run in runs]) for name in common}
    overrides = ", ".join(f"{key}={value}" for key, value in first.get("overrides", {}).items())
    label = first.get("title", first["recipe"]) + (f" ({overrides})" if overrides else "")
    return Summary(first["recipe"], label, first["data"], first["split"], first["steps"], metrics, runs)


def _marks(alike: Sequence[Summary]) -> list[str]:
    """Return what tells summaries of one label apart, for each of them."""
    changed = [str(summary.runs[0].get("settings") or "unknown")[:7] for summary in alike]
    settings = {(summary.is_tuned, setting) for summary, setting in zip(alike, changed, strict=True)}
    tuned = Counter(is_tuned for is_tuned, _ in settings)
    known = [summary.environment for summary in alike if summary.environment is not None]
    names = {name for environment in known for name in environment}
    varying = sorted(name for name in names if any(e.get(name) != known[0].get(name) for e in known))
    marks = []
    for summary, setting in zip(alike, changed, strict=True):
        parts = ["tuned" if summary.is_tuned else "not tuned"] if len(tuned) > 1 else []
        parts += [f"settings {setting}"] if tuned[summary.is_tuned] > 1 else []
        if summary.environment is not None:
            parts += [f"{name} {summary.environment.get(name, 'unknown')}" for name in varying]
        elif known:
            parts.append("environment unknown")
        marks.append(f" [{', '.join(parts)}]" if parts else "")
    return marks
