"""How far a motion or a homography is from the true one."""

from __future__ import annotations

import torch
from torch import Tensor

from pml_proxyext.geometry.model_residuals import transfer

__all__ = ["corner_error", "direction_error", "rotation_error", "translation_error"]


def rotation_error(rotation: Tensor, true_rotation: Tensor) -> Tensor:
    r"""Return the angle between two rotations, in degrees from 0 to 180.

    With :math:`Q = R_0^\top R_1` it is the angle of :math:`(\operatorname{tr} Q - 1, |q|)`, where q are the three
    entries of :math:`Q - Q^\top`. The arcus cosine of the trace alone loses half of the digits near 0 and 180 degrees.

    Shapes:
        ``(..., 3, 3)`` -> ``(...)``.

    Departs from the release:
        that clips the cosine to 0.999999, so that it can report no error below 0.081 degrees.

    Example:
        >>> half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
        >>> rotation_error(torch.stack([torch.eye(3), half_turn]), torch.eye(3))
        tensor([  0., 180.])
    """
    relative = rotation.mT @ true_rotation
    skew = relative - relative.mT
    sine = torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], dim=-1)
    cosine = relative.diagonal(dim1=-2, dim2=-1).sum(-1) - 1
    return torch.rad2deg(torch.atan2(torch.linalg.vector_norm(sine, dim=-1), cosine))


def translation_error(translation: Tensor, true_translation: Tensor) -> Tensor:
    """Return the distance between two translations, ``(..., d)`` -> ``(...)``."""
    return torch.linalg.vector_norm(translation - true_translation, dim=-1)


def direction_error(translation: Tensor, true_translation: Tensor) -> Tensor:
    """Return the angle between two translations, in degrees from 0 to 180; an essential matrix knows no more of them.

    Shapes:
        ``(..., d)`` -> ``(...)``. NaN if a translation is zero.

    Example:
        >>> direction_error(torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 5.0, 0.0]))
        tensor(90.)
    """
    first, second = (t / torch.linalg.vector_norm(t, dim=-1, keepdim=True) for t in (translation, true_translation))
    sine, cosine = (torch.linalg.vector_norm(t, dim=-1) for t in (first - second, first + second))
    return torch.rad2deg(2 * torch.atan2(sine, cosine))


def corner_error(homography: Tensor, true_homography: Tensor, width: float, height: float) -> Tensor:
    """Return how far the four corners of a picture go astray on average, in pixels; NaN for a failed fit.

    Shapes:
        ``(..., 3, 3)`` -> ``(...)``.

    Example:
        >>> shift = torch.tensor([[1.0, 0.0, 3.0], [0.0, 1.0, 4.0], [0.0, 0.0, 1.0]])
        >>> corner_error(shift, torch.eye(3), width=640, height=480)
        tensor(5.)
    """
    corners = homography.new_tensor([[0, 0], [width, 0], [width, height], [0, height]])
    found, true = (transfer(model[..., None, :, :], corners) for model in (homography, true_homography))
    return torch.linalg.vector_norm(found - true, dim=-1).mean(-1)
