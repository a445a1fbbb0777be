"""Cross-entropy, PCE and SPCE: values that no fixture has, from loops over samples and classes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch
from pml_proxyext.bounds.families import mean_classifiers

Rows = list[list[float]]
LABELS = [0, 2, 2, 1, 0, 2, 4]
"""With proxies 3 and 5 that no sample belongs to."""

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "bounds_batches.json").read_text())["cases"]


def random_batch(lambda_: float, seed: int = 0, labels: list[int] = LABELS) -> BoundBatch:
    generator = torch.Generator().manual_seed(seed)
    embeddings, proxies = torch.randn(len(labels) + 6, 3, generator=generator, dtype=torch.float64).tensor_split([-6])
    return BoundBatch(embeddings, torch.tensor(labels), proxies, {"lambda_": lambda_})


def dot(one: list[float], two: list[float]) -> float:
    return sum(x * y for x, y in zip(one, two, strict=True))


def weighted_means(rows: Rows, weights: Rows, lambda_: float) -> Rows:
    """Classifier k is the sum of the rows with weights k, over lambda and the number of rows."""
    number, width, classes = len(rows), len(rows[0]), len(weights[0])
    return [
        [sum(weights[i][k] * rows[i][d] for i in range(number)) / (lambda_ * number) for d in range(width)]
        for k in range(classes)
    ]


def one_hot(labels: list[int], classes: list[int]) -> Rows:
    return [[float(label == one) for one in classes] for label in labels]


def softmax(logits: list[float]) -> list[float]:
    total = sum(math.exp(logit) for logit in logits)
    return [math.exp(logit) / total for logit in logits]


def log_sum_exp(rows: Rows, classifier: Rows) -> float:
    return sum(math.log(sum(math.exp(dot(row, w)) for w in classifier)) for row in rows) / len(rows)


def naive_ce(rows: Rows, targets: list[int], classifier: Rows) -> float:
    return log_sum_exp(rows, classifier) - sum(
        dot(row, classifier[y]) for row, y in zip(rows, targets, strict=True)
    ) / len(rows)


def naive_pce(rows: Rows, labels: list[int], assignments: Rows, lambda_: float) -> float:
    number, classes = len(rows), len(assignments[0])
    same = sum(dot(rows[i], rows[j]) for i in range(number) for j in range(number) if labels[i] == labels[j])
    soft_means = weighted_means(rows, assignments, 1.0)
    contrast = 0.0
    for i in range(number):
        logits = [
            sum(assignments[j][k] * dot(rows[i], rows[j]) for j in range(number)) / (lambda_ * number)
            for k in range(classes)
        ]
        contrast += math.log(sum(math.exp(logit) for logit in logits)) / number
    return -same / (2 * lambda_ * number**2) + contrast - sum(dot(c, c) for c in soft_means) / (2 * lambda_)


def naive_spce(rows: Rows, labels: list[int], lambda_: float) -> float:
    number, value = len(rows), 0.0
    for i in range(number):
        sums = {
            one: sum(dot(rows[i], rows[j]) for j in range(number) if labels[j] == one) / (lambda_ * number)
            for one in set(labels)
        }
        value += math.log(sum(math.exp(s) for s in sums.values())) - sums[labels[i]]
    return value / number


def square(rows: Rows) -> float:
    return sum(dot(row, row) for row in rows)


def minus(one: Rows, two: Rows) -> Rows:
    return [[x - y for x, y in zip(a, b, strict=True)] for a, b in zip(one, two, strict=True)]


@pytest.mark.parametrize("lambda_", [0.3, 1.0, 4.0])
def test_pce_identity_against_a_loop(lambda_: float) -> None:
    batch = random_batch(lambda_)
    rows, classifier = batch.embeddings.tolist(), batch.classifier.tolist()
    assignments = [softmax([dot(row, w) for w in classifier]) for row in rows]
    hard = weighted_means(rows, one_hot(LABELS, list(range(6))), lambda_)
    soft = weighted_means(rows, assignments, lambda_)
    lhs, rhs = REGISTRY["boudiaf.pce_identity"].sides(batch)
    gap = naive_ce(rows, LABELS, classifier) - naive_pce(rows, LABELS, assignments, lambda_)
    assert lhs.item() == pytest.approx(gap, rel=1e-11)
    contrasts = [log_sum_exp(rows, theta) - lambda_ / 2 * square(theta) for theta in (classifier, soft)]
    expected = lambda_ / 2 * square(minus(classifier, hard)) + contrasts[0] - contrasts[1]
    assert rhs.item() == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("lambda_", [0.05, 1.0, 5.0])
def test_a_self_consistent_classifier_is_its_soft_means(lambda_: float) -> None:
    moved = mean_classifiers.self_consistent(random_batch(lambda_))
    rows, classifier = moved.embeddings.tolist(), moved.classifier.tolist()
    assignments = [softmax([dot(row, w) for w in classifier]) for row in rows]
    soft = torch.tensor(weighted_means(rows, assignments, lambda_), dtype=torch.float64)
    torch.testing.assert_close(moved.classifier, soft, rtol=1e-6, atol=1e-6)
    lhs, rhs = REGISTRY["boudiaf.pce_selfconsistent_le"].sides(random_batch(lambda_))
    assert lhs.item() == pytest.approx(naive_pce(rows, LABELS, assignments, lambda_), rel=1e-9, abs=1e-9)
    assert rhs.item() == pytest.approx(naive_ce(rows, LABELS, classifier), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("lambda_", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("relation", ["boudiaf.spce_hard_means", "boudiaf.spce_is_pce", "boudiaf.spce_ge_floor"])
def test_spce_against_loops(relation: str, lambda_: float) -> None:
    batch = random_batch(lambda_)
    rows, present = batch.embeddings.tolist(), sorted(set(LABELS))
    targets = [present.index(label) for label in LABELS]
    hard = weighted_means(rows, one_hot(LABELS, present), lambda_)
    spce = naive_spce(rows, LABELS, lambda_)
    number = len(rows)
    same = sum(dot(rows[i], rows[j]) for i in range(number) for j in range(number) if LABELS[i] == LABELS[j])
    everyone = sum(dot(one, two) for one in rows for two in rows)
    floor = math.log(len(present)) - (same - everyone / len(present)) / (2 * lambda_ * number**2)
    expected = {
        "boudiaf.spce_hard_means": (spce, naive_ce(rows, targets, hard)),
        "boudiaf.spce_is_pce": (spce, naive_pce(rows, LABELS, one_hot(LABELS, present), lambda_)),
        "boudiaf.spce_ge_floor": (floor, spce + lambda_ / 2 * square(hard)),
    }
    sides = [side.item() for side in REGISTRY[relation].sides(batch)]
    assert sides == pytest.approx(expected[relation], rel=1e-11)


def test_spce_has_the_gradient_of_cross_entropy_through_its_classifier() -> None:
    gradients = []
    for side in (0, 1):
        batch = random_batch(0.5)
        embeddings = batch.embeddings.clone().requires_grad_()
        REGISTRY["boudiaf.spce_hard_means"].sides(batch.moved(embeddings))[side].backward()
        gradients.append(embeddings.grad)
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)
    assert gradients[0].abs().min() > 1e-4


@pytest.mark.parametrize("seed", range(5))
def test_the_claim_fails_at_the_hard_means_by_what_its_refutation_says(seed: int) -> None:
    batch = random_batch(0.3, seed)
    lhs, rhs = REGISTRY["boudiaf.pce_claim"].sides(batch)
    rows = batch.embeddings.tolist()
    hard = weighted_means(rows, one_hot(LABELS, list(range(6))), 0.3)
    assignments = [softmax([dot(row, w) for w in hard]) for row in rows]
    distance = square(minus(hard, weighted_means(rows, assignments, 0.3)))
    assert (lhs - rhs).item() >= 0.15 * distance > 0.001


@pytest.mark.parametrize("case", GOLDEN, ids=range(len(GOLDEN)))
def test_values_of_the_stored_batches(case: dict) -> None:
    embeddings, proxies = (torch.tensor(case[name], dtype=torch.float64) for name in ("embeddings", "proxies"))
    batch = BoundBatch(embeddings, torch.tensor(case["labels"]), proxies, {"lambda_": case["hp"]["lam"]})
    f1, spce_l2, gap = (REGISTRY[f"boudiaf.{name}"].sides(batch) for name in ("f1", "spce_l2", "pce_gap"))
    values = {
        "B_boudiaf_tight": f1[0],
        "boudiaf_f1": f1[1],
        "B_spce_l2": spce_l2[0],
        "ce_plus_l2": spce_l2[1],
        "B_pce_gap": gap[1],
        "pce_at_theta": mean_classifiers.pce(batch),
    }
    expected = {name: case["numpy"][name] for name in values}
    assert {name: value.item() for name, value in values.items()} == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert gap[0].item() == pytest.approx(case["numpy"]["ce_raw"] - expected["pce_at_theta"], rel=1e-9, abs=1e-9)
