from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from pml_proxyext.losses.demi_terms import Negatives, class_mean_scores, critic_scores

COUNTS = torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
SCORES = torch.tensor([[5.0, -1.0, 0.5], [1.0, 2.0, 3.0]], dtype=torch.float64)


def test_a_sum_takes_each_negative_as_often_as_it_counts():
    found = Negatives(COUNTS).log_sum(SCORES)
    assert found[0].item() == pytest.approx(math.log(math.exp(-1) + 2 * math.exp(0.5)))
    assert found[1].isfinite()


def test_a_contrast_is_one_of_the_candidates_and_nothing_without_negatives():
    negatives = Negatives(COUNTS)
    scores = SCORES.clone().requires_grad_()
    rows, columns = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0])
    found = negatives.contrast(negatives.log_sum(scores), scores[rows, columns], rows)
    total = math.exp(-1) + 2 * math.exp(0.5)
    expected = [math.log1p(total * math.exp(-positive)) for positive in (5.0, -1.0)]
    assert found.tolist() == pytest.approx([*expected, 0.0])
    gradient = torch.autograd.grad(found.sum(), scores)[0]
    assert (gradient[1] == 0).all()
    assert gradient[0].sum().item() == pytest.approx(0, abs=1e-12)  # scores of a row may move together


def test_the_effective_sample_size_is_the_number_for_equal_weights_and_one_for_a_single_one():
    negatives = Negatives(COUNTS)
    assert negatives.effective_sample_size(torch.zeros(2, 3).double()).tolist() == pytest.approx([3, 0])
    weights = [math.exp(-1), math.exp(0.5), math.exp(0.5)]
    expected = sum(weights) ** 2 / sum(weight**2 for weight in weights)
    assert negatives.effective_sample_size(SCORES)[0].item() == pytest.approx(expected)
    extreme = torch.tensor([[0.0, 900.0, -900.0]] * 2)
    assert Negatives(COUNTS.float()).effective_sample_size(extreme)[0].item() == pytest.approx(1)


def test_the_mean_of_a_class_leaves_out_the_sample_it_is_compared_with():
    generator = torch.Generator().manual_seed(0)
    samples = normalize(torch.randn(7, 3, generator=generator, dtype=torch.float64))
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 0])
    found = class_mean_scores(lambda a, b: a @ b.T, labels, samples)
    for i in range(7):
        for k in range(7):
            members = [samples[j] for j in range(7) if labels[j] == labels[i] and j != k]
            expected = torch.stack(members).mean(0) @ samples[k] if members else torch.zeros(())
            assert found[i, k].item() == pytest.approx(expected.item(), abs=1e-12)


def test_a_class_of_one_has_a_finite_gradient():
    samples = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = class_mean_scores(lambda a, b: normalize(a) @ normalize(b).T, torch.arange(3), samples)
    assert found.diagonal().tolist() == [0, 0, 0]
    assert torch.autograd.grad(found.sum(), samples)[0].abs().max() < 100


def test_a_class_of_one_scores_zero_where_products_are_rounded():
    """As those of TF32 are: a class's total minus its only sample is then not zero, but has some direction."""
    samples = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = class_mean_scores(lambda a, b: normalize(a) @ normalize(b).T, torch.arange(3), samples)
    assert found.diagonal().tolist() == [0, 0, 0]


def test_scores_of_a_critic_leave_half_precision():
    rows = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    found = critic_scores(lambda a, b: (a @ b.T).bfloat16(), rows, rows)
    assert torch.equal(found, (rows @ rows.T).bfloat16().float())
    assert found.dtype == torch.float32
