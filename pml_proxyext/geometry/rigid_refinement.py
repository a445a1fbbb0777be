"""Rigid motions and whole clouds of points: how much they overlap, and the motion of nearest points."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from pml_proxyext.geometry.model_residuals import transfer
from pml_proxyext.geometry.procrustes import weighted_procrustes

__all__ = ["cloud_overlap", "iterated_closest_points"]


def cloud_overlap(points_a: Tensor, points_b: Tensor, model: Tensor, threshold: float) -> float:
    """Return the share of points of a that ``model`` takes to within ``threshold`` of a point of b.

    Where b has fewer points than a, the share is made smaller by the quotient of their numbers, as in the code of SGP:
    a small cloud inside a large one overlaps with a part of it only.

    Shapes:
        points ``(N, d)`` and ``(M, d)``, model ``(d + 1, d + 1)`` -> a number in [0, 1].

    Example:
        >>> points = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [5.0, 5.0, 5.0]])
        >>> cloud_overlap(points, points[:2], torch.eye(4), threshold=0.1)
        0.25
    """
    if len(points_a) == 0 or len(points_b) == 0:
        return 0.0
    distances, _ = cKDTree(points_b.numpy()).query(transfer(model, points_a).numpy())
    return float((distances <= threshold).mean()) * min(1.0, len(points_b) / len(points_a))


def iterated_closest_points(
    points_a: Tensor, points_b: Tensor, model: Tensor, threshold: float, *, max_iterations: int = 30
) -> Tensor:
    """Return ``model``, fitted again and again to the pairs of points of a and the points of b nearest to them.

    A pair counts while its points are within ``threshold`` of each other; with fewer than three pairs the model stays
    as it is. It ends when the pairs no longer change, or after ``max_iterations`` (30 as released, Open3D's default).

    Shapes:
        points ``(N, d)`` and ``(M, d)`` float64, model ``(d + 1, d + 1)`` -> ``(d + 1, d + 1)``.

    Reference:
        Besl, McKay, "A Method for Registration of 3-D Shapes", IEEE TPAMI 14(2), 1992.

    Example:
        >>> cloud = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> motion = iterated_closest_points(cloud, cloud + 0.01, torch.eye(4, dtype=torch.float64), threshold=0.1)
        >>> (motion[:3, 3] - 0.01).abs().max() < 1e-12
        tensor(True)
    """
    tree = cKDTree(points_b.numpy())
    before = None
    for _ in range(max_iterations):
        distances, nearest = (torch.from_numpy(found) for found in tree.query(transfer(model, points_a).numpy()))
        near = distances <= threshold
        pairs = torch.where(near, nearest, -1)
        if int(near.sum()) < 3 or (before is not None and torch.equal(pairs, before)):
            break
        model = weighted_procrustes(points_a[near], points_b[nearest[near]])
        before = pairs
    return model
