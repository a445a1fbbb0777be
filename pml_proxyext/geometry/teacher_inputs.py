"""What every teacher asks of its points and matches, and when matches determine a model."""

from __future__ import annotations

import torch
from torch import Tensor

from pml_proxyext.utils.checks import check_embeddings, check_finite

__all__ = ["check_matches", "check_points", "distance_from_line"]


def check_points(points: Tensor, dim: int, name: str) -> Tensor:
    """Return ``points`` as float64 on the CPU if they are finite and of shape ``(N, dim)``, or raise ValueError."""
    if points.ndim != 2 or points.shape[1] != dim:
        raise ValueError(f"{name} must have shape (N, {dim}), got shape {tuple(points.shape)}")
    return check_finite(check_embeddings(points, name=name).detach(), name).to("cpu", torch.float64)


def check_matches(matches: Tensor, points_a: Tensor, points_b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the matched points of both views, row by row, or raise ValueError for what does not index into them."""
    if matches.ndim != 2 or matches.shape[1] != 2:
        raise ValueError(f"matches must have shape (M, 2), got shape {tuple(matches.shape)}")
    if matches.is_floating_point() or matches.is_complex() or matches.dtype == torch.bool:
        raise ValueError(f"matches must be integers, got {matches.dtype}")
    columns = matches.detach().cpu().long().unbind(1)
    for column, points, name in zip(columns, (points_a, points_b), "ab", strict=True):
        if column.numel():
            lowest, highest = (int(bound) for bound in torch.aminmax(column))
            if lowest < 0 or highest >= len(points):
                came = f"got indices from {lowest} to {highest}"
                raise ValueError(f"matches must index the {len(points)} rows of points_{name}, {came}")
    return points_a[columns[0]], points_b[columns[1]]


def distance_from_line(points: Tensor) -> float:
    """Return how far the farthest of ``points`` is from the straight line that fits them best, 0 for none.

    Example:
        >>> distance_from_line(torch.tensor([[0.0, 0.0], [1.0, 1.0], [5.0, 5.0]])) < 1e-6
        True
    """
    if len(points) == 0:
        return 0.0
    centred = points - points.mean(0)
    across = torch.linalg.svd(centred, full_matrices=False).Vh[1:]
    return float(torch.linalg.vector_norm(centred @ across.mT, dim=1).max())
