"""Is the norm of an embedding a certainty? The error of the nearest neighbour among the queries of largest norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

__all__ = ["RejectionCurve", "nearest_neighbour_errors", "rejection_curve"]

_Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class RejectionCurve:
    """How the error falls as uncertain queries are turned away."""

    label: str
    rejected: _Floats
    error: _Floats


def nearest_neighbour_errors(embeddings: _Floats, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return for each row whether its nearest neighbour by cosine, itself aside, has another label."""
    directions = np.ascontiguousarray(embeddings, dtype=np.float32)
    faiss.normalize_L2(directions)
    index = faiss.IndexFlatIP(directions.shape[1])
    index.add(directions)
    neighbours = index.search(directions, 2)[1]
    itself = np.arange(len(labels))
    nearest = np.where(neighbours[:, 0] == itself, neighbours[:, 1], neighbours[:, 0])
    return labels[nearest] != labels


def rejection_curve(
    label: str, errors: npt.NDArray[np.bool_], certainty: _Floats, points: int = 50, highest: float = 0.9
) -> RejectionCurve:
    """Return the error among the queries left after turning away the least certain.

    Args:
        label: what to call the curve.
        errors: ``(N,)`` whether each query goes wrong.
        certainty: ``(N,)``, larger for queries to keep longer.
        points: on the curve.
        highest: the largest fraction to turn away.

    Example:
        >>> curve = rejection_curve("", np.array([True, False]), np.array([0.1, 0.9]), points=2, highest=0.5)
        >>> curve.error.tolist()
        [0.5, 0.0]
    """
    ordered = errors[np.argsort(certainty, kind="stable")].astype(np.float64)
    remaining = ordered[::-1].cumsum()[::-1] / np.arange(len(ordered), 0, -1)
    rejected = np.linspace(0, highest, points)
    return RejectionCurve(label, rejected, remaining[(rejected * len(ordered)).astype(int)])
