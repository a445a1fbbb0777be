"""What every teacher asks of its points and matches, and when matches determine a model."""

from __future__ import annotations

import torch
from torch import Tensor

from pml_proxyext.utils.checks import check_embeddings, check_finite

__all__ = ["check_matches", "check_points", "distance_from_line", "num_distinct"]


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


def num_distinct(points_a: Tensor, points_b: Tensor) -> int:
    """Return how many of the matched points differ; detectors find some points several times."""
    return len(torch.unique(torch.cat([points_a, points_b], dim=1), dim=0))


def distance_from_line(points: Tensor, *, leave_one_out: bool = False) -> float:
    """Return the root mean square distance of ``points`` from the straight line that fits them best.

    Args:
        points: ``(M, d)``.
        leave_one_out: whether the one point is left out without which the distance is smallest.

    Example:
        >>> points = torch.tensor([[0.0, 0.0], [1.0, 1.0], [5.0, 5.0], [9.0, 0.0]])
        >>> distance_from_line(points[:3]) < 1e-6, distance_from_line(points) > 1
        (True, True)
        >>> distance_from_line(points, leave_one_out=True) < 1e-6
        True
    """
    if len(points) <= 2:
        return 0.0
    centred = points.double() - points.double().mean(0)
    scatter, count = centred.mT @ centred, len(points)
    if leave_one_out:
        # Without point i the mean moves, too; both changes together are this one of rank one.
        scatter = scatter - count / (count - 1) * centred[:, :, None] * centred[:, None, :]
        count -= 1
    across = torch.linalg.eigvalsh(scatter / count)[..., :-1].sum(-1).clamp(min=0)
    return float(across.min().sqrt())
