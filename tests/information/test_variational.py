"""NWJ and TUBA: how they depend on the baseline, and where each is largest."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pml_proxyext.information import NWJ, TUBA, DonskerVaradhan, RowDonskerVaradhan
from pml_proxyext.information.scores import split_scores

from .calls import normal, scores_of


def test_nwj_is_tuba_with_the_baseline_e_which_is_the_default():
    scores = normal(5, 5, seed=1)
    for baseline in ((), (1.0,), (torch.tensor(1.0),), (torch.ones(5),)):
        torch.testing.assert_close(TUBA().per_row(scores, *baseline), NWJ().per_row(scores))


@pytest.mark.parametrize("form", ["square", "pair"])
def test_the_mean_as_baseline_gives_donsker_varadhan(form):
    scores = scores_of(form, seed=2)
    negatives = split_scores(scores)[1]
    rows = negatives.logsumexp(1) - math.log(negatives.shape[1])
    torch.testing.assert_close(TUBA().per_row(scores, rows), RowDonskerVaradhan().per_row(scores))
    batch = negatives.flatten().logsumexp(0) - math.log(negatives.numel())
    torch.testing.assert_close(TUBA()(scores, batch), DonskerVaradhan()(scores))


@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.1, 3.0, 30.0]))
@settings(max_examples=25, deadline=None)
def test_no_baseline_beats_the_mean_of_the_row(seed, scale):
    scores, baseline = normal(5, 5, seed=seed, scale=scale), normal(5, seed=seed + 1, scale=scale)
    best = RowDonskerVaradhan().per_row(scores)
    assert bool((TUBA().per_row(scores, baseline) <= best + 1e-9 * (1 + best.abs())).all())


def test_a_baseline_is_trained_by_the_loss():
    scores = normal(5, 5, seed=3)
    baseline = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([baseline], lr=1.0)
    for _ in range(300):
        optimizer.zero_grad()
        TUBA().loss(scores, baseline).backward()
        optimizer.step()
    expected = split_scores(scores)[1].logsumexp(1) - math.log(4)
    torch.testing.assert_close(baseline.detach(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("baseline", [torch.zeros(4), torch.zeros(5, 1), torch.zeros(1)])
def test_a_baseline_of_another_shape_is_refused(baseline):
    with pytest.raises(ValueError, match="log_baseline must be a number or have one for each of 5 rows, got shape"):
        TUBA()(normal(5, 5, seed=1), baseline)


def test_scores_too_large_for_their_exponential_show():
    assert NWJ()(torch.full((3, 3), 500.0)) == -math.inf
