"""Log-partition functions against torch's logsumexp and gather, in value and in both derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pml_proxyext.losses.log_partition import log_partition

COLUMN = torch.tensor([2, 0, 4])
IS_INSIDE = torch.tensor([True, False, True])


def logits(scale: float = 3.0, dtype: torch.dtype = torch.float64) -> Tensor:
    return (scale * torch.randn(3, 5, dtype=dtype, generator=torch.Generator().manual_seed(0))).requires_grad_()


def by_torch(matrix: Tensor) -> tuple[Tensor, Tensor]:
    own = torch.stack([matrix[0, 2], matrix.new_zeros(()), matrix[2, 4]])
    return matrix.logsumexp(1), own


@pytest.mark.parametrize(("dtype", "scale"), [(torch.float64, 3.0), (torch.float64, 1e4), (torch.float32, 3.0)])
def test_value_and_gradient_are_torchs(dtype: torch.dtype, scale: float) -> None:
    tolerance = 10 * torch.finfo(dtype).eps
    ours, theirs = logits(scale, dtype), logits(scale, dtype)
    found, expected = log_partition(ours, COLUMN, IS_INSIDE), by_torch(theirs)
    factors = torch.tensor([0.3, -1.0, 2.0], dtype=dtype)
    for log_sum, own in (found, expected):
        ((log_sum - 0.7 * own) * factors).sum().backward()
    for actual, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=tolerance, atol=10 * tolerance)


def test_both_derivatives_are_those_of_differences() -> None:
    def function(matrix: Tensor) -> tuple[Tensor, Tensor]:
        return log_partition(matrix, COLUMN, IS_INSIDE)

    assert torch.autograd.gradcheck(function, logits(1.0))
    assert torch.autograd.gradgradcheck(function, logits(1.0))


def test_infinite_and_missing_numbers_are_those_of_torch() -> None:
    matrix = torch.tensor([[-torch.inf, -torch.inf], [-torch.inf, 0.0], [torch.inf, 0.0], [torch.nan, 0.0]])
    column, is_inside = torch.zeros(4, dtype=torch.long), torch.tensor([False, True, True, True])
    log_sum, own = log_partition(matrix, column, is_inside)
    torch.testing.assert_close(log_sum, matrix.logsumexp(1), equal_nan=True)
    torch.testing.assert_close(own, torch.tensor([0.0, -torch.inf, torch.inf, torch.nan]), equal_nan=True)


def test_logits_stay_as_they_are() -> None:
    matrix = logits()
    before = matrix.detach().clone()
    sum(part.sum() for part in log_partition(matrix, COLUMN, IS_INSIDE)).backward()
    assert torch.equal(matrix, before)


def test_compiled_graph_is_whole_and_the_same() -> None:
    compiled = torch.compile(log_partition, fullgraph=True, backend="eager")
    for actual, expected in zip(
        compiled(logits(), COLUMN, IS_INSIDE), log_partition(logits(), COLUMN, IS_INSIDE), strict=True
    ):
        torch.testing.assert_close(actual, expected)
