"""The rigid motion that takes matched points nearest to one another, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["rigid_motion", "weighted_procrustes"]


def rigid_motion(rotation: Tensor, translation: Tensor) -> Tensor:
    r"""Return the matrix ``(..., d + 1, d + 1)`` of :math:`x \mapsto R x + t`.

    Example:
        >>> rigid_motion(torch.eye(2), torch.tensor([3.0, 4.0]))
        tensor([[1., 0., 3.],
                [0., 1., 4.],
                [0., 0., 1.]])
    """
    top = torch.cat([rotation, translation[..., None]], dim=-1)
    bottom = torch.zeros_like(top[..., :1, :])
    bottom[..., -1] = 1
    return torch.cat([top, bottom], dim=-2)


def weighted_procrustes(points_a: Tensor, points_b: Tensor, weights: Tensor | None = None) -> Tensor:
    r"""Return the rigid motion with the least weighted squared distance from points a to points b.

    .. math::
        \min_{R \in SO(d),\, t} \sum_i w_i\, |R a_i + t - b_i|^2

    Solved by the singular values of the weighted cross-covariance :math:`\sum_i w_i (b_i - \bar b)(a_i - \bar a)^\top =
    U S V^\top`: :math:`R = U \operatorname{diag}(1, \dots, 1, \det U V^\top) V^\top` and :math:`t = \bar b - R \bar a`.
    The determinant of R is +1 even where a reflection would fit better. Where the weighted points span fewer than
    :math:`d - 1` dimensions there are several solutions, and one of them is returned.

    Args:
        points_a: ``(..., M, d)`` floating point.
        points_b: ``(..., M, d)``, row i belongs to row i of a.
        weights: ``(..., M)``, none negative, some positive; all one if not given.

    Shapes:
        -> ``(..., d + 1, d + 1)``, a motion for each set of points.

    Raises:
        ValueError: for points or weights of other shapes.

    Reference:
        Umeyama, "Least-squares estimation of transformation parameters between two point patterns", IEEE TPAMI 13(4),
        1991.

    Example:
        >>> square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> motion = weighted_procrustes(square, square + torch.tensor([2.0, 5.0]))
        >>> (motion - torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 5.0], [0.0, 0.0, 1.0]])).abs().max() < 1e-5
        tensor(True)
    """
    if points_a.ndim < 2 or points_a.shape != points_b.shape:
        shapes = f"{tuple(points_a.shape)} and {tuple(points_b.shape)}"
        raise ValueError(f"points_a and points_b must both have shape (..., M, d), got {shapes}")
    if weights is None:
        weights = torch.ones_like(points_a[..., 0])
    if weights.shape != points_a.shape[:-1]:
        raise ValueError(f"weights must have shape {tuple(points_a.shape[:-1])}, got {tuple(weights.shape)}")
    shares = (weights / weights.sum(-1, keepdim=True))[..., None]
    mean_a, mean_b = (shares * points_a).sum(-2), (shares * points_b).sum(-2)
    covariance = (shares * (points_b - mean_b[..., None, :])).mT @ (points_a - mean_a[..., None, :])
    u, _, vh = torch.linalg.svd(covariance)
    # The last direction carries the least of the fit: turning it round is the cheapest way to a proper rotation.
    signs = torch.ones_like(covariance[..., 0])
    signs[..., -1] = torch.linalg.det(u @ vh).sign()
    rotation = (u * signs[..., None, :]) @ vh
    return rigid_motion(rotation, mean_b - (rotation @ mean_a[..., None]).squeeze(-1))
