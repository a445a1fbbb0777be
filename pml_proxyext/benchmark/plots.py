"""From results directories to figure files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pml_proxyext.benchmark.comparison import paired_differences
from pml_proxyext.benchmark.datasets import load_data
from pml_proxyext.benchmark.figures import (
    draw_curves,
    draw_differences,
    draw_projection,
    draw_ranks,
    draw_rejection,
    draw_scores,
)
from pml_proxyext.benchmark.ranks import average_ranks
from pml_proxyext.benchmark.recipes import RECIPES
from pml_proxyext.benchmark.rejection import RejectionCurve, nearest_neighbour_errors, rejection_curve
from pml_proxyext.benchmark.summaries import Summary

__all__ = ["write_figures"]

_PROJECTED_CLASSES = 12


def write_figures(summaries: Sequence[Summary], results: Sequence[Path], figures: Path) -> list[Path]:
    """Draw what the results allow, and return the files.

    Scores, scores over steps, average ranks and differences to the base need the result lines only. The projection and
    the rejection curve need the embeddings that runs leave in the results directory on the machine where they ran.
    Where there are several data sets, ranks and differences are over all of them, and the other figures have the name
    of their data set.

    Args:
        summaries: the methods.
        results: the directories that they come from.
        figures: where to write.
    """
    data = sorted({summary.data for summary in summaries})
    drawn: dict[str, Figure] = {}
    for one in data:
        on_one = [summary for summary in summaries if summary.data == one]
        suffix = f"_{one}" if len(data) > 1 else ""
        drawn |= {name + suffix: figure for name, figure in _figures_of_one_data_set(on_one, results).items()}
    ranking = average_ranks(summaries)
    if ranking is not None:
        drawn["average_rank"] = draw_ranks(ranking)
    differences = paired_differences(summaries, {recipe.name: recipe.compared_with for recipe in RECIPES.values()})
    if differences:
        drawn["differences"] = draw_differences(differences)
    figures.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        figure.savefig(figures / f"{name}.png")
    return [figures / f"{name}.png" for name in drawn]


def _figures_of_one_data_set(summaries: Sequence[Summary], results: Sequence[Path]) -> dict[str, Figure]:
    drawn: dict[str, Figure] = {}
    if any(summary.steps for summary in summaries):
        drawn["scores"] = draw_scores(summaries)
    if any(run.get("curve") for summary in summaries for run in summary.runs):
        drawn["scores_over_steps"] = draw_curves(summaries)
    with_embeddings = [summary for summary in summaries if _embeddings(summary, results)]
    projection = _projection(with_embeddings, results) if with_embeddings else None
    if projection is not None:
        drawn["projection"] = projection
    curves = [_mean_rejection(summary, results) for summary in with_embeddings if _norm_has_meaning(summary)]
    if curves:
        drawn["rejection"] = draw_rejection(curves)
    return drawn


def _embeddings(summary: Summary, results: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the stored arrays of each seed, of those that have them."""
    stored = []
    for path in (folder / "embeddings" / f"{run['key']}.npz" for run in summary.runs for folder in results):
        if path.exists():
            with np.load(path) as arrays:
                stored.append(dict(arrays))
    return stored


def _norm_has_meaning(summary: Summary) -> bool:
    """Tell whether the norm says how certain an image is: so for the nivMF family, and Proxy Anchor to compare."""
    loss = RECIPES[summary.recipe].loss if summary.recipe in RECIPES else None
    return loss is not None and loss.path.endswith((".NivMFLoss", ".ProxyAnchorLoss"))


def _mean_rejection(summary: Summary, results: Sequence[Path]) -> RejectionCurve:
    curves = [
        rejection_curve(
            summary.label, nearest_neighbour_errors(arrays["embeddings"], arrays["labels"]), arrays["norms"]
        )
        for arrays in _embeddings(summary, results)
    ]
    return RejectionCurve(summary.label, curves[0].rejected, np.mean([curve.error for curve in curves], axis=0))


def _projection(summaries: Sequence[Summary], results: Sequence[Path]) -> Figure | None:
    """Draw the untrained embeddings and those of the best method next to each other; None if there are no images."""
    first = summaries[0]
    evaluation = load_data(first.data, "validation" if first.split == "validation" else "test").evaluation
    shape = evaluation.sample(0).shape
    if len(shape) != 3 or shape[0] != 1:  # drawn as ink
        return None
    chosen = [*(summary for summary in summaries[1:] if not summary.steps), first]
    arrays = [_embeddings(summary, results)[0] for summary in chosen]
    labels = arrays[0]["labels"]
    shown = labels < _PROJECTED_CLASSES
    images = np.stack([evaluation.sample(int(index))[0].numpy() for index in np.flatnonzero(shown)])
    panels = [(summary.label, stored["embeddings"][shown]) for summary, stored in zip(chosen, arrays, strict=True)]
    return draw_projection(panels, images, labels[shown])
