"""InfoNCE and its cap: closed forms, precision far out, the two directions, PML's NT-Xent."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import NTXentLoss

from pml_proxyext.information import InfoNCE, RowDonskerVaradhan, cap

from .calls import normal


@given(uncapped=st.floats(-500, 500), k=st.integers(2, 10**6))
@example(uncapped=-20.5, k=2)  # from 20 on, torch's softplus takes x for log(1 + exp(x)) by default
@settings(max_examples=100, deadline=None)
def test_the_cap_is_its_definition_at_any_size(uncapped, k):
    with mpmath.workdps(500):
        exact = -mpmath.log(mpmath.mpf(1) / k + (1 - mpmath.mpf(1) / k) * mpmath.exp(-mpmath.mpf(uncapped)))
    found = cap(torch.tensor(uncapped, dtype=torch.float64), k)
    # Near zero the value is a difference of logarithms of K.
    assert found.item() == pytest.approx(float(exact), rel=1e-12, abs=4e-15 * (1 + math.log(k)))


def test_the_cap_keeps_its_gradient_far_out():
    uncapped = torch.tensor([-300.0, 0.0, 60.0], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(cap(uncapped, 5).sum(), uncapped)
    expected = [1.0, 0.8, 4 * math.exp(-60) / (1 + 4 * math.exp(-60))]
    torch.testing.assert_close(grad, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("k", [1, 0, 2.0, True])
def test_a_cap_needs_two_candidates(k):
    with pytest.raises(ValueError, match="num_candidates must be an integer >= 2"):
        cap(torch.zeros(1), k)


@pytest.mark.parametrize("scale", [0.1, 3.0, 100.0])
def test_infonce_is_the_capped_value_of_each_row(scale):
    scores = normal(6, 6, seed=1, scale=scale)
    torch.testing.assert_close(
        InfoNCE().per_row(scores), cap(RowDonskerVaradhan().per_row(scores), 6), rtol=1e-12, atol=1e-12
    )


def test_infonce_is_a_cross_entropy_away_from_the_logarithm_of_k():
    scores = normal(7, 7, seed=2, scale=50.0)
    expected = math.log(7) - torch.nn.functional.cross_entropy(scores, torch.arange(7), reduction="none")
    torch.testing.assert_close(InfoNCE().per_row(scores), expected, rtol=1e-12, atol=1e-12)


def test_infonce_is_pml_s_ntxent_of_two_views():
    x, y = normal(8, 5, seed=3), normal(8, 5, seed=4)
    loss = NTXentLoss(temperature=0.2)(x, torch.arange(8), ref_emb=y, ref_labels=torch.arange(8))
    cosines = torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(y).T
    torch.testing.assert_close(InfoNCE()(cosines / 0.2), math.log(8) - loss, rtol=1e-10, atol=1e-10)


def test_gradients_do_not_vanish_where_a_negative_wins_by_far():
    scores = torch.tensor([[-1e4, 1e4], [0.0, 0.0]], requires_grad=True)
    (grad,) = torch.autograd.grad(InfoNCE()(scores), scores)
    torch.testing.assert_close(grad, torch.tensor([[0.5, -0.5], [-0.25, 0.25]]))


@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.1, 3.0, 100.0]))
@settings(max_examples=20, deadline=None)
def test_what_is_added_to_a_row_does_not_matter(seed, scale):
    scores, shifts = normal(5, 5, seed=seed, scale=scale), normal(5, 1, seed=seed + 1, scale=scale)
    torch.testing.assert_close(InfoNCE().per_row(scores + shifts), InfoNCE().per_row(scores), rtol=1e-9, atol=1e-9)


def test_the_symmetric_form_is_the_mean_of_both_directions_and_needs_a_matrix():
    scores = normal(5, 5, seed=5)
    both = InfoNCE(symmetric=True)
    assert both(scores) != InfoNCE()(scores)
    torch.testing.assert_close(both(scores), (InfoNCE()(scores) + InfoNCE()(scores.T)) / 2)
    with pytest.raises(ValueError, match="square matrix for symmetric=True"):
        both((scores[0], scores))
    assert repr(both) == "InfoNCE(symmetric=True)"
