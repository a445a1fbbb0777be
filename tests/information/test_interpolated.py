"""The interpolated bound: its two ends, and sums with one candidate left out."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pml_proxyext.information import NWJ, TUBA, Interpolated
from pml_proxyext.information.interpolated import leave_one_out

from .calls import normal, scores_of

SEEDS = st.integers(0, 10_000)


@given(seed=SEEDS, scale=st.sampled_from([0.1, 3.0, 100.0]), negatives=st.integers(1, 6), ties=st.booleans())
@settings(max_examples=40, deadline=None)
def test_sums_without_one_candidate_are_exact_at_any_scale(seed, scale, negatives, ties):
    positive, others = scores_of("pair", rows=2, negatives=negatives, seed=seed, scale=scale)
    if ties:
        positive, others = positive.round(), others.round()
    found = leave_one_out(positive, others)
    for i in range(2):
        for left_out in range(negatives):
            kept = [positive[i].item(), *(s for j, s in enumerate(others[i].tolist()) if j != left_out)]
            with mpmath.workdps(400):
                exact = mpmath.log(sum(mpmath.exp(mpmath.mpf(s)) for s in kept))
            assert found[i, left_out].item() == pytest.approx(float(exact), rel=1e-13, abs=1e-14)


def test_gradients_of_sums_without_one_candidate_are_finite_and_right_where_it_is_all_of_the_sum():
    positive = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    negatives = torch.tensor([[900.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    of_positive, of_negatives = torch.autograd.grad(leave_one_out(positive, negatives)[0, 0], [positive, negatives])
    torch.testing.assert_close(of_positive, torch.full((1,), 1 / 3).double())
    torch.testing.assert_close(of_negatives, torch.tensor([[0.0, 1 / 3, 1 / 3]]).double())


@pytest.mark.parametrize("form", ["square", "pair"])
def test_without_the_mean_it_is_tuba(form):
    scores, baseline = scores_of(form, seed=1), normal(5, seed=2)
    torch.testing.assert_close(Interpolated(0.0).per_row(scores), NWJ().per_row(scores))
    torch.testing.assert_close(Interpolated(0.0).per_row(scores, baseline), TUBA().per_row(scores, baseline))


@pytest.mark.parametrize("form", ["square", "pair"])
def test_without_the_baseline_it_is_infonce_with_one_left_out(form):
    scores, baseline = scores_of(form, seed=1, scale=50.0), normal(5, seed=2)
    estimator = Interpolated(1.0)
    assert torch.equal(estimator.per_row(scores, baseline), estimator.per_row(scores))
    positive, negatives = (scores.diagonal(), None) if form == "square" else scores
    if negatives is None:
        keep = ~torch.eye(5, dtype=torch.bool)
        negatives = scores[keep].view(5, 4)
    # The mean over 4 left out of log of 4 times the share of the positive among the 4 that are kept.
    contrasts = [
        torch.cat([positive[:, None], negatives[:, [j for j in range(4) if j != out]]], 1).log_softmax(1)[:, 0]
        for out in range(4)
    ]
    torch.testing.assert_close(estimator.per_row(scores), math.log(4) + torch.stack(contrasts).mean(0))


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan, "half"])
def test_alpha_is_in_the_unit_interval(alpha):
    with pytest.raises(ValueError, match="alpha must be a finite number >= 0 and <= 1"):
        Interpolated(alpha)


def test_alpha_is_shown():
    assert repr(Interpolated(0.25)) == "Interpolated(alpha=0.25)"
