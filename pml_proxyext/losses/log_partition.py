"""Log-partition functions of large matrices of logits, with the logit of one column of each row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["log_partition"]


class _LogPartition(torch.autograd.Function):
    """What :func:`log_partition` returns, with one matrix beside the logits at any time, forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, column: Tensor, is_inside: Tensor) -> tuple[Tensor, Tensor]:
        highest = logits.amax(1, keepdim=True)
        highest = torch.where(highest.isinf(), 0.0, highest)  # minus infinity in all columns is not NaN
        log_sum = highest.squeeze(1) + (logits - highest).exp_().sum(1).log()
        ctx.save_for_backward(logits, column, is_inside, log_sum)
        return log_sum, _own(logits, column, is_inside)

    @staticmethod
    def backward(ctx: Any, of_sum: Tensor, of_own: Tensor) -> tuple[Tensor, None, None]:
        logits, column, is_inside, log_sum = ctx.saved_tensors
        own = torch.where(is_inside, of_own, 0.0)[:, None]
        if torch.is_grad_enabled():  # the gradient is to be differentiated, so nothing must be written over
            return (logits.softmax(1) * of_sum[:, None]).scatter_add(1, column[:, None], own), None, None
        gradient = (logits - log_sum[:, None]).exp_().mul_(of_sum[:, None])
        return gradient.scatter_add_(1, column[:, None], own), None, None


def log_partition(logits: Tensor, column: Tensor, is_inside: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return :math:`\log \sum_c e^{s_{ic}}` and the entry of each row at its column, or zero, ``(N,)`` each.

    Value and gradients are those of ``logsumexp`` and ``gather``, which need three further matrices of the size of the
    logits in between. A compiled graph plans its own memory, and gets these.

    Args:
        logits: ``(N, C)``.
        column: ``(N,)``, in the matrix for all rows.
        is_inside: ``(N,)``: whether the entry there counts.

    Example:
        >>> log_sum, own = log_partition(torch.zeros(1, 4), torch.tensor([2]), torch.tensor([True]))
        >>> round(log_sum.exp().item()), own.item()
        (4, 0.0)
    """
    if torch.compiler.is_compiling():
        return logits.logsumexp(1), _own(logits, column, is_inside)
    return _LogPartition.apply(logits, column, is_inside)


def _own(logits: Tensor, column: Tensor, is_inside: Tensor) -> Tensor:
    return torch.where(is_inside, logits.gather(1, column[:, None]).squeeze(1), 0.0)
