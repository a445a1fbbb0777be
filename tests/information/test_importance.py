"""Weights of negatives, and what they are worth."""

from __future__ import annotations

import math

import pytest
import torch

from pml_proxyext.information import effective_sample_size, log_importance_weights

from .calls import as_rows, normal, scores_of


@pytest.mark.parametrize("form", ["square", "pair"])
def test_weights_and_sizes_are_those_of_loops(form):
    psi = scores_of(form, rows=5, negatives=4)
    for i, (_, negatives) in enumerate(as_rows(psi)):
        total = sum(map(math.exp, negatives))
        weights = [math.exp(s) / total for s in negatives]
        assert log_importance_weights(psi)[i].exp().tolist() == pytest.approx(weights, rel=1e-12)
        assert effective_sample_size(psi)[i].item() == pytest.approx(1 / sum(w * w for w in weights), rel=1e-12)


def test_the_positive_and_a_shift_of_the_row_have_no_say():
    positive, negatives = scores_of("pair")
    expected = log_importance_weights((positive, negatives))
    torch.testing.assert_close(log_importance_weights((positive + 5, negatives)), expected, rtol=0, atol=0)
    torch.testing.assert_close(log_importance_weights((positive, negatives + 5)), expected)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_the_size_is_between_one_and_the_number_of_negatives(scale):
    sizes = effective_sample_size(normal(9, 9, seed=1, scale=scale))
    assert bool(((sizes >= 1 - 1e-12) & (sizes <= 8 + 1e-12)).all())
    if scale == 0.0:
        torch.testing.assert_close(sizes, torch.full((9,), 8.0).double())
    if scale == 1e4:
        torch.testing.assert_close(sizes, torch.ones(9).double())


def test_without_negatives_there_are_no_weights():
    for function in (log_importance_weights, effective_sample_size):
        with pytest.raises(ValueError, match="psi must have at least 1 negative"):
            function(torch.zeros(1, 1))
