from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from pml_proxyext.utils.row_chunks import map_row_chunks


def drawn(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()


def of_chunk(first: int, shared: Sequence[Tensor], rows: Sequence[Tensor]) -> list[Tensor]:
    products = shared[0] @ rows[0].T + rows[1]
    return [products.logsumexp(1) * (1 + first), (products * shared[1]).sin().sum(1)]


TENSORS = drawn(4, 3, seed=0), drawn(seed=1), drawn(7, 3, seed=2), drawn(7, seed=3)


@pytest.mark.parametrize("size", [1, 3, 7, 10])
def test_values_and_gradients_are_those_of_the_chunks(size: int) -> None:
    shared, matrices = TENSORS[:2], TENSORS[2:]
    chunks = zip(*(matrix.split(size) for matrix in matrices), strict=True)
    expected = [of_chunk(index * size, shared, rows) for index, rows in enumerate(chunks)]
    found = map_row_chunks(of_chunk, shared, matrices, size)
    for actual, parts in zip(found, zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(actual, torch.stack(parts))

    def gradients(outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(sum(output.pow(2).sum() for output in outputs), TENSORS)

    together = [torch.stack(parts) for parts in zip(*expected, strict=True)]
    for one, other in zip(gradients(found), gradients(together), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("constant", range(4))
def test_gradients_are_those_of_finite_differences_whatever_is_constant(constant: int) -> None:
    tensors = [t.detach().requires_grad_(i != constant) for i, t in enumerate(TENSORS)]
    assert torch.autograd.gradcheck(lambda *t: tuple(map_row_chunks(of_chunk, t[:2], t[2:], 3)), tensors)


def test_what_is_not_used_has_a_zero_gradient() -> None:
    unused = drawn(2, seed=4)
    (found,) = map_row_chunks(lambda first, shared, rows: [rows[0].sum()], [unused], TENSORS[2:3], 2)
    found.sum().backward()
    assert unused.grad is not None
    assert not unused.grad.any()


def test_nothing_of_a_chunk_is_kept() -> None:
    held: list[tuple[int, ...]] = []

    def pack(tensor: Tensor) -> Tensor:
        held.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        map_row_chunks(of_chunk, TENSORS[:2], TENSORS[2:], 3)
    assert held == [tuple(t.shape) for t in TENSORS]
