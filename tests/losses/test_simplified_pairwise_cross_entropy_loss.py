from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from pml_proxyext.losses import SimplifiedPairwiseCrossEntropyLoss

SEEDS = st.integers(0, 10_000)
LAMBDAS = st.sampled_from([0.03, 0.3, 1.0, 5.0])


def batch(rows: int = 9, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(rows, 5, generator=generator, dtype=torch.float64)
    names = torch.tensor([40, -7, 1001, 3])  # of classes
    return embeddings.requires_grad_(), names[torch.randint(4, (rows,), generator=generator)]


def naive(embeddings: Tensor, labels: Tensor, lambda_: float) -> list[float]:
    """One product at a time."""
    rows, names, n = embeddings.tolist(), labels.tolist(), len(labels)
    losses = []
    for z, own in zip(rows, names, strict=True):
        logits = dict.fromkeys(names, 0.0)
        for other, name in zip(rows, names, strict=True):
            logits[name] += sum(a * b for a, b in zip(z, other, strict=True)) / (lambda_ * n)
        losses.append(math.log(sum(math.exp(x) for x in logits.values())) - logits[own])
    return losses


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, rows=st.integers(1, 12), lambda_=LAMBDAS)
def test_each_samples_loss_is_that_of_a_loop(seed, rows, lambda_):
    (embeddings, labels), loss = batch(rows, seed), SimplifiedPairwiseCrossEntropyLoss(lambda_)
    found = loss.compute_loss(embeddings, labels, None, embeddings, labels)["loss"]
    expected = naive(embeddings, labels, lambda_)
    assert found["losses"].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert found["indices"].tolist() == list(range(rows))
    assert loss(embeddings, labels).item() == pytest.approx(sum(expected) / rows, rel=1e-9, abs=1e-9)
    assert (found["losses"] >= 0).all()


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, rows=st.integers(1, 12), lambda_=LAMBDAS)
def test_it_is_cross_entropy_of_the_class_means_as_a_linear_classifier_gradients_included(seed, rows, lambda_):
    embeddings, labels = batch(rows, seed)
    classes = sorted(set(labels.tolist()))
    sums = torch.stack([embeddings[labels == name].sum(0) for name in classes])
    targets = torch.tensor([classes.index(name) for name in labels.tolist()])
    expected = cross_entropy(embeddings @ (sums / (lambda_ * rows)).T, targets)
    value = SimplifiedPairwiseCrossEntropyLoss(lambda_)(embeddings, labels)
    torch.testing.assert_close(value, expected)
    gradients = [torch.autograd.grad(x, embeddings)[0] for x in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, lambda_=LAMBDAS, factor=st.sampled_from([0.2, 3.0]))
def test_rotations_names_and_a_common_scale_change_nothing(seed, lambda_, factor):
    embeddings, labels = batch(seed=seed)
    value = SimplifiedPairwiseCrossEntropyLoss(lambda_)(embeddings, labels)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    scaled = SimplifiedPairwiseCrossEntropyLoss(lambda_ * factor**2)
    torch.testing.assert_close(scaled(factor * embeddings @ turn, 3 - 2 * labels), value)


def test_one_class_or_one_sample_leaves_nothing_to_tell_apart():
    embeddings, labels = batch()
    for rows, names in [(embeddings, torch.full_like(labels, 5)), (embeddings[:1], labels[:1])]:
        value = SimplifiedPairwiseCrossEntropyLoss(0.1)(rows, names)
        assert value.item() == 0
        assert torch.autograd.grad(value, embeddings)[0].abs().max() < 1e-12


@pytest.mark.parametrize("labels", [[7, -3, 7, 1000, -3], [2, 2, 2, 2, 2]])
def test_a_compiled_graph_computes_the_same(labels):
    embeddings, _ = batch(5)
    loss = SimplifiedPairwiseCrossEntropyLoss(0.3)
    expected = loss(embeddings, torch.tensor(labels))
    compiled = torch.compile(loss, backend="eager", fullgraph=True)(embeddings, torch.tensor(labels))
    torch.testing.assert_close(compiled, expected)
    gradients = [torch.autograd.grad(x, embeddings)[0] for x in (compiled, expected)]
    torch.testing.assert_close(*gradients)


def test_half_precision_sums_in_float32():
    embeddings, labels = batch()
    value = SimplifiedPairwiseCrossEntropyLoss(0.3)(embeddings.bfloat16(), labels)
    assert value.dtype == torch.float32
    exact = SimplifiedPairwiseCrossEntropyLoss(0.3)(embeddings.bfloat16().double(), labels)
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize("lambda_", [0.0, -1.0, math.inf, math.nan, "1"])
def test_invalid_lambda_is_named(lambda_):
    with pytest.raises(ValueError, match="lambda_ must be a finite number > 0"):
        SimplifiedPairwiseCrossEntropyLoss(lambda_)
