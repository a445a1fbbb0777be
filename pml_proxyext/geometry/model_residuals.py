"""How far pairs of points are from a model of two views."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["epipolar_residuals", "homography_residuals", "rigid_residuals", "transfer"]


def transfer(model: Tensor, points: Tensor) -> Tensor:
    """Return where a projective or rigid ``model`` takes ``points``.

    Shapes:
        model ``(..., d + 1, d + 1)``, one for all points or one for each, points ``(..., d)`` -> ``(..., d)``.

    Example:
        >>> transfer(torch.tensor([[1.0, 0.0, 5.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]]), torch.tensor([[1.0, 4.0]]))
        tensor([[3., 2.]])
    """
    moved = _linear(model, points)
    return moved[..., :-1] / moved[..., -1:]


def homography_residuals(model: Tensor, points_a: Tensor, points_b: Tensor) -> Tensor:
    r"""Return the larger of the two transfer errors of a homography :math:`H`.

    .. math::
        r(a, b) = \max\big(|H(a) - b|,\ |a - H^{-1}(b)|\big)

    The larger one, so that swapping the views with the inverse changes nothing, and neither view is off by more than r.

    Shapes:
        model ``(..., 3, 3)``, one for all pairs or one for each, points ``(..., 2)`` -> ``(...)``. A model that has no
        inverse, or is NaN, gives NaN.

    Example:
        >>> twice = torch.diag(torch.tensor([2.0, 2.0, 1.0]))
        >>> homography_residuals(twice, torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, 3.0]]))
        tensor([1.])
    """
    there = torch.linalg.vector_norm(transfer(model, points_a) - points_b, dim=-1)
    back = torch.linalg.vector_norm(transfer(_inverse(model), points_b) - points_a, dim=-1)
    return torch.maximum(there, back)


def rigid_residuals(model: Tensor, points_a: Tensor, points_b: Tensor) -> Tensor:
    r"""Return the distances :math:`|R a + t - b|` of pairs of points under a rigid motion.

    Shapes:
        model ``(..., d + 1, d + 1)``, one for all pairs or one for each, points ``(..., d)`` -> ``(...)``.

    Example:
        >>> rigid_residuals(torch.eye(4), torch.zeros(1, 3), torch.tensor([[0.0, 3.0, 4.0]]))
        tensor([5.])
    """
    return torch.linalg.vector_norm(_linear(model, points_a)[..., :-1] - points_b, dim=-1)


def epipolar_residuals(model: Tensor, points_a: Tensor, points_b: Tensor) -> Tensor:
    r"""Return the Sampson distances of pairs of points under an essential or fundamental matrix :math:`F`.

    .. math::
        r(a, b) = \frac{|\bar b^\top F \bar a|}{\sqrt{(F \bar a)_1^2 + (F \bar a)_2^2
            + (F^\top \bar b)_1^2 + (F^\top \bar b)_2^2}}, \qquad \bar a = (a, 1)

    To first order it is how far the two points have to move, together, until they are a pair. The scale of F does not
    matter, and swapping the views with :math:`F^\top` changes nothing. Every point of b on the line of a has residual
    zero: a small residual is no proof of a pair.

    Shapes:
        model ``(..., 3, 3)``, one for all pairs or one for each, points ``(..., 2)`` -> ``(...)``. NaN where both lines
        are undefined, at the epipoles.

    Example:
        >>> sideways = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
        >>> epipolar_residuals(sideways, torch.tensor([[3.0, 1.0]]), torch.tensor([[7.0, 3.0]])) / 2**0.5
        tensor([1.])
    """
    lines_b, lines_a = _linear(model, points_a), _linear(model.mT, points_b)
    algebraic = (lines_b[..., :-1] * points_b).sum(-1) + lines_b[..., -1]
    slopes = lines_b[..., :-1].square().sum(-1) + lines_a[..., :-1].square().sum(-1)
    return algebraic.abs() / slopes.sqrt()


def _linear(model: Tensor, points: Tensor) -> Tensor:
    return (model[..., :-1] @ points[..., None]).squeeze(-1) + model[..., -1]


def _inverse(model: Tensor) -> Tensor:
    inverse, info = torch.linalg.inv_ex(model)
    return torch.where((info == 0)[..., None, None], inverse, torch.nan)
