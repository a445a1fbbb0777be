from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.reducers import AvgNonZeroReducer, MeanReducer
from torch import Tensor

from pml_proxyext.losses import LearnerwiseLoss, ProxyAnchorLoss
from pml_proxyext.regularizers import LearnerDivergenceRegularizer
from pml_proxyext.wrappers import supports_ref_emb

CASES = json.loads((Path(__file__).parents[1] / "golden" / "abe.json").read_text())["cases"]
M, K, C = 3, 4, 5


def batch(rows: int = 9, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, M * K, generator=generator).to(dtype), torch.arange(rows) % 4


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@pytest.mark.parametrize(("name", "reducer"), [("mean", MeanReducer), ("avg_non_zero", AvgNonZeroReducer)])
def test_fixtures_of_abe_under_pmls_reducers(case, name, reducer):
    contrastive = pml.ContrastiveLoss(0, case["neg_margin"], distance=LpDistance(power=2), reducer=reducer())
    loss = LearnerwiseLoss(
        contrastive,
        case["num_learners"],
        embedding_regularizer=LearnerDivergenceRegularizer(case["num_learners"], case["div_margin"]),
        embedding_reg_weight=case["div_weight"],
    )
    embeddings = torch.tensor(case["embeddings"], dtype=torch.float64, requires_grad=True)
    value = loss(embeddings, torch.tensor(case["labels"]))
    value.backward()
    assert value.item() == pytest.approx(case[name]["loss"], rel=1e-9)
    gradient = torch.tensor(case[name]["grad"], dtype=torch.float64)
    torch.testing.assert_close(embeddings.grad, gradient, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    "base",
    [pml.SupConLoss(), pml.TripletMarginLoss(), pml.NormalizedSoftmaxLoss(C, K), ProxyAnchorLoss(C, K)],
    ids=lambda base: type(base).__name__,
)
def test_value_and_gradient_are_the_sums_over_the_learners(base):
    loss = LearnerwiseLoss(base, M)
    embeddings, labels = batch(dtype=torch.float32)
    embeddings.requires_grad_()
    expected = sum(base(embeddings[:, m * K : (m + 1) * K], labels) for m in range(M))
    value = loss(embeddings, labels)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(
        torch.autograd.grad(value, embeddings), torch.autograd.grad(expected, embeddings), rtol=1e-5, atol=1e-6
    )


def test_losses_with_parameters_start_alike_and_learn_apart():
    loss, (embeddings, labels) = LearnerwiseLoss(ProxyAnchorLoss(C, K), M), batch(dtype=torch.float32)
    groups = loss.param_groups(1e-3)
    assert [group["lr"] for group in groups] == [pytest.approx(0.1)] * M
    optimizer = torch.optim.SGD(groups)
    first, *others = (part.proxies for part in loss.losses)
    assert all(torch.equal(first, other) for other in others)
    loss(embeddings, labels).backward()
    optimizer.step()
    assert not any(torch.equal(first, other) for other in others)


def test_pmls_losses_get_groups_too_and_keep_their_dtype():
    loss, (embeddings, labels) = LearnerwiseLoss(pml.ProxyAnchorLoss(C, K), M), batch()
    loss(embeddings, labels).backward()
    assert {parameter.dtype for parameter in loss.parameters()} == {torch.float32}
    assert all(parameter.grad is not None for parameter in loss.parameters())
    assert [group["lr"] for group in loss.param_groups(1e-3, proxies=7.0)] == [pytest.approx(7e-3)] * M
    assert [group["lr"] for group in loss.param_groups(1e-3)] == [pytest.approx(0.1)] * M
    assert LearnerwiseLoss(pml.SupConLoss(), M).param_groups(1e-3) == []


def test_each_learner_may_have_a_loss_of_its_own():
    embeddings, labels = batch()
    bases = [pml.SupConLoss(temperature=t) for t in (0.1, 0.5, 2.0)]
    expected = sum(base(embeddings[:, m * K : (m + 1) * K], labels) for m, base in enumerate(bases))
    torch.testing.assert_close(LearnerwiseLoss(bases, M)(embeddings, labels), expected)
    with pytest.raises(ValueError, match="loss must be one loss or num_learners 2 of them, got 3"):
        LearnerwiseLoss(bases, 2)


def test_second_batch_and_tuples_reach_every_learner():
    (embeddings, labels), (others, ref_labels) = batch(), batch(6, seed=1)
    base = pml.TripletMarginLoss()
    tuples = (torch.tensor([0, 1]), torch.tensor([4, 5]), torch.tensor([1, 2]))
    expected = sum(
        base(embeddings[:, part], labels, tuples, others[:, part], ref_labels)
        for part in (slice(m * K, (m + 1) * K) for m in range(M))
    )
    value = LearnerwiseLoss(base, M)(embeddings, labels, tuples, others, ref_labels)
    torch.testing.assert_close(value, expected)


def test_a_loss_without_labels_serves():
    (embeddings, _), (others, _) = batch(), batch(seed=1)
    base = pml.VICRegLoss()
    expected = sum(base(embeddings[:, i : i + K], ref_emb=others[:, i : i + K]) for i in range(0, M * K, K))
    torch.testing.assert_close(LearnerwiseLoss(base, M)(embeddings, ref_emb=others), expected)


def test_it_supports_a_second_batch_if_every_learners_loss_does():
    assert supports_ref_emb(LearnerwiseLoss(pml.SupConLoss(), M))
    assert not supports_ref_emb(LearnerwiseLoss(ProxyAnchorLoss(C, K), M))
    assert not supports_ref_emb(LearnerwiseLoss([pml.SupConLoss(), ProxyAnchorLoss(C, K)], 2))


def test_half_precision_reaches_losses_that_have_none_on_the_cpu():
    embeddings, labels = batch(dtype=torch.bfloat16)
    loss = LearnerwiseLoss(pml.ContrastiveLoss(), M, embedding_regularizer=LearnerDivergenceRegularizer(M))
    value = loss(embeddings, labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), loss(embeddings.double(), labels), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_learners": 0}, "num_learners must be an integer >= 1, got 0"),
        ({"num_learners": 2, "distance": LpDistance()}, "distance is not supported: set it on loss"),
    ],
)
def test_invalid_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        LearnerwiseLoss(pml.SupConLoss(), **arguments)


def test_invalid_batches_are_named():
    (embeddings, labels), loss = batch(), LearnerwiseLoss(pml.SupConLoss(), 5)
    with pytest.raises(ValueError, match="embeddings must have a width divisible by num_learners 5"):
        loss(embeddings, labels)
