"""Triplet, contrastive, circle and lifted structure losses: values that no fixture has, from loops over samples."""

from __future__ import annotations

import math

import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch

LABELS = [0, 0, 0, 1, 1, 1, 2, 2, 2]
PLACES = range(len(LABELS))
PAIRS = [(i, j) for i in PLACES for j in PLACES if i != j]
POSITIVE = [(i, j) for i, j in PAIRS if LABELS[i] == LABELS[j]]
NEGATIVE = [(i, j) for i, j in PAIRS if LABELS[i] != LABELS[j]]


def random_batch(seed: int = 0, **hyper: float) -> BoundBatch:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(len(LABELS), 4, generator=generator, dtype=torch.float64)
    return BoundBatch(embeddings, torch.tensor(LABELS), hyper=hyper)


def tables(batch: BoundBatch) -> tuple[list[list[float]], list[list[float]]]:
    """Give cosines and distances on the sphere."""
    rows = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in batch.embeddings.tolist()]
    cosines = [[sum(x * y for x, y in zip(one, two, strict=True)) for two in rows] for one in rows]
    return cosines, [[math.dist(one, two) for two in rows] for one in rows]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def mean_of_active(values: list[float]) -> float:
    return mean([value for value in values if value > 0])


def triplet_hinges(distances: list[list[float]], margin: float, labels: list[int] | None = None) -> list[float]:
    labels = LABELS if labels is None else labels
    places = range(len(labels))
    return [
        max(distances[a][p] - distances[a][n] + margin, 0)
        for a in places
        for p in places
        for n in places
        if a != p and labels[a] == labels[p] != labels[n]
    ]


def test_smooth_triplets_and_their_floor() -> None:
    batch = random_batch(temperature=0.3)
    cosines, _ = tables(batch)
    gaps = [(cosines[a][n] - cosines[a][p]) / 0.3 for a, p in POSITIVE for b, n in NEGATIVE if a == b]
    found = REGISTRY["triplet.simplex_floor"].evaluate(batch)
    assert found.lhs == pytest.approx(math.log(1 + math.exp(-1.5 / 0.3)), rel=1e-12)
    assert found.rhs == pytest.approx(mean([math.log(1 + math.exp(gap)) for gap in gaps]), rel=1e-12)


def test_batch_hard_triplets() -> None:
    batch = random_batch(margin=0.3)
    _, distances = tables(batch)
    hardest = [
        max(distances[a][p] for b, p in POSITIVE if a == b) - min(distances[a][n] for b, n in NEGATIVE if a == b)
        for a in PLACES
    ]
    found = REGISTRY["triplet.le_batch_hard"].evaluate(batch)
    assert found.lhs == pytest.approx(mean(triplet_hinges(distances, 0.3)), rel=1e-12)
    assert found.rhs == pytest.approx(mean([max(one + 0.3, 0) for one in hardest]), rel=1e-12)


def test_circle_and_its_hardest_pair() -> None:
    batch = random_batch(m=0.25, gamma=4.0)
    cosines, _ = tables(batch)
    losses, hinges = [], []
    for a in PLACES:
        positives = [4 * max(1.25 - cosines[a][p], 0) * (0.75 - cosines[a][p]) for b, p in POSITIVE if a == b]
        negatives = [4 * max(cosines[a][n] + 0.25, 0) * (cosines[a][n] - 0.25) for b, n in NEGATIVE if a == b]
        losses.append(math.log(1 + sum(math.exp(x + y) for x in positives for y in negatives)))
        hinges.append(max(max(positives) + max(negatives), 0))
    found = REGISTRY["circle.le_hardest_sharp"].evaluate(batch)
    assert found.lhs == pytest.approx(mean(losses), rel=1e-12)
    assert found.rhs == pytest.approx(mean(hinges) + math.log(1 + 2 * 6), rel=1e-12)


def test_default_reducers_of_triplet_and_contrastive() -> None:
    batch = random_batch(pos_margin=0.9, neg_margin=1.3)
    _, distances = tables(batch)
    positive = [max(distances[i][j] - 0.9, 0) for i, j in POSITIVE]
    negative = [max(1.3 - distances[i][j], 0) for i, j in NEGATIVE]
    assert 0.0 in positive  # else the default reducers were not told from means
    assert 0.0 in negative
    found = REGISTRY["triplet.le_contrastive_default_claim"].evaluate(batch)
    assert found.lhs == pytest.approx(mean_of_active(triplet_hinges(distances, 0.4)), rel=1e-12)
    assert found.rhs == pytest.approx(mean_of_active(positive) + mean_of_active(negative), rel=1e-12)


def test_counterexample_to_the_contrastive_claim_by_hand() -> None:
    relation = REGISTRY["triplet.le_contrastive_default_claim"]
    assert relation.witness is not None
    batch = relation.witness()
    _, distances = tables(batch)
    labels = batch.labels.tolist()
    places = range(len(labels))
    positive = [distances[i][j] for i in places for j in places if i != j and labels[i] == labels[j]]
    negative = [distances[i][j] for i in places for j in places if labels[i] != labels[j]]
    assert min(negative) > 0.1  # no negative pair is active, so its mean is that of no pair: zero
    found = relation.evaluate(batch)
    assert found.lhs == pytest.approx(mean_of_active(triplet_hinges(distances, 0.1, labels)), rel=1e-12)
    assert found.rhs == pytest.approx(mean_of_active(positive), rel=1e-12)
    assert found.lhs > found.rhs + 0.1


def test_means_do_not_have_that_counterexample() -> None:
    relation = REGISTRY["triplet.le_contrastive_default_claim"]
    assert relation.witness is not None
    assert REGISTRY["triplet.le_contrastive"].evaluate(relation.witness()).holds
    margin = REGISTRY["triplet.le_margin_default_claim"]
    assert margin.witness is not None
    assert REGISTRY["triplet.le_margin"].evaluate(margin.witness()).slack == pytest.approx(0, abs=1e-12)


def test_tuplet_margin_gives_nan_only_where_rounding_lifts_a_cosine_above_one() -> None:
    relation = REGISTRY["tuplet.eq_ntxent_m0"]
    seen = {True: 0, False: 0}
    for seed in range(40):
        batch = random_batch(seed)
        twins = batch.moved(batch.embeddings[[0, 0, 0, 3, 3, 3, 6, 6, 6]])
        is_above = bool((twins.cosines[twins.same] > 1).any())
        assert math.isnan(relation.evaluate(twins).lhs) == is_above
        seen[is_above] += 1
    assert all(seen.values())
