from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.miners import TripletMarginMiner
from pytorch_metric_learning.reducers import SumReducer
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from torch import Tensor
from torch.nn.functional import normalize

from pml_proxyext.losses import ABELoss, LearnerwiseLoss
from pml_proxyext.regularizers import LearnerDivergenceRegularizer

CASES = json.loads((Path(__file__).parents[1] / "golden" / "abe.json").read_text())["cases"]
M, K = 3, 4


def batch(rows: int = 9, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(rows, M * K, generator=generator, dtype=torch.float64)
    return embeddings.requires_grad_(), torch.randint(3, (rows,), generator=generator)


def all_pairs(labels: Tensor, ref_labels: Tensor | None = None) -> list[tuple[int, int, bool]]:
    others = labels if ref_labels is None else ref_labels
    return [
        (i, j, bool(labels[i] == others[j]))
        for i in range(len(labels))
        for j in range(len(others))
        if ref_labels is not None or i != j
    ]


def naive_metric(loss: ABELoss, rows: Tensor, others: Tensor, pairs: list[tuple[int, int, bool]]) -> Tensor:
    """One pair, one learner at a time; differentiable."""
    total = rows.new_zeros(())
    for m in range(loss.num_learners):
        a, b = (normalize(x[:, m * K : (m + 1) * K]) for x in (rows, others))
        for i, j, same in pairs:
            squared = (a[i] - b[j]).square().sum()
            total = total + (squared if same else (loss.neg_margin - squared).clamp(min=0))
    return total / max(1, len(pairs))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_fixtures(case):
    loss = ABELoss(case["num_learners"], case["neg_margin"], case["div_margin"], case["div_weight"])
    embeddings = torch.tensor(case["embeddings"], dtype=torch.float64, requires_grad=True)
    value = loss(embeddings, torch.tensor(case["labels"]))
    value.backward()
    expected = case["paper"]
    assert value.item() == pytest.approx(expected["loss"], rel=1e-9)
    gradient = torch.tensor(expected["grad"], dtype=torch.float64)
    torch.testing.assert_close(embeddings.grad, gradient, rtol=1e-9, atol=1e-10)
    metric = sum(expected["metric_loss_per_learner"])
    assert metric + case["div_weight"] * expected["divergence"] == pytest.approx(expected["loss"], rel=1e-12)
    without = ABELoss(case["num_learners"], case["neg_margin"], div_weight=0.0)
    assert without(embeddings, torch.tensor(case["labels"])).item() == pytest.approx(metric, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 8),
    neg_margin=st.sampled_from([0.5, 1.0, 3.0]),
    div_weight=st.sampled_from([0.0, 0.5]),
)
def test_value_and_gradient_are_those_of_a_loop(seed, rows, neg_margin, div_weight):
    loss, (embeddings, labels) = ABELoss(M, neg_margin, 1.5, div_weight), batch(rows, seed)
    expected = naive_metric(loss, embeddings, embeddings, all_pairs(labels))
    expected = expected + div_weight * LearnerDivergenceRegularizer(M, 1.5)(embeddings)
    value = loss(embeddings, labels)
    torch.testing.assert_close(value, expected)
    gradients = [torch.autograd.grad(x, embeddings)[0] for x in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-9)


def test_a_second_batch_is_compared_with_all_of_it_also_at_equal_places():
    loss, (rows, labels), (others, ref_labels) = ABELoss(M, div_weight=0.0), batch(4), batch(6, seed=1)
    expected = naive_metric(loss, rows, others, all_pairs(labels, ref_labels))
    torch.testing.assert_close(loss(rows, labels, ref_emb=others, ref_labels=ref_labels), expected)


def test_a_miners_triplets_choose_pairs_as_often_as_they_name_them():
    loss, (embeddings, labels) = ABELoss(M, div_weight=0.0), batch()
    a, p, n = triplets = TripletMarginMiner(margin=0.1)(embeddings, labels)
    pairs = [(int(i), int(j), True) for i, j in zip(a, p, strict=True)]
    pairs += [(int(i), int(j), False) for i, j in zip(a, n, strict=True)]
    assert len(set(pairs)) < len(pairs)
    torch.testing.assert_close(loss(embeddings, labels, triplets), naive_metric(loss, embeddings, embeddings, pairs))
    torch.testing.assert_close(loss(embeddings, None, triplets), loss(embeddings, labels, triplets))


def test_without_divergence_it_is_pmls_contrastive_loss_summed_over_learners():
    embeddings, labels = batch()
    contrastive = ContrastiveLoss(0, 1.2, distance=LpDistance(power=2), reducer=SumReducer())
    total = LearnerwiseLoss(contrastive, M)(embeddings, labels)
    pairs = sum(len(index) for index in lmu.get_all_pairs_indices(labels)[::2])
    torch.testing.assert_close(ABELoss(M, 1.2, div_weight=0.0)(embeddings, labels), total / pairs)


def test_each_samples_loss_is_that_of_its_pairs_as_anchor():
    loss, (embeddings, labels) = ABELoss(M), batch()
    found = loss.compute_loss(embeddings, labels, None, embeddings, labels)["metric_loss"]
    assert found["indices"].tolist() == list(range(len(labels)))
    pairs = all_pairs(labels)
    for i in range(len(labels)):
        own = naive_metric(loss, embeddings, embeddings, [pair for pair in pairs if pair[0] == i])
        torch.testing.assert_close(found["losses"][i], own)  # as many pairs for each anchor


def test_half_precision_sums_in_float32():
    embeddings, labels = batch()
    value = ABELoss(M)(embeddings.bfloat16(), labels)
    assert value.dtype == torch.float32
    exact = ABELoss(M)(embeddings.bfloat16().double(), labels)
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_learners": 0}, "num_learners must be an integer >= 1, got 0"),
        ({"num_learners": 2, "neg_margin": 0.0}, "neg_margin must be a finite number > 0, got 0.0"),
        ({"num_learners": 2, "div_margin": -1.0}, "div_margin must be a finite number > 0, got -1.0"),
        ({"num_learners": 2, "div_weight": -1.0}, "div_weight must be a finite number >= 0, got -1.0"),
        ({"num_learners": 2, "distance": LpDistance()}, "distance is not supported"),
    ],
)
def test_invalid_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ABELoss(**arguments)


def test_invalid_batches_are_named():
    embeddings, labels = batch()
    with pytest.raises(ValueError, match=r"embeddings must have a width divisible by num_learners 5, got .*\(9, 12\)"):
        ABELoss(5)(embeddings, labels)
    with pytest.raises(ValueError, match="ref_emb must have embedding_size 12"):
        ABELoss(M)(embeddings, labels, ref_emb=embeddings[:, :6], ref_labels=labels)
    with pytest.raises(ValueError, match="labels and indices_tuple cannot both be None"):
        ABELoss(M)(embeddings)
