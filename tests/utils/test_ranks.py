"""Each exchange against the same arithmetic on the parts of all ranks at once."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from pml_proxyext.testing.processes import run_processes
from pml_proxyext.utils.ranks import (
    agree,
    from_first_rank,
    gather_rows,
    logsumexp_over_ranks,
    scale_gradient,
    sum_over_ranks,
    to_parts,
    world,
)

PARTS = torch.randn(3, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
COEFFICIENTS = torch.randn(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def of_one_process() -> tuple[Tensor, Tensor]:
    """Return a value made of rows, parts, a sum and a log-sum, and its gradient in every part."""
    parts = PARTS.clone().requires_grad_()
    rows = parts.flatten(0, 1)
    partial = torch.stack([(rank + 1) * rows.sin() for rank in range(3)])  # each rank's own function of all rows
    value = (COEFFICIENTS * partial.sum(0)).sum() + (COEFFICIENTS * (10 * partial).logsumexp(0)).sum()
    value.backward()
    return value.detach(), parts.grad


def test_value_and_gradients_are_those_of_one_process() -> None:
    def step(rank: int) -> tuple[Tensor, Tensor]:
        own = PARTS[rank].clone().requires_grad_()
        partial = (rank + 1) * to_parts(gather_rows(own)).sin()
        value = (COEFFICIENTS * sum_over_ranks(partial)).sum() + (
            COEFFICIENTS * logsumexp_over_ranks(10 * partial)
        ).sum()
        value.backward()
        return value.detach(), own.grad

    expected, gradient = of_one_process()
    for rank, (value, own) in enumerate(run_processes(step, 3)):
        torch.testing.assert_close(value, expected, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(own / 3, gradient[rank], rtol=1e-13, atol=1e-13)


def test_log_sums_of_large_numbers_of_nothing_and_of_nan() -> None:
    rows = torch.tensor([[1e4, -torch.inf, torch.nan], [1e4, -torch.inf, 0.0]])
    for found in run_processes(lambda rank: logsumexp_over_ranks(rows[rank])):
        torch.testing.assert_close(found, rows.logsumexp(0), equal_nan=True)


def test_first_rank_decides_and_keeps_what_it_has() -> None:
    def step(rank: int) -> tuple[Tensor, Tensor]:
        own = torch.arange(6.0).view(2, 3).t() + rank  # not contiguous
        return from_first_rank(own), own

    (first, own), (second, others) = run_processes(step)
    assert torch.equal(first, torch.arange(6.0).view(2, 3).t())
    assert torch.equal(first, own)
    assert torch.equal(second, first)
    assert torch.equal(others, own + 1)


def test_ranks_hear_of_each_others_problems() -> None:
    def step(rank: int) -> list[str]:
        messages = []
        for problem, fact in (("too many" if rank == 1 else None, rank), (None, rank), (None, 0)):
            try:
                agree(problem, {"the fact": fact})
                messages.append("agreed")
            except ValueError as error:
                messages.append(str(error))
        return messages

    expected = ["too many (rank 1)", "the fact must be the same on all ranks, got [0, 1]", "agreed"]
    assert run_processes(step) == [expected] * 2


def test_alone_every_exchange_is_the_identity() -> None:
    rows = PARTS[0].clone().requires_grad_()
    assert world() == (0, 1)
    for exchange in (gather_rows, to_parts, sum_over_ranks, logsumexp_over_ranks):
        assert exchange(rows) is rows
    assert from_first_rank(rows).requires_grad is False
    agree(None, {"a fact": 1})
    with pytest.raises(ValueError, match=r"^wrong$"):
        agree("wrong")


def test_scale_reaches_the_gradient_only() -> None:
    rows = PARTS[0].clone().requires_grad_()
    scaled = scale_gradient(rows, 3.0)
    assert torch.equal(scaled, rows)
    scaled.sum().backward()
    assert (rows.grad == 3.0).all()


def test_world_is_that_of_the_group() -> None:
    assert run_processes(lambda rank: (world(), dist.get_world_size()), 3) == [((rank, 3), 3) for rank in range(3)]
