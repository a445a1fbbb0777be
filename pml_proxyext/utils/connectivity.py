r"""How close a sample is to all others: its connectivity, and what CrossCLR's loss and its miner make of that."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pml_proxyext.utils.precision import upcast

__all__ = ["Score", "Weighting", "connectivity", "influential", "proximity_weights"]

Score = Literal["max", "raw"]
Weighting = Literal["normalized", "eq5", "none"]


@torch.no_grad()
def connectivity(
    features: Tensor, pool: Tensor | None = None, is_filled: Tensor | None = None, include_self: bool = True
) -> Tensor:
    r"""Return the mean cosine of each row to the rows of a pool, :math:`C(x_i) = \frac1M \sum_j \cos(x_i, x_j)`.

    Every row must be in the pool, where it meets itself with cosine 1.

    Args:
        features: ``(N, E)``.
        pool: ``(M, E)``; the features themselves by default.
        is_filled: ``(M,)`` bool, the rows of the pool that count; all by default.
        include_self: False takes the cosine with itself for 0; the sum is divided by M all the same.

    Shapes:
        -> ``(N,)`` in [-1, 1], without gradients, in float32 for half precision.

    Example:
        >>> connectivity(torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]]))
        tensor([0.6667, 0.3333, 0.6667])
    """
    rows = normalize(upcast(features))
    others = rows if pool is None or pool is features else normalize(upcast(pool).to(rows))
    if is_filled is not None:
        others = torch.where(is_filled[:, None], others, 0.0)
    count = len(others) if is_filled is None else is_filled.sum()
    total = others.sum(0)
    # A sum of cosines is the product with the sum of directions: no (N, M) matrix.
    return (rows * (total if include_self else total - rows)).sum(1) / count


def influential(scores: Tensor, threshold: float | None, score: Score, is_filled: Tensor | None = None) -> Tensor:
    r"""Return which samples have a connectivity strictly above the threshold, ``(M,)`` bool.

    With ``score="max"`` the threshold is a part of the largest connectivity, so that at 1 nothing is influential;
    neither is anything where the largest is not positive.

    Args:
        scores: connectivities ``(M,)``.
        threshold: None finds nothing.
        score: ``"max"``, or ``"raw"`` for the connectivity as it is.
        is_filled: ``(M,)`` bool, the samples among which the largest is looked for; all by default.

    Example:
        >>> influential(torch.tensor([0.5, 0.3, 0.49]), 0.9, "max")
        tensor([ True, False,  True])
    """
    if threshold is None:
        return torch.zeros_like(scores, dtype=torch.bool)
    if score == "raw":
        return scores > threshold
    largest = (scores if is_filled is None else scores.masked_fill(~is_filled, -torch.inf)).max()
    return (scores / largest > threshold) & (largest > _rounding(scores))


def proximity_weights(scores: Tensor, scale: float, weighting: Weighting) -> Tensor:
    r"""Return the weight of each sample of a batch, ``(N,)``, from its connectivity :math:`C_i`.

    - ``"normalized"``: :math:`N \mathrm{softmax}_i\big(C_i / (\kappa \sum_j C_j)\big)`, with mean 1; all 1 if the sum
      is not positive, for then the quotient would turn the ranking round, or mean nothing.
    - ``"eq5"``: :math:`e^{C_i / \kappa}`, which overflows for small :math:`\kappa`.
    - ``"none"``: 1.

    Example:
        >>> proximity_weights(torch.tensor([0.9, 0.6, 0.9]), 0.1, "normalized")
        tensor([1.3120, 0.3759, 1.3120])
    """
    if weighting == "none":
        return torch.where(scores.isnan(), scores, 1.0)
    if weighting == "eq5":
        return (scores / scale).exp()
    total = scores.sum()
    # Written so that NaN takes the quotient's way, and stays visible.
    logits = torch.where(total <= len(scores) * _rounding(scores), 0.0, scores / (scale * total))
    return len(scores) * logits.softmax(0)


def _rounding(scores: Tensor) -> float:
    """Return what a mean of cosines may differ from zero by where it is zero."""
    return 8 * torch.finfo(scores.dtype).eps
