"""Mutual information and entropy: values that no fixture has, from loops over a table of probabilities."""

from __future__ import annotations

import itertools
import math
import sys

import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch

Table = list[list[float]]


def random_batch(rows: int = 5, classes: int = 4, scale: float = 1.0) -> BoundBatch:
    generator = torch.Generator().manual_seed(rows)
    embeddings, proxies = (scale * torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (rows, classes))
    return BoundBatch(embeddings, torch.arange(rows) % classes, proxies)


def softmax(values: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


def table(batch: BoundBatch) -> Table:
    """Give the joint distribution of rows and classes."""
    rows = (batch.embeddings @ batch.classifier.T).tolist()
    total = sum(math.exp(value) for row in rows for value in row)
    return [[math.exp(value) / total for value in row] for row in rows]


def information(joint: Table) -> float:
    columns = [sum(column) for column in zip(*joint, strict=True)]
    return sum(
        p * math.log(p / (sum(row) * column)) for row in joint for p, column in zip(row, columns, strict=True) if p > 0
    )


def test_label_entropy_minus_cross_entropy_against_a_loop() -> None:
    batch = random_batch()
    joint = table(batch)
    entropy = -sum(p * math.log(p) for p in (sum(column) for column in zip(*joint, strict=True)))
    cross_entropy = 0.0
    for z, row in zip(batch.embeddings.tolist(), joint, strict=True):
        dots = [(z[0] * w[0], sum(x * y for x, y in zip(z, w, strict=True))) for w in batch.classifier.tolist()]
        guesses = softmax([first + 0.3 * full for first, full in dots])
        cross_entropy -= sum(p * math.log(q) for p, q in zip(row, guesses, strict=True))
    lhs, rhs = REGISTRY["mi.ce_lower"].sides(batch)
    assert lhs.item() == pytest.approx(entropy - cross_entropy, rel=1e-12)
    assert rhs.item() == pytest.approx(information(joint), rel=1e-12)


@pytest.mark.parametrize(("rows", "classes"), [(6, 5), (2, 2)])
def test_infonce_on_more_and_on_fewer_rows_and_classes_than_it_takes(rows: int, classes: int) -> None:
    batch = random_batch(rows, classes)
    joint = [row[:3] for row in table(batch)[:4]]
    total = sum(map(sum, joint))
    joint = [[p / total for p in row] for row in joint]
    columns = [sum(column) for column in zip(*joint, strict=True)]
    loss = 0.0
    for i, row in enumerate(joint):
        critic = [math.exp(0.7 * float(batch.embeddings[i] @ w)) for w in batch.classifier[: len(columns)]]
        for own, first, second in itertools.product(range(len(columns)), repeat=3):
            probability = row[own] * columns[first] * columns[second]
            loss -= probability * math.log(critic[own] / (critic[own] + critic[first] + critic[second]))
    lhs, rhs = REGISTRY["mi.infonce"].sides(batch)
    assert lhs.item() == pytest.approx(math.log(3) - loss, rel=1e-11)
    assert rhs.item() == pytest.approx(information(joint), rel=1e-11)


@pytest.mark.parametrize("relation", ["mi.ce_upper", "mi.ce_lower", "mi.two_views", "mi.infonce"])
def test_probabilities_that_vanish_are_not_nan(relation: str) -> None:
    assert REGISTRY[relation].evaluate(random_batch(scale=100.0)).holds


@pytest.mark.parametrize("coinciding", [False, True])
def test_log_distances_against_a_loop(coinciding: bool) -> None:
    embeddings = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if coinciding:
        embeddings[3] = embeddings[1]
    rows = [[x / math.hypot(*row) for x in row] for row in embeddings.tolist()]
    squares = [math.dist(one, two) ** 2 for one, two in itertools.combinations(rows, 2)]
    assert (min(squares) == 0) is coinciding
    mean_log = sum(math.log(max(d2, sys.float_info.min)) for d2 in squares) / len(squares)
    log_mean = math.log(sum(squares) / len(squares))
    batch = BoundBatch(embeddings, torch.tensor([0, 0, 1, 1, 1]))
    names = ("entropy.logdist_jensen", "entropy.mean_square", "entropy.logdist")
    sides = [value.item() for name in names for value in REGISTRY[name].sides(batch)]
    spread = math.log(2 * 5 / 4)
    assert sides == pytest.approx([mean_log, log_mean, log_mean, spread, mean_log, spread], rel=1e-12)
