"""Tables and the figure of what the losses did on two modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pml_proxyext.benchmark.comparison import Difference, differences_table, paired_differences
from pml_proxyext.benchmark.experiments import figure_of, interval_text
from pml_proxyext.benchmark.figures import draw_differences
from pml_proxyext.benchmark.report import provenance_line
from pml_proxyext.benchmark.search_report import search_table
from pml_proxyext.benchmark.summaries import RANKED_BY_ACROSS, Summary, summarise
from pml_proxyext.benchmark.tables import TextTable
from pml_proxyext.benchmark.two_views.methods import METHODS, PLAIN

__all__ = ["best_settings", "draw", "draw_search", "gains", "scores", "search", "search_gains"]

_Records = Sequence[dict[str, Any]]

_COLUMNS = {"recall_at_1": "R@1", "recall_at_5": "R@5", "recall_at_10": "R@10", "median_rank": "MdR"}
_COLUMNS["mean_average_precision"] = "mAP"


def scores(records: _Records, direction: str, name: str) -> TextTable:
    """Return a row for each method with what it reaches in one direction, in the order of the methods.

    Args:
        records: finished runs.
        direction: ``"a_to_b"`` or ``"b_to_a"``.
        name: what the caption calls it.
    """
    summaries = sorted(summarise(records), key=lambda summary: list(METHODS).index(summary.recipe))
    rows = [[summary.label, *(_cell(summary, direction, metric) for metric in _COLUMNS)] for summary in summaries]
    parts = [name, f"percent, and median rank (MdR); mean ± 95% interval over {_seeds(summaries)} seeds (Student's t)"]
    return TextTable(["Method", *_COLUMNS.values()], rows, provenance_line(summaries, parts), words=("Method",))


def _cell(summary: Summary, direction: str, metric: str) -> str:
    values = [run["metrics"][f"{direction}_{metric}"] for run in summary.runs]
    return interval_text(values, digits=1, factor=1 if metric == "median_rank" else 100)


def _seeds(summaries: Sequence[Summary]) -> str:
    return " or ".join(map(str, sorted({len(summary.runs) for summary in summaries})))


def gains(records: _Records) -> TextTable:
    """Return a row for each comparison of means over both directions, seed by seed."""
    return differences_table(_differences(records), metrics=("mean_average_precision", "recall_at_1", "recall_at_10"))


def draw(records: _Records) -> Figure:
    """Draw the same comparisons."""
    return draw_differences(_differences(records))


def _differences(records: _Records) -> list[Difference]:
    return paired_differences(summarise(records), {name: method.compared_with for name, method in METHODS.items()})


def search(records: _Records) -> TextTable:
    """Return a row for each method with what its search did."""
    return search_table(records, best_settings(records))


def search_gains(records: _Records) -> TextTable:
    """Return what each addition to CrossCLR's contrast changes, trial by trial, where all else is the same.

    A choice of settings has a part in the scores on test classes; here none is chosen.
    """
    found: dict[str, list[float]] = {}
    for record in records:  # in the order of the trials
        found.setdefault(record["recipe"], []).append(100 * record["metrics"][RANKED_BY_ACROSS])
    rows = []
    for name, method in METHODS.items():
        if name in found and method.compared_with == PLAIN:
            changes = np.subtract(found[name], found[PLAIN])
            cells = [f"{value:+.2f}" for value in (changes.mean(), np.median(changes), changes.min(), changes.max())]
            rows.append([method.title, *cells, f"{(changes > 0).sum()} of {len(changes)}"])
    header = ["Method", "Mean", "Median", "Lowest", "Highest", "Above 0"]
    parts = [f"mAP minus that of {METHODS[PLAIN].title} in the same trial, in points"]
    return TextTable(header, rows, provenance_line(summarise(records), parts), words=("Method",))


def draw_search(records: _Records) -> Figure:
    """Draw the score of every trial, a row for each method."""
    figure, (axes,) = figure_of("mAP on validation classes of all trials (percent)", [""])
    for row, (name, method) in enumerate(METHODS.items()):
        values = [100 * r["metrics"]["mean_average_precision"] for r in records if r["recipe"] == name]
        axes.plot(values, [row] * len(values), "o", color="black", alpha=0.5, markersize=4)
        axes.text(-0.02, row, method.title, transform=axes.get_yaxis_transform(), ha="right", va="center")
    axes.set(yticks=[], ylim=(len(METHODS) - 0.5, -0.5))
    return figure


def best_settings(records: _Records) -> Mapping[str, dict[str, Any]]:
    """Return the settings of the best trial of each method by mAP; one that diverged is the worst."""
    best: dict[str, dict[str, Any]] = {}
    for summary in summarise(records):  # the best comes first
        best.setdefault(summary.recipe, summary.overrides)
    return best
