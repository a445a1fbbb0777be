"""Figures of results. Each function returns a matplotlib Figure and leaves pyplot's global state alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, product
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from sklearn.manifold import TSNE

from pml_proxyext.benchmark.rejection import RejectionCurve
from pml_proxyext.benchmark.summaries import Estimate, Summary

__all__ = ["draw_bars", "draw_curves", "draw_projection", "draw_rejection"]

# Okabe and Ito's colours, which colour-blind readers can tell apart; yellow is left out as too pale for lines.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", ":")
_SCORE = "mean_average_precision_at_r"


def _styles() -> Any:
    return cycle([{"linestyle": line, "color": colour} for line, colour in product(_LINES, _COLOURS)])


def _axes(title: str, width: float = 7.0, height: float = 4.5) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    figure.suptitle(title)  # over the figure: beside long labels the axes are too narrow for it
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def draw_bars(summaries: Sequence[Summary]) -> Figure:
    """Draw MAP@R of each method with its 95% confidence interval, and the untrained score as a line."""
    methods = [summary for summary in summaries if summary.recipe != "untrained"][::-1]
    title = f"{summaries[0].data}, {summaries[0].split} classes: MAP@R, mean and 95% interval"
    figure, axes = _axes(title, height=1.5 + 0.28 * len(methods))
    for summary in summaries:
        if summary.recipe == "untrained":
            axes.axvline(100 * summary.score.mean, color="black", linestyle="--", linewidth=1, label=summary.label)
            axes.legend(loc="lower right", frameon=False)
    labels = [f"{summary.label}  (n = {summary.score.count})" for summary in methods]
    means = [100 * summary.score.mean for summary in methods]
    errors = [100 * summary.score.half_width for summary in methods]  # NaN draws nothing
    axes.barh(range(len(methods)), means, xerr=errors, color=_COLOURS[5], error_kw={"capsize": 3, "elinewidth": 1})
    axes.set_yticks(range(len(methods)), labels)
    axes.set_xlabel("MAP@R (percent)")
    return figure


def draw_curves(summaries: Sequence[Summary]) -> Figure:
    """Draw MAP@R over the steps of training: the mean, and the 95% interval as a band."""
    figure, axes = _axes(f"{summaries[0].data}, {summaries[0].split} classes: MAP@R while training", width=8.5)
    for summary, style in zip(summaries, _styles(), strict=False):
        curves = [run["curve"] for run in summary.runs if run.get("curve")]
        if not curves:
            continue
        steps = [step for step, _ in curves[0]]
        points = [Estimate.of([curve[i][1][_SCORE] for curve in curves]) for i in range(len(steps))]
        mean = np.array([100 * point.mean for point in points])
        half = np.nan_to_num([100 * point.half_width for point in points])
        axes.plot(steps, mean, label=summary.label, marker="o", markersize=3, **style)
        axes.fill_between(steps, mean - half, mean + half, color=style["color"], alpha=0.12, linewidth=0)
    axes.set_xlabel("steps")
    axes.set_ylabel("MAP@R (percent)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize="small", frameon=False)
    return figure


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
