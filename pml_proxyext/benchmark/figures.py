"""Figures of results. Each function returns a matplotlib Figure and leaves pyplot's global state alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, product
from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.ticker import MaxNLocator, SymmetricalLogLocator
from sklearn.manifold import TSNE

from pml_proxyext.benchmark.comparison import Difference
from pml_proxyext.benchmark.ranks import Ranking
from pml_proxyext.benchmark.rejection import RejectionCurve
from pml_proxyext.benchmark.summaries import METRIC_NAMES, RANKED_BY, Estimate, Summary

__all__ = ["draw_curves", "draw_differences", "draw_projection", "draw_ranks", "draw_rejection", "draw_scores"]

_Floats = npt.NDArray[np.floating[Any]]

# Okabe and Ito's colours, which colour-blind readers can tell apart; yellow is left out as too pale for lines.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", ":")
_PANELS_IN_A_ROW = 4  # of curves: readable at the width of a page


def _styles() -> Any:
    return cycle([{"linestyle": line, "color": colour} for line, colour in product(_LINES, _COLOURS)])


def _axes(title: str, width: float = 7.0, height: float = 4.5) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    _set_title(figure, title)
    return figure, axes


def _set_title(figure: Figure, title: str) -> None:
    figure.suptitle(title, x=0.01, horizontalalignment="left", fontsize="medium")  # long labels leave axes too narrow


def _rows(title: str, labels: Sequence[str]) -> tuple[Figure, Any]:
    """Return axes with a row for each label, the first on top, as high as the labels need."""
    wrapped = [fill(label, 50) for label in labels]
    lines = max(label.count("\n") + 1 for label in wrapped)
    figure, axes = _axes(title, height=1.2 + len(labels) * max(0.25, 0.16 * lines))
    axes.set_yticks(range(len(labels)), wrapped, fontsize=9)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def _dots(axes: Any, means: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> None:
    """Draw a dot in each row, with the interval where there is one."""
    rows = range(len(means))
    axes.hlines(rows, lows, highs, color=_COLOURS[0], linewidth=1.5)  # NaN draws nothing
    axes.plot(means, rows, "o", color=_COLOURS[0], markersize=6)
    axes.set_axisbelow(True)
    axes.grid(color="0.85", linewidth=0.6)


def draw_scores(summaries: Sequence[Summary]) -> Figure:
    """Draw a bar for MAP@R of each method, with its 95% confidence interval and in figures; untrained ones as lines."""
    methods = [summary for summary in summaries if summary.steps]
    title = f"{summaries[0].data}, {summaries[0].split} classes: mean MAP@R and 95% interval"
    figure, axes = _rows(title, [summary.label for summary in methods])
    means = [100 * summary.score.mean for summary in methods]
    errors = [100 * summary.score.half_width for summary in methods]  # NaN draws nothing
    axes.barh(range(len(methods)), means, xerr=errors, color=_COLOURS[5], error_kw={"capsize": 2, "elinewidth": 1})
    for row, summary in enumerate(methods):
        text = f" {summary.score}  (n = {summary.score.count})"
        axes.text(1.0, row, text, transform=axes.get_yaxis_transform(), verticalalignment="center", fontsize="small")
    for summary, style in zip((s for s in summaries if not s.steps), cycle(_LINES[1:]), strict=False):
        axes.axvline(100 * summary.score.mean, color="black", linestyle=style, linewidth=1, label=summary.label)
    if len(methods) < len(summaries):
        figure.legend(loc="outside lower left", frameon=False, fontsize="small")
    axes.set_xlabel("MAP@R (percent)")
    return figure


def draw_ranks(ranking: Ranking) -> Figure:
    """Draw the average rank of each method with its 95% interval, the best on top."""
    place = f"{' and '.join(ranking.data)}: {ranking.blocks} blocks of a data set and a seed"
    title = f"Average rank by MAP@R, with 95% interval\n{place}"
    figure, axes = _rows(title, [method.name for method in ranking.methods])
    columns = [(method.rank, method.low, method.high) for method in ranking.methods]
    _dots(axes, *zip(*columns, strict=True))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("average rank (1 is best)" + ("" if np.isnan(ranking.p_value) else _friedman(ranking.p_value)))
    return figure


def _friedman(p_value: float) -> str:
    return f"; Friedman test: p {'< 0.001' if p_value < 0.001 else f'= {p_value:.3f}'}"


def draw_differences(differences: Sequence[Difference]) -> Figure:
    """Draw what each method gains over its base, with the 95% interval over paired seeds."""
    metric = METRIC_NAMES[differences[0].method.ranked_by]
    title = f"Gain in {metric} over the base, mean and 95% interval over paired seeds"
    labels = [f"{difference.method.label} vs {difference.base.label}" for difference in differences]
    if len({difference.method.data for difference in differences}) > 1:
        labels = [f"{label}, {difference.method.data}" for label, difference in zip(labels, differences, strict=True)]
    figure, axes = _rows(title, labels)
    changes = [difference.gain for difference in differences]
    columns = [(100 * change.mean, 100 * change.low, 100 * change.high) for change in changes]
    axes.axvline(0, color="black", linewidth=1)
    _dots(axes, *zip(*columns, strict=True))
    # One method that fails would squeeze the others, whose differences are fractions of a point, into one line.
    axes.set_xscale("symlog", linthresh=1)
    axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1, subs=(1, 3)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(f"difference of {metric} (points, log beyond 1)")
    return figure


def draw_curves(summaries: Sequence[Summary]) -> Figure:
    """Draw MAP@R over the steps of training, a panel for each method: the mean, and the 95% interval as a band.

    Grey lines are the other methods.
    """
    shown = [summary for summary in summaries if any(run.get("curve") for run in summary.runs)]
    curves = [_mean_curve(summary) for summary in shown]
    columns = min(_PANELS_IN_A_ROW, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(2.1 * columns + 0.5, 1.55 * rows + 0.8), dpi=150, layout="constrained")
    _set_title(figure, f"{summaries[0].data}, {summaries[0].split} classes: MAP@R (percent) over training steps")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for index, axes in enumerate(panels):
        axes.set_visible(index < len(curves))
        axes.tick_params(labelbottom=index + columns >= len(curves))  # the lowest visible one of each column
    for axes, summary, (steps, mean, half) in zip(panels, shown, curves, strict=False):
        for other_steps, other, _ in curves:
            axes.plot(other_steps, other, color="0.85", linewidth=0.7)
        axes.plot(steps, mean, color=_COLOURS[0], linewidth=1.6)
        axes.fill_between(steps, mean - half, mean + half, color=_COLOURS[0], alpha=0.25, linewidth=0)
        axes.set_title(fill(summary.label, 36), fontsize=8, loc="left")
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _mean_curve(summary: Summary) -> tuple[list[int], _Floats, _Floats]:
    """Return steps, means, and half widths of the intervals, 0 where there is none."""
    curves = [run["curve"] for run in summary.runs if run.get("curve")]
    points = [Estimate.of([scores[RANKED_BY] for _, scores in point]) for point in zip(*curves, strict=True)]
    half = np.nan_to_num([100 * point.half_width for point in points])
    return [step for step, _ in curves[0]], np.array([100 * point.mean for point in points]), half


def draw_rejection(curves: Sequence[RejectionCurve]) -> Figure:
    """Draw the error of the nearest neighbour when the queries with the shortest embeddings are turned away."""
    figure, axes = _axes("Error of the nearest neighbour without the queries of smallest norm", width=8.5)
    for curve, style in zip(curves, _styles(), strict=False):
        axes.plot(100 * curve.rejected, 100 * curve.error, label=curve.label, **style)
    axes.set_xlabel("queries rejected (percent)")
    axes.set_ylabel("1 - R@1 of the others (percent)")
    axes.set_ylim(bottom=0)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize="small", frameon=False)
    return figure


def draw_projection(
    panels: Sequence[tuple[str, npt.NDArray[np.floating[Any]]]],
    images: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.int64],
) -> Figure:
    """Draw t-SNE maps of the same images, one for each embedding, with the images as marks.

    Args:
        panels: a title and ``(N, D)`` embeddings for each map.
        images: ``(N, H, W)`` in [0, 1], 1 being ink.
        labels: ``(N,)``; neighbouring ones get different colours.
    """
    figure = Figure(figsize=(6 * len(panels), 6), dpi=150, layout="constrained")
    figure.suptitle("t-SNE of images of classes not seen in training")
    colours = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in _COLOURS])
    for axes, (title, embeddings) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        perplexity = min(15.0, (len(labels) - 1) / 3)
        tsne = TSNE(perplexity=perplexity, init="pca", metric="cosine", random_state=0)
        places = tsne.fit_transform(embeddings.astype(np.float32))
        axes.scatter(*places.T, s=0)
        for place, image, label in zip(places, images, labels, strict=True):
            ink = np.empty((*image.shape, 4))
            ink[..., :3], ink[..., 3] = colours[label % len(colours)], image
            axes.add_artist(AnnotationBbox(OffsetImage(ink, zoom=0.35), place, frameon=False))
        axes.set(title=title, xticks=[], yticks=[])
    return figure
