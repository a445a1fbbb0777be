"""Two pictures of one scene: camera coordinates, essential and fundamental matrices, epipolar lines, relative pose."""

from __future__ import annotations

import torch
from torch import Tensor

from pml_proxyext.geometry.model_residuals import transfer
from pml_proxyext.utils.checks import import_optional

__all__ = ["camera_coordinates", "epipolar_line_distances", "essential_matrix", "fundamental_matrix", "relative_pose"]


def camera_coordinates(points: Tensor, intrinsics: Tensor) -> Tensor:
    r"""Return pixels as points :math:`K^{-1} \bar x` of the plane in front of the camera.

    Shapes:
        points ``(..., 2)``, intrinsics ``(3, 3)`` -> ``(..., 2)``.

    Example:
        >>> intrinsics = torch.tensor([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        >>> camera_coordinates(torch.tensor([[320.0, 740.0]]), intrinsics)
        tensor([[0., 1.]])
    """
    return transfer(torch.linalg.inv(intrinsics), points)


def essential_matrix(rotation: Tensor, translation: Tensor) -> Tensor:
    r"""Return :math:`E = [t]_\times R` of two cameras, where :math:`x_b = R x_a + t`.

    Shapes:
        rotation ``(3, 3)``, translation ``(3,)`` -> ``(3, 3)``, with :math:`\bar b^\top E \bar a = 0` in camera
        coordinates.

    Example:
        >>> essential_matrix(torch.eye(3), torch.tensor([1.0, 0.0, 0.0]))
        tensor([[ 0.,  0.,  0.],
                [ 0.,  0., -1.],
                [ 0.,  1.,  0.]])
    """
    return torch.linalg.cross(translation.expand(3, 3), rotation.mT).mT


def fundamental_matrix(essential: Tensor, intrinsics_a: Tensor, intrinsics_b: Tensor) -> Tensor:
    r"""Return :math:`F = K_b^{-\top} E K_a^{-1}`, the essential matrix in pixels."""
    return torch.linalg.inv(intrinsics_b).mT @ essential @ torch.linalg.inv(intrinsics_a)


def epipolar_line_distances(fundamental: Tensor, points_a: Tensor, points_b: Tensor) -> Tensor:
    r"""Return how far points of b are from the lines on which their partners in a put them.

    .. math:: d(a, b) = |\bar b^\top F \bar a| / \sqrt{(F \bar a)_1^2 + (F \bar a)_2^2}

    Not symmetric, unlike :func:`~pml_proxyext.geometry.epipolar_residuals`; the other way round, give :math:`F^\top`.

    Shapes:
        fundamental ``(3, 3)``, points ``(..., 2)`` -> ``(...)``.

    Example:
        >>> sideways = essential_matrix(torch.eye(3), torch.tensor([1.0, 0.0, 0.0]))
        >>> epipolar_line_distances(sideways, torch.tensor([[3.0, 1.0]]), torch.tensor([[7.0, 3.0]]))
        tensor([2.])
    """
    lines = points_a @ fundamental[:, :2].mT + fundamental[:, 2]
    algebraic = (lines[..., :2] * points_b).sum(-1) + lines[..., 2]
    return algebraic.abs() / torch.linalg.vector_norm(lines[..., :2], dim=-1)


def relative_pose(essential: Tensor, points_a: Tensor, points_b: Tensor) -> tuple[Tensor, Tensor]:
    """Return rotation and unit translation of the four solutions that puts most points in front of both cameras.

    Shapes:
        essential ``(3, 3)``, points in camera coordinates ``(M, 2)``, inliers only -> ``(3, 3)`` and ``(3,)`` float64.

    Raises:
        ImportError: if OpenCV is missing; the extra ``geometry`` brings it.
    """
    cv2 = import_optional("cv2", "geometry")
    matrices = (tensor.detach().to("cpu", torch.float64).numpy() for tensor in (essential, points_a, points_b))
    # By default points farther than 50 baselines would not count, and after a small step none would be left.
    _, rotation, translation, *_ = cv2.recoverPose(*matrices, torch.eye(3).double().numpy(), distanceThresh=1e6)
    return torch.from_numpy(rotation), torch.from_numpy(translation).squeeze(1)
