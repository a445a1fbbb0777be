r"""How much room latents take: alignment alone would shrink them to a point."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["LatentSpread"]


class LatentSpread(NamedTuple):
    r"""Trace and effective rank of the covariance :math:`C` of latents.

    With :math:`p_k` the eigenvalues of :math:`C` over their sum, the effective rank is
    :math:`\exp(-\sum_k p_k \log p_k)`: :math:`r` for latents that fill :math:`r` directions evenly, and no more than
    the number of rows less one.

    Attributes:
        trace: the sum of variances, 0 for latents that are all the same.
        effective_rank: between 1 and the width; 0 where the trace is 0.

    Reference:
        Roy, Vetterli, "The Effective Rank: A Measure of Effective Dimensionality", EUSIPCO 2007, on eigenvalues.

    Example:
        >>> LatentSpread.of(torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]))
        LatentSpread(trace=2.667, effective_rank=2.0)
    """

    trace: float
    effective_rank: float

    @classmethod
    @torch.no_grad()
    def of(cls, latents: Tensor) -> LatentSpread:
        """Return both of latents ``(N, Z)``, at least two rows; NaN if one of them is not finite."""
        latents = latents.double()
        if not latents.isfinite().all():
            return cls(torch.nan, torch.nan)
        eigenvalues = torch.linalg.svdvals(latents - latents.mean(0)).square() / (len(latents) - 1)
        trace = eigenvalues.sum()
        rank = torch.special.entr(eigenvalues / trace).sum().exp() if trace else trace
        return cls(trace.item(), rank.item())

    def __repr__(self) -> str:
        return f"LatentSpread(trace={self.trace:.4g}, effective_rank={self.effective_rank:.4})"
