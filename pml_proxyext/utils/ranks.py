r"""Tensors on the processes of a group, in value and in gradient; without a group every function is the identity.

A tensor is *replicated* if every rank holds the same one, and *partial* if it is a rank's own part of something. All
ranks compute the same replicated loss and each differentiates its own copy. So the gradient of a replicated tensor is
complete on every rank, and these functions change between the two kinds:

===========================  ========================  ==================================
function                     forward                   backward
===========================  ========================  ==================================
:func:`gather_rows`          rows of all ranks         own rows, times the number of ranks
:func:`to_parts`             nothing                   sum over the ranks
:func:`sum_over_ranks`       sum over the ranks        nothing
:func:`logsumexp_over_ranks` two sums of N numbers     each rank's share
===========================  ========================  ==================================
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = [
    "agree",
    "from_first_rank",
    "gather_rows",
    "logsumexp_over_ranks",
    "scale_gradient",
    "sum_over_ranks",
    "to_parts",
    "world",
]


class _ScaleGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a constant."""

    @staticmethod
    def forward(tensor: Tensor, factor: float) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


class _ToParts(torch.autograd.Function):
    """The identity, whose gradient is summed over the ranks."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _reduced(gradient, dist.ReduceOp.SUM)


class _Sum(torch.autograd.Function):
    """The sum over the ranks, whose gradient is that of each part."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        return _reduced(part, dist.ReduceOp.SUM)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def world() -> tuple[int, int]:
    """Return this process's rank and the number of processes; (0, 1) outside a process group."""
    grouped = dist.is_available() and dist.is_initialized()
    return (dist.get_rank(), dist.get_world_size()) if grouped else (0, 1)


def scale_gradient(tensor: Tensor, factor: float) -> Tensor:
    """Return the tensor, whose gradient will be multiplied by ``factor``."""
    return _ScaleGradient.apply(tensor, factor)


def gather_rows(tensor: Tensor) -> Tensor:
    """Return the rows of all ranks in the order of the ranks, as many of each; the result is replicated.

    The gradient of the own rows is multiplied by the number of ranks, so that the mean over the ranks that
    ``DistributedDataParallel`` takes of a model's gradients is the gradient of one process.
    """
    rank, world_size = world()
    if world_size == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(world_size)]
    dist.all_gather(parts, tensor.detach().contiguous())
    parts[rank] = scale_gradient(tensor, world_size) if tensor.requires_grad else tensor
    return torch.cat(parts)


def to_parts(replicated: Tensor) -> Tensor:
    """Return a replicated tensor for use in partial ones, from which its gradient is collected."""
    return replicated if world()[1] == 1 else _ToParts.apply(replicated)


def sum_over_ranks(part: Tensor) -> Tensor:
    """Return the sum of the ranks' parts, replicated."""
    return part if world()[1] == 1 else _Sum.apply(part)


def logsumexp_over_ranks(part: Tensor) -> Tensor:
    """Return the logarithm of the sum of the exponentials of the ranks' parts, replicated: a maximum and a sum."""
    if world()[1] == 1:
        return part
    highest = _reduced(part.detach(), dist.ReduceOp.MAX)
    highest = torch.where(highest.isinf(), 0.0, highest)  # a sum of nothing is log(0), not NaN
    return highest + sum_over_ranks((part - highest).exp()).log()


@torch.no_grad()
def from_first_rank(tensor: Tensor) -> Tensor:
    """Return rank 0's tensor, of the same shape and dtype on all ranks; it carries no gradient."""
    if world()[1] == 1:
        return tensor.detach()
    copy = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.broadcast(copy, src=0)
    return copy


def agree(problem: str | None, facts: dict[str, Any] | None = None, cause: Exception | None = None) -> None:
    """Raise the same ValueError on all ranks if any of them has a problem, or if their facts differ.

    What would be an error on one rank only is a hang on the others, which wait for it in the next exchange; so the
    ranks tell each other first.

    Args:
        problem: what is wrong on this rank, or None.
        facts: what must be the same on all ranks, by name.
        cause: the error behind the problem; this rank's traceback shows where it came from.
    """
    world_size = world()[1]
    reports: list[Any] = [(problem, facts)] * world_size
    if world_size > 1:
        dist.all_gather_object(reports, (problem, facts))
    problems = [f"{problem} (rank {at})" for at, (problem, _) in enumerate(reports) if problem is not None]
    if problems:
        raise ValueError("; ".join(problems) if world_size > 1 else problem) from cause
    for name in facts or {}:
        values = [others[name] for _, others in reports]
        if any(value != values[0] for value in values):
            raise ValueError(f"{name} must be the same on all ranks, got {values}")


def _reduced(tensor: Tensor, operation: Any) -> Tensor:
    copy = tensor.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(copy, op=operation)
    return copy
