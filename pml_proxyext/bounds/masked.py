"""Reductions of ``(N, N)`` matrices over the pairs that a mask keeps, one number for each row."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["highest", "log_sum_exp", "lowest", "mean_over"]


def log_sum_exp(values: Tensor, mask: Tensor) -> Tensor:
    """Return ``(N,)``, the log of the sum of exponentials; minus infinity where a row of the mask is empty."""
    return torch.logsumexp(values.masked_fill(~mask, -math.inf), dim=1)


def highest(values: Tensor, mask: Tensor) -> Tensor:
    """Return ``(N,)``, the highest value; minus infinity where a row of the mask is empty."""
    return values.masked_fill(~mask, -math.inf).amax(dim=1)


def lowest(values: Tensor, mask: Tensor) -> Tensor:
    """Return ``(N,)``, the lowest value; infinity where a row of the mask is empty."""
    return -highest(-values, mask)


def mean_over(values: Tensor, mask: Tensor) -> Tensor:
    """Return ``(N,)``, the mean; NaN where a row of the mask is empty."""
    return values.masked_fill(~mask, 0).sum(dim=1) / mask.sum(dim=1)
