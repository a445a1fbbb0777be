"""A function of chunks of the rows of matrices, computed again in the backward pass instead of kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

__all__ = ["OfChunk", "map_row_chunks"]

#: From the number of the first row, the shared tensors and the rows to tensors of the same shapes for every chunk.
OfChunk = Callable[[int, Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]]


class _MapRowChunks(torch.autograd.Function):
    """One node for all chunks: whatever a chunk needs is gone before the next one is begun, in both directions.

    Checkpoints of the chunks would do the same, but their graphs are taken down between one chunk and the next; what
    the C library then fragments was measured to be as much as the checkpoints save.
    """

    @staticmethod
    def forward(ctx: Any, function: OfChunk, size: int, num_shared: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.function, ctx.size, ctx.num_shared = function, size, num_shared
        ctx.save_for_backward(*tensors)
        shared, matrices = tensors[:num_shared], tensors[num_shared:]
        chunks = zip(*(matrix.split(size) for matrix in matrices), strict=True)
        found = [function(index * size, shared, rows) for index, rows in enumerate(chunks)]
        return tuple(torch.stack(parts) for parts in zip(*found, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[3:]
        tensors = [
            tensor.detach().requires_grad_(wanted) for tensor, wanted in zip(ctx.saved_tensors, needed, strict=True)
        ]
        shared, matrices = tensors[: ctx.num_shared], tensors[ctx.num_shared :]
        wanted_shared = [tensor for tensor in shared if tensor.requires_grad]
        of_shared = [torch.zeros_like(tensor) for tensor in wanted_shared]
        of_matrices = [torch.zeros_like(matrix) if matrix.requires_grad else None for matrix in matrices]
        wanted = [index for index, matrix in enumerate(matrices) if matrix.requires_grad]
        for number, first in enumerate(range(0, len(matrices[0]), ctx.size)):
            rows = [
                matrix.detach()[first : first + ctx.size].requires_grad_(matrix.requires_grad) for matrix in matrices
            ]
            with torch.enable_grad():
                outputs = ctx.function(first, shared, rows)
            inputs = [*wanted_shared, *(rows[index] for index in wanted)]
            found = torch.autograd.grad(
                outputs, inputs, [gradient[number] for gradient in gradients], allow_unused=True, materialize_grads=True
            )
            for total, one in zip(of_shared, found, strict=False):
                total += one
            for index, one in zip(wanted, found[len(of_shared) :], strict=True):
                of_matrices[index][first : first + ctx.size] = one  # type: ignore[index]
        of_all_shared = iter(of_shared)
        return (
            None,
            None,
            None,
            *(next(of_all_shared) if tensor.requires_grad else None for tensor in shared),
            *of_matrices,
        )


def map_row_chunks(
    function: OfChunk, shared: Sequence[Tensor], matrices: Sequence[Tensor], size: int
) -> Sequence[Tensor]:
    """Return ``function(first, shared, rows)`` for all chunks of rows, stacked, keeping nothing of it but this.

    Args:
        function: makes tensors out of a chunk; their shapes must not depend on the number of rows. It is called again
            in the backward pass, must not draw random numbers, and gets its gradients through its arguments alone.
        shared: tensors that all chunks use.
        matrices: of as many rows each.
        size: rows in a chunk; the last may have fewer.

    Example:
        >>> matrix = torch.ones(5, 2, requires_grad=True)
        >>> (sums,) = map_row_chunks(lambda first, shared, rows: [rows[0].sum()], [], [matrix], size=2)
        >>> sums
        tensor([4., 4., 2.], grad_fn=<_MapRowChunksBackward>)
    """
    if not torch.compiler.is_compiling():
        stacked: tuple[Tensor, ...] = _MapRowChunks.apply(function, size, len(shared), *shared, *matrices)
        return stacked
    chunks = zip(*(matrix.split(size) for matrix in matrices), strict=True)
    found = [
        checkpoint(function, index * size, shared, rows, use_reentrant=False, preserve_rng_state=False)
        for index, rows in enumerate(chunks)
    ]
    return [torch.stack(parts) for parts in zip(*found, strict=True)]
