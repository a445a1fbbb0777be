"""The shape of a surface around a point, in numbers that do not change when it is turned."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

__all__ = ["ANGLES_WIDTH", "local_shape", "normals"]

_Array = npt.NDArray[np.float64]

_NORMAL_RADIUS = 0.06
_ANGLES_RADIUS, _ANGLE_BINS = 0.15, 11
_SPIN_RADII, _SPIN_BINS = (0.1, 0.2), 8

#: How many of the numbers are histograms of angles; they come first.
ANGLES_WIDTH = 3 * _ANGLE_BINS


def normals(points: _Array, tree: cKDTree, view: _Array) -> _Array:
    """Return the direction across the surface at each point, the one that faces the view ``(3,)``."""
    centre, other = _neighbors(points, tree, _NORMAL_RADIUS)
    starts = np.searchsorted(centre, np.arange(len(points)))  # none is empty: each point is its own neighbour
    counts = np.bincount(centre)[:, None]
    offset = points[other] - (np.add.reduceat(points[other], starts) / counts)[centre]
    scatter = np.add.reduceat((offset[:, :, None] * offset[:, None, :]).reshape(-1, 9), starts)
    across = np.linalg.eigh(scatter.reshape(-1, 3, 3))[1][:, :, 0]
    return across * np.where(across @ view < 0, -1.0, 1.0)[:, None]


def local_shape(keys: _Array, key_normals: _Array, points: _Array, outward: _Array, tree: cKDTree) -> _Array:
    r"""Return histograms of the neighbours of each key point.

    First those of three angles between a key point and each neighbour, as in fast point feature histograms before they
    are averaged over neighbours: with normals n and m and the direction d to the neighbour, :math:`\cos(n, d)`,
    :math:`\cos(m, d \times n)` and the angle of m around the latter. Then spin images of two sizes: how many
    neighbours there are at each distance from the line along n and each height on it.

    Returns:
        ``(K, ANGLES_WIDTH + 2 * 64)``, each histogram of length one.
    """
    count = len(keys)
    centre, other = _neighbors(keys, tree, _ANGLES_RADIUS)
    offset = points[other] - keys[centre]
    length = np.linalg.norm(offset, axis=1)
    centre, other, offset = centre[length > 1e-9], other[length > 1e-9], offset[length > 1e-9]
    towards = offset / np.linalg.norm(offset, axis=1, keepdims=True)
    along, normal = key_normals[centre], outward[other]
    across = np.cross(towards, along)
    third = np.cross(along, across)
    angle = np.arctan2((third * normal).sum(1), (along * normal).sum(1)) / np.pi
    parts = []
    for value in ((along * towards).sum(1), (across * normal).sum(1), angle):
        parts.append(_histogram(centre, _bins(value, -1, 1, _ANGLE_BINS), count, _ANGLE_BINS))
    for radius in _SPIN_RADII:
        centre, other = _neighbors(keys, tree, radius)
        offset = points[other] - keys[centre]
        height = (offset * key_normals[centre]).sum(1)
        distance = np.sqrt(np.maximum((offset**2).sum(1) - height**2, 0))
        cell = _bins(height, -radius, radius, _SPIN_BINS) * _SPIN_BINS + _bins(distance, 0, radius, _SPIN_BINS)
        parts.append(_histogram(centre, cell, count, _SPIN_BINS**2))
    return np.concatenate(parts, axis=1)


def _neighbors(keys: _Array, tree: cKDTree, radius: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return each key point with each of the points around it, as two columns of indices."""
    found = tree.query_ball_point(keys, radius)
    return np.repeat(np.arange(len(keys)), [len(some) for some in found]), np.concatenate(found).astype(np.int64)


def _bins(values: _Array, low: float, high: float, count: int) -> npt.NDArray[np.int64]:
    return np.clip((values - low) / (high - low) * count, 0, count - 1).astype(np.int64)


def _histogram(index: npt.NDArray[np.int64], cell: npt.NDArray[np.int64], count: int, cells: int) -> _Array:
    counts = np.bincount(index * cells + cell, minlength=count * cells).reshape(count, cells).astype(np.float64)
    return np.asarray(counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1))
