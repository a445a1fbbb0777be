from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from pml_proxyext.losses import PairwiseCrossEntropyLoss, SimplifiedPairwiseCrossEntropyLoss

BATCHES = json.loads((Path(__file__).parents[1] / "golden" / "bounds_batches.json").read_text())["cases"]
K, D = 4, 5
SEEDS = st.integers(0, 10_000)
LAMBDAS = st.sampled_from([0.03, 0.3, 1.0, 5.0])


def batch(rows: int = 9, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(rows, D, generator=generator, dtype=torch.float64)
    return embeddings.requires_grad_(), torch.randint(K, (rows,), generator=generator)


def head(seed: int = 1) -> nn.Linear:
    layer = nn.Linear(D, K, dtype=torch.float64)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(seed))
    return layer


def naive(rows: list[list[float]], labels: list[int], p: list[list[float]], lambda_: float) -> list[float]:
    """One product at a time."""
    n, losses = len(rows), []
    for i, z in enumerate(rows):
        products = [sum(a * b for a, b in zip(z, other, strict=True)) / (lambda_ * n) for other in rows]
        soft = [sum(p[j][k] * products[j] for j in range(n)) for k in range(len(p[0]))]
        loss = -sum(product for product, y in zip(products, labels, strict=True) if y == labels[i]) / 2
        loss += math.log(sum(math.exp(logit) for logit in soft))
        losses.append(loss - sum(p[i][k] * soft[k] for k in range(len(soft))) / 2)
    return losses


@pytest.mark.parametrize("case", BATCHES, ids=lambda case: case["kind"])
def test_fixtures(case):
    embeddings, theta = (torch.tensor(case[name], dtype=torch.float64) for name in ("embeddings", "proxies"))
    loss = PairwiseCrossEntropyLoss(case["hp"]["lam"], classifier=lambda rows: rows @ theta.T)
    value = loss(embeddings, torch.tensor(case["labels"])).item()
    assert value == pytest.approx(case["numpy"]["pce_at_theta"], rel=1e-9, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, rows=st.integers(1, 12), lambda_=LAMBDAS)
def test_each_samples_loss_is_that_of_a_loop(seed, rows, lambda_):
    (embeddings, labels), classifier = batch(rows, seed), head(seed)
    loss = PairwiseCrossEntropyLoss(lambda_, classifier)
    found = loss.compute_loss(embeddings, labels, None, embeddings, labels)["loss"]
    p = classifier(embeddings).softmax(1).tolist()
    expected = naive(embeddings.tolist(), labels.tolist(), p, lambda_)
    assert found["losses"].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert found["indices"].tolist() == list(range(rows))
    assert loss(embeddings, labels).item() == pytest.approx(sum(expected) / rows, rel=1e-9, abs=1e-9)


def self_consistent(embeddings: Tensor, labels: Tensor, lambda_: float, steps: int) -> Tensor:
    """The classifier after so many steps from the hard means, in its own space, with the graph of all of them."""
    names, columns = labels.unique(return_inverse=True)
    theta = one_hot(columns, len(names)).double().T @ embeddings / (lambda_ * len(labels))
    for _ in range(steps):
        theta = (embeddings @ theta.T).softmax(1).T @ embeddings / (lambda_ * len(labels))
    return theta


@pytest.mark.parametrize("lambda_", [0.1, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_by_itself_it_uses_self_consistent_assignments_and_their_gradient_vanishes(seed, lambda_):
    embeddings, labels = batch(seed=seed)
    labels = 3 * labels - 5
    steps = 3000
    theta = self_consistent(embeddings, labels, lambda_, steps)
    names, columns = labels.unique(return_inverse=True)
    p = (embeddings @ theta.T).softmax(1)  # with its graph
    hard = one_hot(columns, len(names)).double().T @ embeddings / len(labels)
    soft = p.T @ embeddings / len(labels)
    torch.testing.assert_close(soft / lambda_, theta)  # it has arrived
    expected = (embeddings @ soft.T / lambda_).logsumexp(1).mean()
    expected = expected - (hard.square().sum() + soft.square().sum()) / (2 * lambda_)
    value = PairwiseCrossEntropyLoss(lambda_, max_iterations=steps)(embeddings, labels)
    torch.testing.assert_close(value, expected)
    gradients = [torch.autograd.grad(x, embeddings)[0] for x in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-8)
    # There cross-entropy exceeds it by the distance to the hard means: for once, the bound of the paper.
    gap = lambda_ / 2 * (theta - hard / lambda_).square().sum()
    torch.testing.assert_close(cross_entropy(embeddings @ theta.T, columns), value + gap)


def test_a_classifiers_assignments_count_as_constants_and_it_gets_no_gradient():
    (embeddings, labels), classifier = batch(), head()
    loss = PairwiseCrossEntropyLoss(0.3, classifier)
    assert not list(loss.parameters())
    assert not loss.state_dict()
    (gradient,) = torch.autograd.grad(loss(embeddings, labels), embeddings)
    assert all(parameter.grad is None for parameter in classifier.parameters())
    p = classifier(embeddings).detach().softmax(1)
    fixed = PairwiseCrossEntropyLoss(0.3, lambda rows: p.log())
    torch.testing.assert_close(gradient, torch.autograd.grad(fixed(embeddings, labels), embeddings)[0])
    torch.autograd.gradcheck(lambda rows: fixed(rows, labels), (embeddings,))


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, lambda_=LAMBDAS)
def test_labels_in_place_of_soft_assignments_make_it_the_simplified_loss(seed, lambda_):
    embeddings, labels = batch(seed=seed)
    simplified = SimplifiedPairwiseCrossEntropyLoss(lambda_)(embeddings, labels)
    torch.testing.assert_close(PairwiseCrossEntropyLoss(lambda_, max_iterations=0)(embeddings, labels), simplified)
    _, columns = labels.unique(return_inverse=True)
    certain = PairwiseCrossEntropyLoss(lambda_, lambda rows: 1e6 * one_hot(columns).double())
    torch.testing.assert_close(certain(embeddings, columns), simplified)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, lambda_=LAMBDAS, mean=st.sampled_from([0.0, 2.0]))
def test_more_steps_never_lower_it(seed, lambda_, mean):
    embeddings, labels = batch(seed=seed)
    losses = [PairwiseCrossEntropyLoss(lambda_, max_iterations=n) for n in (0, 1, 2, 3, 5, 8, 100)]
    values = [loss(embeddings + mean, labels).item() for loss in losses]
    assert all(after >= before - 1e-9 * (1 + abs(before)) for before, after in pairwise(values))
    assert values[0] >= 0


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, lambda_=LAMBDAS)
def test_uniform_assignments_make_it_the_pairwise_lower_bound_of_regularised_cross_entropy(seed, lambda_):
    embeddings, labels = batch(seed=seed)
    s, n = embeddings @ embeddings.T, len(labels)
    same = s[labels[:, None] == labels].sum()
    expected = math.log(K) - (same - s.sum() / K) / (2 * lambda_ * n**2)
    value = PairwiseCrossEntropyLoss(lambda_, lambda rows: rows.new_zeros(n, K))(embeddings, labels)
    torch.testing.assert_close(value, expected)
    theta = torch.randn(K, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert value <= cross_entropy(embeddings @ theta.T, labels) + lambda_ / 2 * theta.square().sum() + 1e-9


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, lambda_=LAMBDAS, factor=st.sampled_from([0.2, 3.0]))
def test_rotations_names_and_a_common_scale_change_nothing(seed, lambda_, factor):
    embeddings, labels = batch(seed=seed)
    value = PairwiseCrossEntropyLoss(lambda_)(embeddings, labels)
    turn = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    scaled = PairwiseCrossEntropyLoss(lambda_ * factor**2)(factor * embeddings @ turn, 1000 - 7 * labels)
    torch.testing.assert_close(scaled, value)


def test_a_compiled_graph_computes_the_same_without_looking_when_to_stop():
    embeddings, _ = batch(5)
    labels = torch.tensor([7, -3, 7, 1000, -3])
    loss = PairwiseCrossEntropyLoss(0.3, max_iterations=40)
    expected = loss(embeddings, labels)
    compiled = torch.compile(loss, backend="eager", fullgraph=True)(embeddings, labels)
    torch.testing.assert_close(compiled, expected)
    gradients = [torch.autograd.grad(x, embeddings)[0] for x in (compiled, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-8)


def test_how_far_the_assignments_are_from_self_consistent_is_recorded():
    embeddings, labels = batch()
    far, near = (PairwiseCrossEntropyLoss(0.3, max_iterations=n, collect_stats=True) for n in (1, 5000))
    far(embeddings, labels)
    near(embeddings, labels)
    assert "assignment_change" in far._record_these_stats
    assert 1e-3 < far.assignment_change < 1
    assert near.assignment_change < 1e-11


def test_half_precision_sums_in_float32():
    embeddings, labels = batch()
    value = PairwiseCrossEntropyLoss(0.3)(embeddings.bfloat16(), labels)
    assert value.dtype == torch.float32
    exact = PairwiseCrossEntropyLoss(0.3)(embeddings.bfloat16().double(), labels)
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lambda_": 0.0}, "lambda_ must be a finite number > 0, got 0.0"),
        ({"max_iterations": -1}, "max_iterations must be an integer >= 0, got -1"),
        ({"classifier": "head"}, "classifier must be None or a callable from embeddings to logits, got 'head'"),
    ],
)
def test_invalid_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PairwiseCrossEntropyLoss(**arguments)


def test_invalid_batches_are_named():
    embeddings, labels = batch()
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 4\), got values from 0 to 4"):
        PairwiseCrossEntropyLoss(1.0, head())(embeddings, torch.arange(9) % 5)
    with pytest.raises(ValueError, match=r"classifier must return logits \(N, K\) .*\(9, 5\), got shape \(9,\)"):
        PairwiseCrossEntropyLoss(1.0, lambda rows: rows[:, 0])(embeddings, labels)
