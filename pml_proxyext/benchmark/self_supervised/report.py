"""Tables and figures of what the losses learned from crops of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure

from pml_proxyext.benchmark.comparison import Difference, differences_table, paired_differences
from pml_proxyext.benchmark.experiments import figure_of, interval_text
from pml_proxyext.benchmark.inference import holm
from pml_proxyext.benchmark.report import provenance_line
from pml_proxyext.benchmark.search_report import search_table
from pml_proxyext.benchmark.self_supervised.methods import METHODS, UNTRAINED
from pml_proxyext.benchmark.summaries import METRIC_NAMES, RANKED_BY, summarise
from pml_proxyext.benchmark.tables import TextTable

__all__ = ["best_settings", "differences", "draw", "draw_search", "gains", "scores", "search"]

_Records = Sequence[dict[str, Any]]

_COLUMNS = (RANKED_BY, "precision_at_1", "subgroup_accuracy")
_ORDER = [*METHODS, *UNTRAINED]


def scores(records: _Records) -> TextTable:
    """Return a row for each method with its scores, its loss and the cost of a step, in the order of the methods."""
    summaries = sorted(summarise(records), key=lambda summary: _ORDER.index(summary.recipe))
    rows = []
    for summary in summaries:
        cells = [interval_text([run["metrics"][name] for run in summary.runs], 1, 100) for name in _COLUMNS]
        loss = interval_text([run["metrics"]["loss"] for run in summary.runs], 2) if summary.steps else ""
        cost = "" if summary.ms_per_step is None else f"{summary.ms_per_step:.0f}"
        rows.append([summary.title, *cells, loss, cost, str(len(summary.runs))])
    parts = [
        "percent, and the loss in the last 20 steps; mean ± 95% interval over seeds (Student's t)",
        "ms/step: CPU time of a training step",
    ]
    header = ["Method", *(METRIC_NAMES[name] for name in _COLUMNS), "Loss", "ms/step", "Seeds"]
    return TextTable(header, rows, provenance_line(summaries, parts), words=("Method",))


def differences(records: _Records) -> list[Difference]:
    """Return every method minus each of those that it is compared with, corrected for all comparisons."""
    summaries, found = summarise(records), []
    for base in METHODS:
        found += paired_differences(
            summaries, {name: base for name, one in METHODS.items() if base in one.compared_with}
        )
    adjusted = holm([difference.p_value for difference in found])
    return [replace(difference, adjusted_p=p) for difference, p in zip(found, adjusted, strict=True)]


def gains(records: _Records) -> TextTable:
    """Return a row for each comparison, seed by seed."""
    return differences_table(differences(records), metrics=_COLUMNS)


def draw(records: _Records) -> Figure:
    """Draw retrieval and probe of every seed, a row for each method, with a line at their mean."""
    shown = (RANKED_BY, "subgroup_accuracy")
    panels = ["MAP@R: emoji held out", "Probe: subgroups of emoji held out"]
    figure, both = figure_of("Learned from crops without labels (percent): seeds, and their mean", panels)
    names = [name for name in _ORDER if any(record["recipe"] == name for record in records)]
    for axes, metric in zip(both, shown, strict=True):
        for row, name in enumerate(names):
            values = [100 * record["metrics"][metric] for record in records if record["recipe"] == name]
            axes.plot(values, [row] * len(values), "o", color="black", alpha=0.5, markersize=4)
            axes.plot([sum(values) / len(values)] * 2, [row - 0.3, row + 0.3], color="#D55E00")
        axes.set(yticks=[], ylim=(len(names) - 0.5, -0.5))
    both[0].set_yticks(range(len(names)), [(METHODS | UNTRAINED)[name].title for name in names])
    return figure


def search(records: _Records) -> TextTable:
    """Return a row for each method with what its search did."""
    return search_table(records, best_settings(records))


def draw_search(records: _Records) -> Figure:
    """Draw the score of every trial over its temperature, a line for each method."""
    figure, (axes,) = figure_of("MAP@R on validation classes of all trials (percent)", [""])
    for (name, method), marker in zip(METHODS.items(), "ovs^D", strict=True):
        trials = sorted((r for r in records if r["recipe"] == name), key=lambda one: one["temperature"])
        values = [100 * trial["metrics"][RANKED_BY] for trial in trials]
        axes.plot([trial["temperature"] for trial in trials], values, marker=marker, markersize=4, label=method.title)
    axes.set(xscale="log", xlabel="temperature; learning rates differ, too")
    axes.set_xticks([0.1, 0.2, 0.4], labels=["0.1", "0.2", "0.4"])
    axes.set_xticks([], minor=True)
    figure.set_figwidth(7)  # for the legend
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


def best_settings(records: _Records) -> Mapping[str, dict[str, Any]]:
    """Return the settings of the best trial of each method by MAP@R; one that diverged is the worst."""
    best: dict[str, dict[str, Any]] = {}
    for summary in summarise(records):  # the best comes first
        best.setdefault(summary.recipe, summary.overrides)
    return best
