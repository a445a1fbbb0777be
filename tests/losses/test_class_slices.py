from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from pml_proxyext.losses.binomial_deviance import BinomialDeviance
from pml_proxyext.losses.class_slices import OwnClass, SliceObjective, SoftmaxObjective

N, C = 6, 7


def logits(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    matrix = 5 * torch.randn(N, C, dtype=torch.float64, generator=generator)
    weights = torch.rand(N, dtype=torch.float64, generator=generator)
    return matrix.requires_grad_(), torch.randint(C, (N,), generator=generator), weights


def in_slices(objective: SliceObjective, matrix: Tensor, labels: Tensor, weights: Tensor, cuts: list[int]) -> Tensor:
    edges = [0, *sorted(set(cuts)), C]
    parts = [objective.of_slice(matrix[:, a:b], OwnClass.of(labels, a, b - a), weights, C) for a, b in pairwise(edges)]
    reduced, own = (torch.stack(part) for part in zip(*parts, strict=True))
    joined = reduced.logsumexp(0) if objective.reduction == "logsumexp" else reduced.sum(0)
    return objective.of_all(joined, own.sum(0), labels, weights, C)


def test_own_class_picks_and_replaces_what_is_in_the_slice_only() -> None:
    matrix = torch.arange(12.0).reshape(3, 4)
    own = OwnClass.of(torch.tensor([5, 0, 8]), first=5, width=4)
    assert own.pick(matrix).tolist() == [0.0, 0.0, 11.0]
    expected = matrix.clone()
    expected[0, 0] = expected[2, 3] = -1.0
    assert own.replace(matrix, -1.0).tolist() == expected.tolist()
    assert matrix[0, 0] == 0.0


@given(st.lists(st.integers(1, C - 1)), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_softmax_in_any_slices_is_cross_entropy(cuts: list[int], seed: int) -> None:
    matrix, labels, weights = logits(seed)
    losses = in_slices(SoftmaxObjective(), matrix, labels, weights, cuts)
    expected = cross_entropy(matrix, labels, reduction="none") * weights
    torch.testing.assert_close(losses, expected)
    actual, wanted = (torch.autograd.grad(one.square().sum(), matrix)[0] for one in (losses, expected))
    torch.testing.assert_close(actual, wanted)


def test_a_margin_changes_the_own_logit_alone() -> None:
    matrix, labels, weights = logits()
    moved = matrix.detach().clone()
    for row, label in enumerate(labels.tolist()):
        moved[row, label] = moved[row, label] ** 3 - 1
    losses = in_slices(SoftmaxObjective(lambda own: own**3 - 1), matrix, labels, weights, [2, 3])
    torch.testing.assert_close(losses, cross_entropy(moved, labels, reduction="none") * weights)


@given(st.lists(st.integers(1, C - 1)), st.sampled_from(["samples", "proxies"]), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_deviance_in_any_slices_is_that_of_the_whole(cuts: list[int], over: str, seed: int) -> None:
    objective = BinomialDeviance(0.7, 1.0, -1.0, over=over)  # type: ignore[arg-type]
    matrix, labels, weights = logits(seed)
    torch.testing.assert_close(in_slices(objective, matrix, labels, weights, cuts), objective(matrix, labels, weights))


@pytest.mark.parametrize("objective", [SoftmaxObjective(), BinomialDeviance(1.0, 0.0, 0.0)])
def test_objectives_say_that_they_are(objective: object) -> None:
    assert isinstance(objective, SliceObjective)
    assert not isinstance(lambda logits, labels, weights: logits, SliceObjective)
