"""Conditional estimates: where they meet InfoNCE, how they telescope, what their losses leave alone."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pml_proxyext.information import (
    CNCE,
    CNCEBoosted,
    CNCEImportance,
    CNCEVariational,
    InfoNCE,
    RowDonskerVaradhan,
    cap,
)

from .calls import normal, scores_of

SCALES = st.sampled_from([0.1, 3.0, 100.0])
SEEDS = st.integers(0, 10_000)
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def close(found, expected):
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("estimator", [CNCE(), CNCEVariational()])
def test_negatives_of_a_batch_are_refused_as_conditional(estimator):
    arguments = (torch.zeros(3),) if isinstance(estimator, CNCEVariational) else ()
    with pytest.raises(ValueError, match=r"drawn given x'.*\(3, 3\).*draws of p\(y\)"):
        estimator(torch.zeros(3, 3), *arguments)


@pytest.mark.parametrize("kl", [torch.zeros(()), torch.zeros(4), torch.zeros(5, 1)])
def test_a_divergence_for_each_row_is_needed(kl):
    with pytest.raises(ValueError, match=r"kl_per_row must have one number for each row.* for 5 rows"):
        CNCEVariational()(scores_of("pair"), kl)


def test_the_divergence_trains_the_model():
    scores = scores_of("pair")
    kl = torch.ones(5, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(CNCEVariational().loss(scores, kl), kl)
    torch.testing.assert_close(grad, torch.full((5,), 0.2).double())


@given(seed=SEEDS, scale=SCALES, form=st.sampled_from(["square", "pair"]))
@settings(max_examples=25, deadline=None)
def test_uncapped_values_telescope(seed, scale, form):
    psi, phi = (scores_of(form, seed=seed + i, scale=scale) for i in (0, 50_000))
    both = psi + phi if form == "square" else (psi[0] + phi[0], psi[1] + phi[1])
    uncapped = CNCEImportance().uncapped(psi, phi)
    close(RowDonskerVaradhan().per_row(psi) + uncapped, RowDonskerVaradhan().per_row(both))
    close(CNCEImportance().per_row(psi, phi), cap(uncapped, 5))
    close(CNCEBoosted().per_row(psi, phi), InfoNCE().per_row(both))


@given(seed=SEEDS, scale=SCALES)
@settings(max_examples=15, deadline=None)
def test_the_increment_weighs_the_positive_too(seed, scale):
    psi, phi = normal(5, 5, seed=seed, scale=scale), normal(5, 5, seed=seed + 1, scale=scale)
    weighted = (psi.log_softmax(1) + phi).logsumexp(1)
    close(CNCEBoosted().increment(psi, phi), phi.diagonal() - weighted)


@given(seed=SEEDS, scale=SCALES)
@settings(max_examples=15, deadline=None)
def test_a_subview_that_knows_nothing_leaves_infonce(seed, scale):
    psi, phi = normal(5, 1, seed=seed, scale=scale).expand(5, 5), normal(5, 5, seed=seed + 1, scale=scale)
    close(CNCEImportance().per_row(psi, phi), InfoNCE().per_row(phi))
    close(CNCEBoosted().per_row(psi, phi), InfoNCE().per_row(phi))


@given(seed=SEEDS, scale=SCALES)
@settings(max_examples=15, deadline=None)
def test_a_view_that_adds_nothing_adds_nothing(seed, scale):
    psi = normal(5, 5, seed=seed, scale=scale)
    close(CNCEImportance().per_row(psi, torch.zeros(5, 5).double()), torch.zeros(5).double())
    close(CNCEBoosted().increment(psi, torch.zeros(5, 5).double()), torch.zeros(5).double())


@pytest.mark.parametrize("estimator", [CNCEImportance(), CNCEBoosted()])
@pytest.mark.parametrize("form", ["square", "pair"])
def test_the_loss_holds_psi_fixed_and_has_the_value_s_gradient_in_phi(estimator, form):
    def leaves(scores):
        return [part.requires_grad_() for part in ([scores] if form == "square" else scores)]

    psi, phi = scores_of(form, seed=1), scores_of(form, seed=2)
    psi_leaves, phi_leaves = leaves(psi), leaves(phi)
    loss, value = estimator.loss(psi, phi), estimator(psi, phi)
    assert loss == -value
    assert torch.autograd.grad(loss, psi_leaves, allow_unused=True, retain_graph=True) == (None,) * len(psi_leaves)
    for of_loss, of_value in zip(
        torch.autograd.grad(loss, phi_leaves), torch.autograd.grad(value, phi_leaves, retain_graph=True), strict=True
    ):
        torch.testing.assert_close(of_loss, -of_value)
    assert any(
        bool(grad.any()) for grad in torch.autograd.grad(value, psi_leaves, materialize_grads=True, allow_unused=True)
    )


def test_there_is_nothing_uncapped_without_negatives():
    with pytest.raises(ValueError, match="psi must have at least 1 negative"):
        CNCEImportance().uncapped(torch.zeros(1, 1), torch.zeros(1, 1))


@pytest.mark.parametrize("estimator", [CNCEImportance(), CNCEBoosted()])
def test_scores_of_other_candidates_are_refused(estimator):
    for function in (estimator, estimator.loss):
        with pytest.raises(ValueError, match="psi and phi must score the same candidates"):
            function(torch.zeros(3, 3), torch.zeros(4, 4))


def test_weights_of_scores_in_the_hundreds_are_no_trouble():
    psi = torch.tensor([[0.0, 800.0, -800.0], [0.0, 0.0, 0.0], [900.0, 900.0, 0.0]])
    phi = torch.tensor([[0.0, -800.0, 800.0], [0.0, 0.0, 0.0], [-900.0, -900.0, 0.0]])
    # Row 0: weights 1 and exp(-1600), times exp(-800) and exp(800). Row 2: half of exp(-900), twice.
    expected = [800 - math.log(2), 0.0, 900.0]
    assert CNCEImportance().uncapped(psi, phi).tolist() == pytest.approx(expected, rel=1e-6)
