"""JS and SMILE: one objective to train by, two values to report."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits

from pml_proxyext.information import JS, NWJ, SMILE, DonskerVaradhan
from pml_proxyext.information.scores import split_scores

from .calls import normal, scores_of

SEEDS = st.integers(0, 10_000)


@pytest.mark.parametrize("form", ["square", "pair"])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_both_train_as_classifiers_of_pairs(form, scale):
    scores = scores_of(form, seed=1, scale=scale)
    leaves = [part.requires_grad_() for part in ([scores] if form == "square" else scores)]
    positive, negatives = split_scores(scores)
    expected = binary_cross_entropy_with_logits(positive, torch.ones_like(positive))
    expected = expected + binary_cross_entropy_with_logits(negatives, torch.zeros_like(negatives))
    wanted = torch.autograd.grad(expected, leaves, retain_graph=True)
    for estimator in (JS(), SMILE(tau=1.0)):
        loss = estimator.loss(scores)
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
        for grad, of_expected in zip(torch.autograd.grad(loss, leaves, retain_graph=True), wanted, strict=True):
            torch.testing.assert_close(grad, of_expected, rtol=1e-12, atol=1e-15)


def test_losses_keep_their_tails():
    scores = (torch.full((1,), 30.0).double(), torch.full((1, 2), -35.0).double())
    assert JS().loss(scores).item() == pytest.approx(math.exp(-30) + math.exp(-35), rel=1e-9)


def test_js_reports_nwj_where_its_best_critic_is_nwj_s():
    scores = normal(5, 5, seed=2)
    torch.testing.assert_close(JS().per_row(scores), NWJ().per_row(scores + 1))


@given(seed=SEEDS, tau=st.sampled_from([0.5, 2.0]), scale=st.sampled_from([0.3, 3.0, 100.0]))
@settings(max_examples=25, deadline=None)
def test_smile_is_donsker_varadhan_of_clipped_negatives(seed, tau, scale):
    scores = normal(5, 5, seed=seed, scale=scale)
    clipped = scores.clamp(-tau, tau).diagonal_scatter(scores.diagonal())
    torch.testing.assert_close(SMILE(tau)(scores), DonskerVaradhan()(clipped))
    assert abs(SMILE(tau)(scores) - scores.diagonal().mean()) <= tau + 1e-12
    torch.testing.assert_close(SMILE(1e3)(scores), DonskerVaradhan()(scores))


@pytest.mark.parametrize("tau", [0.0, -1.0, math.inf, math.nan])
def test_tau_is_positive(tau):
    with pytest.raises(ValueError, match="tau must be a finite number > 0"):
        SMILE(tau)


def test_tau_is_shown():
    assert repr(SMILE(tau=5.0)) == "SMILE(tau=5)"
