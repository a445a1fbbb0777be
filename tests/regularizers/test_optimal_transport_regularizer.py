"""The cost of matching embeddings with samples of a prior, against all permutations and closed forms."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import ContrastiveLoss, SupConLoss
from pytorch_metric_learning.reducers import SumReducer
from scipy.optimize import linprog

from pml_proxyext.regularizers import OptimalTransportRegularizer
from pml_proxyext.regularizers.optimal_transport_regularizer import optimal_assignment


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def embeddings(rows=5, width=3, seed=0):
    return torch.randn(rows, width, generator=generator(seed + 100), dtype=torch.float64)


def prior_samples(prior, x, seed=0):
    draws = torch.randn(x.shape, generator=generator(seed), dtype=torch.float64)
    return draws / draws.norm(dim=1, keepdim=True) if prior == "sphere" else draws


def cheapest(x, y):
    """Try all permutations."""
    costs = [[math.dist(a, b) ** 2 for b in y.tolist()] for a in x.tolist()]
    order = min(permutations(range(len(x))), key=lambda order: sum(costs[i][j] for i, j in enumerate(order)))
    return torch.tensor([costs[i][j] for i, j in enumerate(order)], dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 6), prior=st.sampled_from(["sphere", "normal"]))
def test_no_permutation_is_cheaper(seed, rows, prior):
    x = embeddings(rows, 3, seed)
    found = OptimalTransportRegularizer(prior, generator=generator(seed)).sample_losses(x)
    points = x / x.norm(dim=1, keepdim=True) if prior == "sphere" else x
    torch.testing.assert_close(found, cheapest(points, prior_samples(prior, x, seed)))


def test_a_matching_is_optimal_transport():
    """Splitting mass is no cheaper: a linear program over all plans finds the same cost."""
    cost = torch.rand(7, 7, generator=generator(), dtype=torch.float64)
    found = cost[torch.arange(7), optimal_assignment(cost)].sum().item()
    sums = torch.cat([torch.eye(7).repeat_interleave(7, 1), torch.eye(7).repeat(1, 7)])
    assert linprog(cost.flatten().numpy(), A_eq=sums.numpy(), b_eq=np.ones(14)).fun == pytest.approx(found)


@pytest.mark.parametrize("prior", ["sphere", "normal"])
def test_gradients_are_those_of_the_cost_of_the_best_matching(prior):
    """The matching is held, and finite differences of the cost, in which it may change, agree."""
    x = embeddings().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: OptimalTransportRegularizer(prior, generator=generator())(x), x)
    (gradient,) = torch.autograd.grad(OptimalTransportRegularizer(prior, generator=generator())(x), x)
    if prior == "normal":
        y = prior_samples(prior, x)
        order = optimal_assignment(torch.cdist(x.detach(), y).square())
        torch.testing.assert_close(gradient, 2 * (x.detach() - y[order]) / len(x))
    else:
        torch.testing.assert_close((gradient * x).sum(1), torch.zeros(5).double(), atol=1e-12, rtol=0)


def test_samples_of_the_prior_cost_nothing_whatever_their_order():
    for prior in ("sphere", "normal"):
        x = prior_samples(prior, embeddings(40, 4))
        shuffled = x[torch.randperm(40, generator=generator(1))]
        losses = OptimalTransportRegularizer(prior, generator=generator()).sample_losses(shuffled)
        torch.testing.assert_close(losses, torch.zeros(40).double())


def test_collapsed_embeddings_cost_most_and_the_cost_has_a_closed_form():
    """On the sphere: 2 - 2 cos, of mean 2. Over 20000 samples, six standard errors of 2 / sqrt(D N)."""
    x = torch.ones(200, 16, dtype=torch.float64)
    regularizer = OptimalTransportRegularizer(generator=generator())
    collapsed = torch.stack([regularizer(x) for _ in range(100)]).mean().item()
    assert collapsed == pytest.approx(2, abs=6 * 2 / math.sqrt(16 * 20_000))
    spread = OptimalTransportRegularizer(generator=generator())(embeddings(200, 16)).item()
    assert spread < 0.6 * collapsed


def test_descent_spreads_embeddings_over_the_sphere():
    x = (torch.eye(3)[0] + 0.1 * embeddings(60, 3)).requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.1)
    regularizer = OptimalTransportRegularizer(generator=generator())
    for _ in range(60):
        optimizer.zero_grad()
        regularizer(x).backward()
        optimizer.step()
    directions = torch.nn.functional.normalize(x.detach())
    assert directions.mean(0).norm() < 0.15  # from about 1
    second = directions.T @ directions / 60
    assert (torch.linalg.eigvalsh(second) - 1 / 3).abs().max() < 0.12


def test_it_joins_any_loss_of_pml_and_takes_a_reducer():
    x, labels = embeddings(6), torch.tensor([0, 0, 1, 1, 2, 2])
    for loss in (SupConLoss, ContrastiveLoss):
        regularizer = OptimalTransportRegularizer(generator=generator(), reducer=SumReducer())
        value = loss(embedding_regularizer=regularizer, embedding_reg_weight=0.5)(x, labels)
        points = x / x.norm(dim=1, keepdim=True)
        expected = cheapest(points, prior_samples("sphere", x)).sum()
        torch.testing.assert_close(value, loss()(x, labels) + 0.5 * expected)


def test_samples_follow_the_generator_and_are_drawn_anew():
    x = embeddings()
    first, again = (OptimalTransportRegularizer(generator=generator(3)) for _ in range(2))
    state = torch.get_rng_state()
    value = first(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert value == again(x)
    assert value != first(x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_left_before_anything_is_summed(dtype):
    x = embeddings().to(dtype)
    losses = OptimalTransportRegularizer("normal", generator=generator()).sample_losses(x)
    assert losses.dtype == torch.float32
    y = torch.randn(x.shape, generator=generator())
    torch.testing.assert_close(losses, cheapest(x.double(), y.double()).float(), rtol=1e-5, atol=1e-6)


def test_odd_batches_are_finite_and_keep_the_graph():
    for x in (torch.zeros(0, 3), torch.zeros(4, 3), torch.ones(1, 3), torch.ones(5, 3)):
        x.requires_grad_()
        loss = OptimalTransportRegularizer(generator=generator())(x)
        loss.backward()
        assert loss.isfinite()
        assert x.grad.isfinite().all()


def test_nan_is_visible_and_hides_no_other_row():
    x = embeddings()
    x[2, 0] = torch.nan
    for prior in ("sphere", "normal"):
        losses = OptimalTransportRegularizer(prior, generator=generator()).sample_losses(x)
        assert losses.isnan().tolist() == [False, False, True, False, False]


def test_it_is_one_graph_for_the_compiler():
    x = embeddings().float().requires_grad_()
    compiled = torch.compile(OptimalTransportRegularizer(), fullgraph=True, backend="aot_eager")
    torch.manual_seed(0)
    value = compiled(x)
    value.backward()
    torch.manual_seed(0)
    torch.testing.assert_close(value, OptimalTransportRegularizer()(x))
    assert x.grad.isfinite().all()


def test_unfit_arguments_are_named():
    with pytest.raises(ValueError, match="prior must be one of 'sphere', 'normal', got 'gaussian'"):
        OptimalTransportRegularizer("gaussian")
    with pytest.raises(ValueError, match="distance is not supported"):
        OptimalTransportRegularizer(distance=None)
    with pytest.raises(ValueError, match=r"embeddings must have shape \(N, embedding_size\), got shape \(3,\)"):
        OptimalTransportRegularizer()(torch.zeros(3))
