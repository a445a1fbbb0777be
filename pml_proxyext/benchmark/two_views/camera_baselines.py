"""What pictures of two cameras are compared by without training: pixels, gradients, and canonical correlations."""

from __future__ import annotations

import math

import torch
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize, unfold

from pml_proxyext.benchmark.datasets.emoji_cameras import CameraPairs

__all__ = ["canonical_correlations", "gradient_histograms", "pixels"]

_BINS, _CELL, _BLOCK = 9, 4, 2


def pixels(images: Tensor) -> Tensor:
    """Return the pixels of each image without their mean, ``(N, H W)``."""
    flat = images.flatten(1)
    return flat - flat.mean(1, keepdim=True)


def gradient_histograms(images: Tensor) -> Tensor:
    """Return histograms of oriented gradients (HOG) of grey images ``(N, 1, H, W)``.

    Nine orientations without sign, cells of 4 x 4 pixels, overlapping blocks of 2 x 2 cells with norm one. A pixel's
    vote is divided between the two nearest orientations.

    Reference:
        Dalal, Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005.

    Example:
        >>> gradient_histograms(torch.rand(2, 1, 32, 32)).shape  # 7 x 7 blocks of 4 cells
        torch.Size([2, 1764])
    """
    dy, dx = torch.gradient(images, dim=(2, 3))
    magnitude = torch.hypot(dx, dy)
    angle = torch.atan2(dy, dx).remainder(math.pi) * (_BINS / math.pi)
    below = angle.floor()
    share = angle - below
    votes = images.new_zeros(len(images), _BINS, *images.shape[2:])
    votes.scatter_add_(1, below.long() % _BINS, magnitude * (1 - share))
    votes.scatter_add_(1, (below.long() + 1) % _BINS, magnitude * share)
    return normalize(unfold(avg_pool2d(votes, _CELL), _BLOCK), dim=1).flatten(1)


def canonical_correlations(
    train: CameraPairs, data: CameraPairs, principal: int = 32, canonical: int = 16
) -> tuple[Tensor, Tensor]:
    """Return the canonical variables of both views of ``data``, of the principal components of pixels.

    Args:
        train: pairs that both are computed from.
        data: what they are computed of.
        principal: principal components of each view; more pixels than pairs would correlate perfectly.
        canonical: pairs of canonical variables.
    """
    reductions = [PCA(principal, svd_solver="full").fit(pixels(part).numpy()) for part in (train.a, train.b)]
    a, b = (reduce.transform(pixels(part).numpy()) for reduce, part in zip(reductions, (train.a, train.b), strict=True))
    cca = CCA(canonical, max_iter=2000).fit(a, b)
    rows = [r.transform(pixels(part).numpy()) for r, part in zip(reductions, (data.a, data.b), strict=True)]
    a, b = cca.transform(*rows)
    return torch.from_numpy(a).float(), torch.from_numpy(b).float()
