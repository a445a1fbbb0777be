"""Nearest neighbours among a gallery, and curves of the error among the queries that are not turned away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from pml_proxyext.testers import Rejection

__all__ = ["RejectionCurve", "nearest_neighbour_errors", "nearest_neighbours", "rejection_curve"]

_Floats = npt.NDArray[np.floating[Any]]
_Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RejectionCurve:
    """How the error falls as uncertain queries are turned away."""

    label: str
    rejected: _Floats
    error: _Floats


def nearest_neighbours(queries: _Floats, gallery: _Floats, excluded: _Integers) -> tuple[_Integers, _Floats]:
    """Find the nearest neighbour by cosine among all but some.

    Args:
        queries: ``(N, D)`` embeddings.
        gallery: ``(M, D)`` embeddings.
        excluded: ``(N, E)`` index into the gallery of what each query may not find, with ``M > E``.

    Returns:
        ``(N,)`` index into the gallery, and ``(N,)`` cosine; -1 and NaN where an embedding that is not finite leaves
        nothing to find.
    """
    searched = _directions(gallery)
    index = faiss.IndexFlatIP(searched.shape[1])
    index.add(searched)
    cosines, found = index.search(_directions(queries), excluded.shape[1] + 1)
    allowed = (found[:, :, None] != excluded[:, None, :]).all(axis=2)
    first = allowed.argmax(axis=1)
    rows = np.arange(len(found))
    nearest = found[rows, first]
    return nearest, np.where(nearest < 0, np.nan, cosines[rows, first])


def _directions(embeddings: _Floats) -> npt.NDArray[np.float32]:
    directions = np.array(embeddings, dtype=np.float32, order="C")
    faiss.normalize_L2(directions)
    return directions


def nearest_neighbour_errors(embeddings: _Floats, labels: _Integers) -> npt.NDArray[np.bool_]:
    """Return for each row whether its nearest neighbour by cosine, itself aside, has another label.

    A row that is not finite has no neighbour, which counts as an error.
    """
    nearest, _ = nearest_neighbours(embeddings, embeddings, np.arange(len(labels))[:, None])
    return (labels[nearest] != labels) | (nearest < 0)


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
    rejected = np.linspace(0, highest, points)
    return RejectionCurve(label, rejected, Rejection(errors, certainty).error_at(rejected))
