from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pml_proxyext.losses.weighted_negatives import negative_logits


def draw(seed: int, rows: int = 5, columns: int = 6, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    """Return logits, and counts of 0 to 2 of which the first row has none but zeros."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    counts = torch.randint(3, (rows, columns), generator=generator).to(logits)
    counts[0] = 0
    counts[1:, 0] = 1
    return logits.requires_grad_(), counts


def by_definition(logits: Tensor, counts: Tensor, concentration: float) -> list[float]:
    values = []
    for row, row_counts in zip(logits.tolist(), counts.tolist(), strict=True):
        negatives = [x for x, count in zip(row, row_counts, strict=True) for _ in range(int(count))]
        mean = sum(math.exp(concentration * x) for x in negatives) / max(len(negatives), 1)
        values.append(sum(math.exp(concentration * x) / mean * math.exp(x) for x in negatives))
    return values


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), concentration=st.sampled_from([0.0, 0.5, 1.0, 3.0]), detach=st.booleans())
def test_it_is_the_weighted_sum_of_a_loop(seed, concentration, detach):
    logits, counts = draw(seed)
    found = negative_logits(logits, counts, concentration, detach)
    expected = torch.tensor(by_definition(logits, counts, concentration), dtype=torch.float64)
    torch.testing.assert_close(found[1:].exp(), expected[1:], rtol=1e-10, atol=0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), concentration=st.sampled_from([0.0, 0.5, 1.0, 3.0]))
def test_gradients_follow_the_formula_with_weights_and_without(seed, concentration):
    """Attached: (1 + c) softmax((1 + c) x) - c softmax(c x) over the negatives; detached: softmax((1 + c) x)."""
    logits, counts = draw(seed)
    both = (counts * ((1 + concentration) * logits).exp())[1:], (counts * (concentration * logits).exp())[1:]
    pull, push = (terms.detach() / terms.detach().sum(1, keepdim=True) for terms in both)
    for detach, expected in ((False, (1 + concentration) * pull - concentration * push), (True, pull)):
        found = torch.autograd.grad(negative_logits(logits, counts, concentration, detach)[1:].sum(), logits)[0]
        torch.testing.assert_close(found[1:], expected, rtol=1e-9, atol=1e-12)
        assert (found[0] == 0).all()


def test_a_row_without_negatives_is_finite_and_leaves_other_gradients_alone():
    logits, counts = draw(0)
    found = negative_logits(logits, counts, 1.0, False)
    gradient = torch.autograd.grad(found[0] * 0 + found[1:].sum(), logits)[0]
    assert torch.isfinite(found).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("detach", [False, True])
def test_at_large_concentrations_the_nearest_negative_counts_for_all_in_float32(detach):
    """c x itself is 9e8, with an error of up to 32, which must drop out."""
    logits = torch.tensor([[900.1, 905.3, 900.2, 0.0]])
    found = negative_logits(logits, torch.tensor([[1.0, 1.0, 1.0, 0.0]]), 1e6, detach)
    torch.testing.assert_close(found, torch.tensor([905.3 + math.log(3)]), rtol=3e-7, atol=0)


def test_nan_stays_in_its_row():
    logits, counts = draw(1)
    broken = logits.detach().clone()
    broken[2, 0] = torch.nan
    found = negative_logits(broken, counts, 1.0, False)
    assert found.isnan().tolist() == [False, False, True, False, False]
