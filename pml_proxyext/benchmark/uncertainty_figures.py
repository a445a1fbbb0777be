"""Figures of what norms know of errors. Each function returns a matplotlib Figure and leaves pyplot's state alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from pml_proxyext.benchmark.datasets.degraded import LEVELS
from pml_proxyext.benchmark.summaries import Estimate, Summary
from pml_proxyext.benchmark.uncertainty import CERTAINTIES, REJECTED
from pml_proxyext.benchmark.uncertainty_report import NORM_TRAINED

__all__ = ["draw_error_rejection", "draw_norms", "write_uncertainty_figures"]

# Okabe and Ito's colours, which colour-blind readers can tell apart. Lines are solid where the norm is trained.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_SHOWN = ("el_nivmf", "el_vmf", "b_vmf", "kl_vmf", "proxy_anchor", "supcon", "normalized_softmax", "cosine")
_TITLES = {"norm": "by the norm of the embedding", "similarity": "by the cosine with the nearest neighbour"}
_AXES = {
    "blur": "blur: standard deviation (pixels)",
    "occlusion": "occlusion: side of the square (pixels)",
    "mixture": "mixture: share of another class",
}


def write_uncertainty_figures(summaries: Sequence[Summary], folder: Path) -> list[Path]:
    """Write both figures into ``folder`` and return the files.

    They show the nivMF family and some losses that look at directions alone, if any of these is there; else all.
    """
    shown = [summary for summary in summaries if summary.recipe in _SHOWN] or summaries
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {"error_rejection": draw_error_rejection(shown), "norms": draw_norms(shown)}
    for name, figure in drawn.items():
        figure.savefig(folder / f"uncertainty_{name}.png")
    return [folder / f"uncertainty_{name}.png" for name in drawn]


def draw_error_rejection(summaries: Sequence[Summary]) -> Figure:
    """Draw the error among clean and degraded queries over the fraction turned away, for both certainties."""
    figure, panels = _panels(summaries, "Error of the nearest neighbour without the least certain queries", 2)
    for axes, certainty in zip(panels, CERTAINTIES, strict=True):
        for summary, style in _styled(summaries):
            errors = [run["rejection"][certainty] for run in summary.runs]
            axes.plot(100 * REJECTED, 100 * np.mean(errors, axis=0), label=summary.label, **style)
        axes.set(title=_TITLES[certainty], xlabel="queries turned away (percent)")
    panels[0].set(ylabel="error of the others (percent)", ylim=(0, None))
    return _with_legend(figure, panels)


def draw_norms(summaries: Sequence[Summary]) -> Figure:
    """Draw the median norm at each level of degradation in parts of the clean one, with the 95% interval as a band."""
    figure, panels = _panels(summaries, "Median norm of the embeddings, in parts of that of clean images", len(LEVELS))
    for axes, (kind, levels) in zip(panels, LEVELS.items(), strict=True):
        for summary, style in _styled(summaries):
            ratios = [Estimate.of(_ratios(summary, f"{kind}_{level:g}")) for level in levels]
            mean = np.array([1.0, *(ratio.mean for ratio in ratios)])
            half = np.nan_to_num([0.0, *(ratio.half_width for ratio in ratios)])
            axes.plot((0, *levels), mean, label=summary.label, marker="o", markersize=3, **style)
            axes.fill_between((0, *levels), mean - half, mean + half, color=style["color"], alpha=0.12, linewidth=0)
        axes.set_xlabel(_AXES[kind])
        axes.yaxis.set_major_locator(MultipleLocator(0.1))
    panels[0].set_ylabel("median norm (clean: 1)")
    return _with_legend(figure, panels)


def _ratios(summary: Summary, condition: str) -> list[float]:
    metrics = [run["metrics"] for run in summary.runs]
    return [each[f"{condition}/median_norm"] / each["clean/median_norm"] for each in metrics]


def _styled(summaries: Sequence[Summary]) -> Iterator[tuple[Summary, dict[str, Any]]]:
    counts = {True: 0, False: 0}
    for summary in summaries:
        is_trained = summary.recipe in NORM_TRAINED
        colour = _COLOURS[counts[is_trained] % len(_COLOURS)]
        counts[is_trained] += 1
        yield summary, {"linestyle": "-" if is_trained else "--", "color": colour}


def _panels(summaries: Sequence[Summary], title: str, count: int) -> tuple[Figure, npt.NDArray[Any]]:
    figure = Figure(figsize=(12, 4.5), dpi=150, layout="constrained")
    figure.suptitle(f"{summaries[0].data}, {summaries[0].split} classes. {title}")
    panels = figure.subplots(1, count, sharey=True)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _with_legend(figure: Figure, panels: npt.NDArray[Any]) -> Figure:
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        title="solid: the loss looks at the norm",
        loc="outside right upper",
        alignment="left",
        fontsize="small",
        title_fontsize="small",
        frameon=False,
    )
    return figure
