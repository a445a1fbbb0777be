"""Ensembles of ABE, from loops over samples and learners."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss

from pml_proxyext.bounds import REGISTRY, BoundBatch

LABELS = [0, 0, 1, 2, 2]


def random_batch(**hyper: float) -> BoundBatch:
    rows = torch.randn(8, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    return BoundBatch(rows[:5], torch.tensor(LABELS), rows[5:], hyper)


def unit(row: list[float]) -> list[float]:
    return [value / math.hypot(*row) for value in row]


@pytest.mark.parametrize("margin", [0.5, 2.0, 4.0])
def test_divergence_of_three_learners(margin: float) -> None:
    batch = random_batch(margin=margin)
    hinges, squares = [], []
    for row, label in zip(batch.embeddings.tolist(), LABELS, strict=True):
        proxies = batch.classifier.tolist()
        parts = [unit(row), unit(proxies[label]), unit(proxies[(label + 1) % 3])]
        for p, q in ((0, 1), (0, 2), (1, 2)):
            squares.append(math.dist(parts[p], parts[q]) ** 2)
            hinges.append(max(margin - squares[-1], 0))
    expected = sum(hinges) / len(hinges)
    upper, jensen, floor = (
        REGISTRY[f"abe.divergence_{name}"].evaluate(batch) for name in ("le_margin", "jensen", "floor")
    )
    assert upper.lhs == jensen.rhs == floor.rhs == pytest.approx(expected, rel=1e-12)
    assert (upper.rhs, floor.lhs) == (margin, margin - 3)
    assert jensen.lhs == pytest.approx(max(margin - sum(squares) / len(squares), 0), rel=1e-12)
    half = sum(max(margin / 2 - square, 0) for square in squares) / len(squares)
    halved, lipschitz, cosine = (
        REGISTRY[f"abe.{name}"].evaluate(batch)
        for name in ("divergence_half_margin", "divergence_lipschitz", "eq_divergence_cosine")
    )
    assert (halved.lhs, halved.rhs) == pytest.approx((half, expected / 2), rel=1e-12)
    assert (lipschitz.lhs, lipschitz.rhs) == pytest.approx((expected, half + margin / 2), rel=1e-12)
    hinges = [max((2 - square) / 2 - (1 - margin / 2), 0) for square in squares]
    assert (cosine.lhs, cosine.rhs) == pytest.approx((expected, 2 * sum(hinges) / len(hinges)), rel=1e-12)


def test_contrastive_losses_of_two_learners() -> None:
    batch, total = random_batch(margin=0.7), 0.0
    for learner in (batch.embeddings.tolist(), batch.embeddings.square().tolist()):
        for i in range(5):
            for j in range(5):
                square = math.dist(unit(learner[i]), unit(learner[j])) ** 2
                if i != j:
                    total += square if LABELS[i] == LABELS[j] else max(0.7 - square, 0)
    found = REGISTRY["abe.eq_contrastive"].evaluate(batch)
    assert (found.lhs, found.rhs) == pytest.approx((total / 20, total / 20), rel=1e-12)


@pytest.mark.parametrize("margin", [0.7, 3.0])
def test_two_learners_and_their_concatenation(margin: float) -> None:
    batch = random_batch(margin=margin, div_weight=0.3)
    learners = [[unit(row) for row in part.tolist()] for part in (batch.embeddings, batch.embeddings.square())]
    metric = whole = cosines = 0.0
    for i in range(5):
        for j in range(5):
            squares = [math.dist(part[i], part[j]) ** 2 for part in learners]
            cosines += (1 - sum(squares) / 4) ** 2 / 25
            if i != j:
                same = LABELS[i] == LABELS[j]
                metric += sum(square if same else max(margin - square, 0) for square in squares) / 20
                mean = sum(squares) / 2
                whole += (mean if same else max(margin - mean, 0)) / 20
    divergence = sum(max(margin - math.dist(*pair) ** 2, 0) for pair in zip(*learners, strict=True)) / 5
    assert divergence > 0
    expected = {
        "contrastive_of_whole": (whole, metric / 2),
        "contrastive_le": (metric, metric + 0.3 * divergence),
        "le_contrastive_plus_margin": (metric + 0.3 * divergence, metric + 0.3 * margin),
        "cosine_of_whole": (cosines, cosines),
    }
    for name, sides in expected.items():
        found = REGISTRY[f"abe.{name}"].evaluate(batch)
        assert (found.lhs, found.rhs) == pytest.approx(sides, rel=1e-12)


def test_one_learner() -> None:
    batch = random_batch()
    expected = MultiSimilarityLoss()(batch.embeddings, batch.labels).item()
    found = REGISTRY["abe.learnerwise_one"].evaluate(batch)
    assert (found.lhs, found.rhs) == (expected, expected)
