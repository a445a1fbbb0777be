r"""Points of a class pushed away from an anchor by an angle, and the angles that say how far they may go."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["angles", "nearest_other_angles", "virtual_points", "virtual_similarities"]


def angles(anchors: Tensor, others: Tensor) -> Tensor:
    r"""Return the angle between each row of ``anchors`` and the row of ``others`` beside it.

    It is :math:`2 \arctan(|u - v| / |u + v|)` with :math:`u, v` the unit vectors: exact to rounding for all angles,
    where the arcus cosine loses half of the digits near 0 and :math:`\pi` and has infinite slope there. A zero vector
    counts as orthogonal to everything.

    Args:
        anchors: ``(N, D)``.
        others: ``(N, D)``.

    Returns:
        ``(N,)``, in :math:`[0, \pi]`, differentiable.

    Example:
        >>> angles(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])).rad2deg()
        tensor([90.])
    """
    u, v = normalize(anchors, dim=1), normalize(others, dim=1)
    return 2 * torch.atan2((u - v).norm(dim=1), (u + v).norm(dim=1))


def nearest_other_angles(anchors: Tensor, positives: Tensor) -> Tensor:
    r"""Return the angle between each anchor and the nearest positive of another anchor.

    .. math::
        \varphi_i = \min_{j \ne i} \angle(a_i, p_j)

    Args:
        anchors: ``(N, D)``.
        positives: ``(N, D)``, row :math:`i` being the positive of anchor :math:`i`.

    Returns:
        ``(N,)``, differentiable; the angle to the own positive if there is no other.

    Example:
        >>> points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
        >>> nearest_other_angles(points, points).rad2deg()
        tensor([90., 90., 90.])
    """
    with torch.no_grad():  # which one is nearest is no smooth matter
        cosines = normalize(anchors, dim=1) @ normalize(positives, dim=1).T
        cosines = cosines.masked_fill(torch.eye(len(cosines), dtype=torch.bool, device=cosines.device), -math.inf)
        nearest = cosines.argmax(1)
    return angles(anchors, positives[nearest])


def virtual_points(anchors: Tensor, positives: Tensor, delta: Tensor) -> Tensor:
    r"""Return each positive turned away from its anchor by an angle, with its norm kept.

    .. math::
        v = \cos\delta\, p + \sin\delta\, \big((u^\top p)\, w - |p_\perp|\, u\big), \qquad
        u = \frac{a}{|a|}, \quad p_\perp = p - (u^\top p)\, u, \quad w = \frac{p_\perp}{|p_\perp|}

    :math:`v` lies in the plane of anchor and positive, and :math:`\angle(a, v) = \angle(a, p) + \delta` as long as that
    is at most :math:`\pi`. Where there is no plane, since the two are parallel or one of them is zero, :math:`v = p`.

    Args:
        anchors: :math:`a`, ``(N, D)``.
        positives: :math:`p`, ``(N, D)``.
        delta: :math:`\delta`, ``(N,)``, in radians.

    Returns:
        ``(N, D)``, differentiable.

    Reference:
        Reconstructed from the abstract of Chen and Deng, arXiv:1806.00974, which does not give the formula.

    Example:
        >>> anchor, positive = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])
        >>> virtual_points(anchor, positive, torch.tensor([torch.pi / 2]))
        tensor([[-1.0000,  1.0000]])
    """
    u = normalize(anchors, dim=1)
    along = (u * positives).sum(1, keepdim=True)
    across = positives - along * u
    across = across - (u * across).sum(1, keepdim=True) * u  # again: for near-parallel rows the first left rounding
    height = across.norm(dim=1, keepdim=True)
    rounding = 8 * torch.finfo(positives.dtype).eps * positives.norm(dim=1, keepdim=True)
    is_plane = (height > rounding) & (anchors != 0).any(1, keepdim=True)
    w = across / torch.where(is_plane, height, 1)
    cos, sin = delta.cos()[:, None], delta.sin()[:, None]
    turned = cos * positives + sin * (along * w - height * u)
    return torch.where(is_plane | turned.isnan(), turned, positives)


def virtual_similarities(anchors: Tensor, positives: Tensor, delta: Tensor) -> Tensor:
    r"""Return the inner product of each anchor with its virtual point, without making the point.

    .. math::
        a^\top v = |a|\, |p| \cos(\theta + \delta) = \cos\delta\; a^\top p - \sin\delta\; |a|\, |p_\perp|, \qquad
        \theta = \angle(a, p)

    Unlike :func:`virtual_points`, this is continuous where anchor and positive become parallel: whichever way the point
    turns, its inner product with the anchor is the same. At :math:`\delta = 0` it is :math:`a^\top p`, gradient
    included.

    Args:
        anchors: :math:`a`, ``(N, D)``.
        positives: :math:`p`, ``(N, D)``.
        delta: :math:`\delta`, ``(N,)``, in radians.

    Returns:
        ``(N,)``, differentiable.

    Example:
        >>> points = torch.tensor([[2.0, 0.0]])
        >>> virtual_similarities(points, points, torch.tensor([torch.pi / 3])).round(decimals=4)
        tensor([2.])
    """
    u = normalize(anchors, dim=1)
    across = positives - (u * positives).sum(1, keepdim=True) * u
    area = anchors.norm(dim=1) * across.norm(dim=1)
    return delta.cos() * (anchors * positives).sum(1) - delta.sin() * area
