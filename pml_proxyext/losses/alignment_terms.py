r"""How far two sets of rows are apart: row by row, or as samples of two distributions."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["covariance_gap", "kernel_gap", "mean_gap", "paired_gaps"]


def paired_gaps(a: Tensor, b: Tensor) -> Tensor:
    r"""Return :math:`|a_i - b_i|^2` of every row, ``(N,)``."""
    return (a - b).square().sum(1)


def mean_gap(a: Tensor, b: Tensor) -> Tensor:
    r"""Return :math:`|\bar a - \bar b|^2`, a scalar.

    Example:
        >>> mean_gap(torch.tensor([[0.0], [2.0]]), torch.tensor([[5.0], [3.0]]))
        tensor(9.)
    """
    return (a.mean(0) - b.mean(0)).square().sum()


def covariance_gap(a: Tensor, b: Tensor) -> Tensor:
    r"""Return :math:`|C_a - C_b|_F^2 / (4 D^2)` of the unbiased covariances, a scalar; 0 of single rows.

    Example:
        >>> covariance_gap(torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [5.0]]))  # variances 2 and 8
        tensor(9.)
    """
    return (_covariance(a) - _covariance(b)).square().sum() / (4 * a.shape[1] ** 2)


def kernel_gap(a: Tensor, b: Tensor, bandwidth: float) -> Tensor:
    r"""Return the squared maximum mean discrepancy, biased, with the kernel :math:`\exp(-|x - y|^2 / 2 \sigma^2)`.

    Example:
        >>> kernel_gap(torch.zeros(1, 2), torch.full((1, 2), 9.0), bandwidth=1.0)  # nothing in common: k = 1, 1 and 0
        tensor(2.)
    """
    # Distances do not know where the origin is; far from it, those from products would lose their digits.
    origin = torch.cat([a, b]).detach().mean(0)
    a, b = a - origin, b - origin
    return _kernel(a, a, bandwidth).mean() + _kernel(b, b, bandwidth).mean() - 2 * _kernel(a, b, bandwidth).mean()


def _covariance(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(0)
    return centred.T @ centred / max(len(rows) - 1, 1)


def _kernel(a: Tensor, b: Tensor, bandwidth: float) -> Tensor:
    squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    return torch.exp(-squares.clamp(min=0) / (2 * bandwidth**2))
