"""What the search for settings did: trials, scores on validation classes, choices and cost of each method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pml_proxyext.benchmark.report import provenance_line
from pml_proxyext.benchmark.summaries import METRIC_NAMES, Summary, summarise
from pml_proxyext.benchmark.tables import TextTable

__all__ = ["search_table"]


def search_table(records: Iterable[dict[str, Any]], chosen: Mapping[str, Mapping[str, Any]]) -> TextTable:
    """Return one row for each method searched, the best found first.

    A trial is a setting; several seeds of it count as one, with their mean score. A trial that diverged counts, below
    all others. The distance from the median trial to the best says how much a method depends on its settings.

    Args:
        records: the runs of the search, all on one data set.
        chosen: from the name of a recipe to the settings that it is used with from now on.

    Raises:
        ValueError: if there are no runs, or runs on several data sets or splits.
    """
    summaries = [summary for summary in summarise(records) if summary.steps]  # no search without training
    places = sorted({(summary.data, summary.split) for summary in summaries})
    if len(places) != 1:
        raise ValueError(f"records must be runs on one data set and split, got {places}")
    trials: dict[str, list[Summary]] = defaultdict(list)
    for summary in summaries:  # the best comes first, and so does its method
        trials[summary.recipe].append(summary)
    metric = METRIC_NAMES[summaries[0].ranked_by]
    columns = {
        "Method": [of_one[0].title for of_one in trials.values()],
        "Trials": [str(len(of_one)) for of_one in trials.values()],
        f"Best {metric}": [_percent(of_one[0].score.mean) for of_one in trials.values()],
        f"Median {metric}": [_percent(_median(of_one)) for of_one in trials.values()],
        "Chosen": [_settings(chosen.get(recipe, {})) for recipe in trials],
        "CPU seconds": [_cpu_seconds(of_one) for of_one in trials.values()],
    }
    runs = sum(len(summary.runs) for summary in summaries)
    caption = provenance_line(summaries, ["percent, over trials", f"{runs} runs"])
    return TextTable(list(columns), list(zip(*columns.values(), strict=True)), caption, words=("Method", "Chosen"))


def _median(trials: list[Summary]) -> float:
    scores = sorted(float(np.nan_to_num(trial.score.mean, nan=-np.inf)) for trial in trials)
    middle = float(np.median(scores))
    return middle if np.isfinite(middle) else float("nan")


def _percent(score: float) -> str:
    return f"{100 * score:.1f}"


def _settings(overrides: Mapping[str, Any]) -> str:
    values = {key: f"{value:.3g}" if isinstance(value, float) else str(value) for key, value in overrides.items()}
    return ", ".join(f"{key}={value}" for key, value in values.items()) or "defaults"


def _cpu_seconds(trials: list[Summary]) -> str:
    """Return the sum over all runs, or nothing if one of them does not say: a sum of some would be too small."""
    runs = [run for trial in trials for run in trial.runs]
    if any("cpu_seconds" not in run for run in runs):
        return ""
    return f"{sum(run['cpu_seconds'] for run in runs):.0f}"
