"""Pairs of partial scans of one surface, each turned at random, that overlap in part."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from torch import Tensor

from pml_proxyext.benchmark.datasets.bunny import Mesh
from pml_proxyext.benchmark.geometry_pairs.local_shape import local_shape, normals
from pml_proxyext.trainers import PointPair

__all__ = ["cloud_pairs"]

_Points = npt.NDArray[np.float64]

# Lengths are shares of the diagonal of the box around the surface.
SAMPLES = 4000  # points on the surface, of which a scan sees those that face it
NOISE = 0.01  # standard deviation of each coordinate
CELL = 0.05  # side of the cells whose points are one key point
ANGLES = (60, 100)  # degrees between the two directions of view


def cloud_pairs(mesh: Mesh, count: int, seed: int) -> list[PointPair]:
    """Return pairs of scans: key points, the shape of the surface around them as data, and the motion as truth.

    A scan sees the points of the surface that face it; what is behind something else is seen as well. Points are drawn
    anew for each scan, and noise is added.
    """
    generator = np.random.default_rng(seed)
    return [_pair(mesh, generator) for _ in range(count)]


def _pair(mesh: Mesh, generator: np.random.Generator) -> PointPair:
    first = _direction(generator)
    across = np.cross(first, _direction(generator))
    angle = np.deg2rad(generator.uniform(*ANGLES))
    second = Rotation.from_rotvec(angle * across / np.linalg.norm(across)).apply(first)
    (points_a, data_a, motion_a), (points_b, data_b, motion_b) = (
        _scan(mesh, view, generator) for view in (first, second)
    )
    return PointPair(points_a, points_b, data_a, data_b, torch.from_numpy(motion_b @ np.linalg.inv(motion_a)))


def _direction(generator: np.random.Generator) -> _Points:
    vector = generator.normal(size=3)
    return vector / np.linalg.norm(vector)


def _scan(mesh: Mesh, view: _Points, generator: np.random.Generator) -> tuple[Tensor, Tensor, _Points]:
    points, facing = _surface(mesh, view, generator)
    points = points[facing] + generator.normal(scale=NOISE, size=(int(facing.sum()), 3))
    turn = Rotation.from_quat(generator.normal(size=4)).as_matrix()
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = turn, generator.uniform(-0.5, 0.5, 3)
    points, view = points @ turn.T + motion[:3, 3], turn @ view
    tree = cKDTree(points)
    outward = normals(points, tree, view)
    keys = _thinned(points)
    data = local_shape(points[keys], outward[keys], points, outward, tree)
    return torch.from_numpy(points[keys]).float(), torch.from_numpy(data).float(), motion


def _surface(mesh: Mesh, view: _Points, generator: np.random.Generator) -> tuple[_Points, npt.NDArray[np.bool_]]:
    """Return random points of the surface, its box having a diagonal of one, and which ones face the view."""
    vertices, faces = mesh
    low, high = vertices.min(0), vertices.max(0)
    corners = ((vertices - (low + high) / 2) / np.linalg.norm(high - low))[faces]  # (F, 3, 3)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(across, axis=1)
    chosen = generator.choice(len(faces), SAMPLES, p=area / area.sum())
    weights = generator.dirichlet((1, 1, 1), SAMPLES)
    return np.einsum("nk,nkd->nd", weights, corners[chosen]), across[chosen] @ view > 0


def _thinned(points: _Points) -> npt.NDArray[np.int64]:
    """Return the first point of each cell of a grid."""
    return np.sort(np.unique(np.floor(points / CELL), axis=0, return_index=True)[1])
