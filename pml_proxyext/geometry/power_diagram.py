r"""Exact power cells in a rectangle: where each of several affine functions of the plane is the largest."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

__all__ = ["PowerCells", "power_cells"]

_Array = NDArray[np.float64]
_Corners = list[tuple[float, float]]

# Facets shorter than this share of the rectangle's diagonal are corners at which four cells meet, up to rounding.
_SHORTEST = 1e-13


@dataclass(frozen=True)
class PowerCells:
    """The cells of :func:`power_cells`.

    Attributes:
        measures: ``(n,)``, each cell's share of the rectangle's area.
        centroids: ``(n, 2)``; NaN for empty cells.
        neighbours: ``(F, 2)``, the pairs i < j of cells with a common edge.
        lengths: ``(F,)``, the lengths of these edges.
    """

    measures: _Array
    centroids: _Array
    neighbours: NDArray[np.int64]
    lengths: _Array


def power_cells(atoms: _Array, heights: _Array, low: _Array, high: _Array) -> PowerCells:
    r"""Cut a rectangle into the cells :math:`W_i = \{x : \langle x, y_i \rangle + h_i \ge \langle x, y_j \rangle + h_j
    \; \forall j\}`.

    Only cells that touch somewhere in the plane can bound one another, and they are the edges of the lower convex hull
    of the points :math:`(y_i, -h_i)`, the regular triangulation, which qhull finds. Each cell is the rectangle, clipped
    by the half-planes of its neighbours.

    Args:
        atoms: ``(n, 2)``, different points.
        heights: ``(n,)``.
        low, high: ``(2,)``, corners of the rectangle.
    """
    bounds: list[list[int]] = [[] for _ in atoms]
    for i, j in _touching(atoms, heights).tolist():
        bounds[i].append(j)
        bounds[j].append(i)
    (left, bottom), (right, top) = low.tolist(), high.tolist()
    rectangle = [(left, bottom), (right, bottom), (right, top), (left, top)]
    places, levels = atoms.tolist(), heights.tolist()
    measures, centroids = np.zeros(len(atoms)), np.full((len(atoms), 2), np.nan)
    shortest = _SHORTEST * float(np.hypot(*(high - low)))
    facets: list[tuple[int, int, float]] = []
    for i, ((x, y), level) in enumerate(zip(places, levels, strict=True)):
        corners: _Corners = rectangle if bounds[i] or len(atoms) == 1 else []  # without neighbours: below all others
        owners = [-1] * len(corners)
        for j in bounds[i]:
            corners, owners = _clipped(corners, owners, (x - places[j][0], y - places[j][1], level - levels[j]), j)
        area, centroid = _area(corners)
        if area <= 0:
            continue
        measures[i], centroids[i] = area, centroid
        for k, j in enumerate(owners):
            (ax, ay), (bx, by) = corners[k], corners[(k + 1) % len(corners)]
            length = ((bx - ax) ** 2 + (by - ay) ** 2) ** 0.5
            if j > i and length > shortest:
                facets.append((i, j, length))
    return PowerCells(
        measures=measures / np.prod(high - low),
        centroids=centroids,
        neighbours=np.array([facet[:2] for facet in facets], dtype=np.int64).reshape(-1, 2),
        lengths=np.array([facet[2] for facet in facets]),
    )


def _touching(atoms: _Array, heights: _Array) -> NDArray[np.int64]:
    """Return the edges of the lower convex hull of the lifted atoms, ``(E, 2)``."""
    if len(atoms) == 1:
        return np.empty((0, 2), dtype=np.int64)
    centred = atoms - atoms.mean(0)
    _, scales, axes = np.linalg.svd(centred, full_matrices=False)
    flat = centred @ axes[scales > 1e-12 * scales[0]].T / scales[0]  # one coordinate for atoms on a line, or two
    depths = heights - heights.max()
    depths = depths / max(float(-depths.min()), 1e-300)
    # A point high above gives a volume to atoms whose lifted points lie in a plane, and hides no face from below.
    lifted = np.vstack([np.column_stack([flat, -depths]), [0.0] * flat.shape[1] + [3.0]])
    hull = ConvexHull(lifted)
    below = (hull.equations[:, -2] < 0) & (hull.simplices < len(atoms)).all(1)
    corners = hull.simplices[below]
    edges = np.concatenate([corners[:, [a, b]] for a in range(corners.shape[1]) for b in range(a)])
    return np.unique(np.sort(edges, axis=1), axis=0).astype(np.int64)


def _clipped(
    corners: _Corners, owners: list[int], line: tuple[float, float, float], owner: int
) -> tuple[_Corners, list[int]]:
    """Keep what is on the positive side of a line; ``owners[k]`` made the edge that leaves corner k."""
    a, b, c = line
    values = [a * x + b * y + c for x, y in corners]
    if not values or min(values) >= 0:
        return corners, owners
    kept: _Corners = []
    kept_owners: list[int] = []
    for k, value in enumerate(values):
        following = (k + 1) % len(values)
        if value >= 0:
            kept.append(corners[k])
            kept_owners.append(owners[k])
        if (value >= 0) != (values[following] >= 0):
            share = value / (value - values[following])
            (ax, ay), (bx, by) = corners[k], corners[following]
            kept.append((ax + share * (bx - ax), ay + share * (by - ay)))
            kept_owners.append(owner if value >= 0 else owners[k])
    return kept, kept_owners


def _area(corners: _Corners) -> tuple[float, tuple[float, float]]:
    """Return area and centroid, as seen from the first corner, where cells far from the origin lose no digits."""
    if len(corners) < 3:
        return 0.0, (np.nan, np.nan)
    (ox, oy), double, cx, cy = corners[0], 0.0, 0.0, 0.0
    for (ax, ay), (bx, by) in pairwise(corners[1:]):
        cross = (ax - ox) * (by - oy) - (bx - ox) * (ay - oy)
        double += cross
        cx += cross * (ax + bx - 2 * ox)
        cy += cross * (ay + by - 2 * oy)
    if double <= 0:
        return 0.0, (np.nan, np.nan)
    return double / 2, (ox + cx / (3 * double), oy + cy / (3 * double))
