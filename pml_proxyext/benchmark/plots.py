"""From a results directory to figure files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pml_proxyext.benchmark.datasets import load_data
from pml_proxyext.benchmark.figures import draw_bars, draw_curves, draw_projection, draw_rejection
from pml_proxyext.benchmark.recipes import RECIPES
from pml_proxyext.benchmark.rejection import RejectionCurve, nearest_neighbour_errors, rejection_curve
from pml_proxyext.benchmark.summaries import Summary

__all__ = ["write_figures"]

_PROJECTED_CLASSES = 12


def write_figures(summaries: Sequence[Summary], results: Path, figures: Path) -> list[Path]:
    """Draw what the results allow, and return the files.

    Bars and curves need the result lines only; the projection and the rejection curve need the embeddings that runs
    leave in the results directory on the machine where they ran.
    """
    drawn = {"scores": draw_bars(summaries)}
    if any(run.get("curve") for summary in summaries for run in summary.runs):
        drawn["scores_over_steps"] = draw_curves(summaries)
    with_embeddings = [summary for summary in summaries if _embeddings(summary, results)]
    if with_embeddings:
        drawn["projection"] = _projection(with_embeddings, results)
    curves = [_mean_rejection(summary, results) for summary in with_embeddings if _norm_has_meaning(summary)]
    if curves:
        drawn["rejection"] = draw_rejection(curves)
    figures.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        figure.savefig(figures / f"{name}.png")
    return [figures / f"{name}.png" for name in drawn]


def _embeddings(summary: Summary, results: Path) -> list[dict[str, Any]]:
    """Return the stored arrays of each seed, of those that have them."""
    stored = []
    for run in summary.runs:
        path = results / "embeddings" / f"{run['key']}.npz"
        if path.exists():
            with np.load(path) as arrays:
                stored.append(dict(arrays))
    return stored


def _norm_has_meaning(summary: Summary) -> bool:
    """Tell whether the norm says how certain an image is: so for the nivMF family, and Proxy Anchor to compare."""
    loss = RECIPES[summary.recipe].loss if summary.recipe in RECIPES else None
    return loss is not None and loss.path.endswith((".NivMFLoss", ".ProxyAnchorLoss"))


def _mean_rejection(summary: Summary, results: Path) -> RejectionCurve:
    curves = [
        rejection_curve(
            summary.label, nearest_neighbour_errors(arrays["embeddings"], arrays["labels"]), arrays["norms"]
        )
        for arrays in _embeddings(summary, results)
    ]
    return RejectionCurve(summary.label, curves[0].rejected, np.mean([curve.error for curve in curves], axis=0))


def _projection(summaries: Sequence[Summary], results: Path) -> Any:
    """Draw the untrained pixels and the best method of the first data set next to each other."""
    first = summaries[0]
    chosen = [*(s for s in summaries[1:] if s.recipe == "untrained" and s.data == first.data), first]
    arrays = [_embeddings(summary, results)[0] for summary in chosen]
    labels = arrays[0]["labels"]
    shown = labels < _PROJECTED_CLASSES
    evaluation = load_data(first.data, "validation" if first.split == "validation" else "test").evaluation
    images = np.stack([evaluation.sample(int(index))[0].numpy() for index in np.flatnonzero(shown)])
    panels = [(summary.label, stored["embeddings"][shown]) for summary, stored in zip(chosen, arrays, strict=True)]
    return draw_projection(panels, images, labels[shown])
