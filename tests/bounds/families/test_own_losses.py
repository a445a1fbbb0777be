"""Proxy Anchor's variants, the objective over proxies and label smoothing, from loops over samples and classes."""

from __future__ import annotations

import math

import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch

NUM_CLASSES = 4
CLASSES = range(NUM_CLASSES)
HYPER = {"alpha": 6.0, "margin": 0.2}


def random_batch(labels: list[int], **hyper: float) -> BoundBatch:
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(len(labels) + NUM_CLASSES, 5, generator=generator, dtype=torch.float64)
    return BoundBatch(rows[: len(labels)], torch.tensor(labels), rows[len(labels) :], hyper)


def cosines(batch: BoundBatch) -> list[list[float]]:
    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    return [[cosine(row, proxy) for proxy in batch.classifier.tolist()] for row in batch.embeddings.tolist()]


def log1p_sum(exponents: list[float]) -> float:
    return math.log(1 + sum(math.exp(exponent) for exponent in exponents))


def proxy_anchor(batch: BoundBatch, alpha: float, margin: float, weigh_by_samples: bool = False) -> float:
    table, labels = list(zip(cosines(batch), batch.labels.tolist(), strict=True)), batch.labels.tolist()
    pulls = {c: log1p_sum([-alpha * (row[c] - margin) for row, y in table if y == c]) for c in set(labels)}
    pushes = [log1p_sum([alpha * (row[c] + margin) for row, y in table if y != c]) for c in CLASSES]
    pull = sum(pulls[c] for c in (labels if weigh_by_samples else pulls)) / len(labels if weigh_by_samples else pulls)
    return pull + sum(pushes) / NUM_CLASSES


def over_proxies(batch: BoundBatch, alpha: float, margin: float, repeats: bool) -> float:
    total, labels = 0.0, batch.labels.tolist()
    for row, y in zip(cosines(batch), labels, strict=True):
        times = labels.count(y) if repeats else 1
        total += log1p_sum([-alpha * (row[y] - margin)] * times)
        total += log1p_sum([alpha * (row[c] + margin) for c in CLASSES if c != y])
    return total / len(labels)


def test_proxy_anchor() -> None:
    batch = random_batch([0, 0, 1, 3, 3, 3], **HYPER)
    found = REGISTRY["proxyanchor.ours_eq_pml"].evaluate(batch)
    assert (found.lhs, found.rhs) == pytest.approx([proxy_anchor(batch, **HYPER)] * 2, rel=1e-12)


def test_proxy_anchor_by_samples_is_that_by_classes_for_equal_counts_only() -> None:
    relation = REGISTRY["proxyanchor.sample_eq_class"]
    batch = random_batch([0, 0, 1, 1, 2, 2, 3, 3], **HYPER)
    assert relation.evaluate(batch).lhs == pytest.approx(proxy_anchor(batch, **HYPER), rel=1e-12)
    unbalanced = random_batch([0, 0, 1, 2, 3, 3], **HYPER)
    assert relation.lhs.value(unbalanced).item() == pytest.approx(
        proxy_anchor(unbalanced, **HYPER, weigh_by_samples=True), rel=1e-12
    )
    assert abs(relation.lhs.value(unbalanced) - relation.rhs.value(unbalanced)) > 1e-3


def test_proxy_anchor_over_alpha() -> None:
    batch = random_batch([0, 0, 1, 3, 3, 3], **HYPER, alpha_ratio=3.0)
    found = REGISTRY["proxyanchor.alpha_monotone"].evaluate(batch)
    assert found.lhs == pytest.approx(proxy_anchor(batch, alpha=18.0, margin=0.2) / 18, rel=1e-12)
    assert found.rhs == pytest.approx(proxy_anchor(batch, **HYPER) / 6, rel=1e-12)


def test_objective_over_proxies_and_cosface_below_it() -> None:
    batch = random_batch([0, 0, 1, 3, 3, 3], **HYPER)
    found = REGISTRY["proxyanchor.nca_ge_cosface"].evaluate(batch)
    assert found.rhs == pytest.approx(over_proxies(batch, **HYPER, repeats=True), rel=1e-12)
    margins = [
        log1p_sum([6 * (row[c] - row[y] + 0.4) for c in CLASSES if c != y])
        for row, y in zip(cosines(batch), batch.labels.tolist(), strict=True)
    ]
    assert found.lhs == pytest.approx(sum(margins) / 6, rel=1e-12)
    hinges = sum(
        6 * (max(0.2 - row[y], 0) + max(0.2 + max(row[c] for c in CLASSES if c != y), 0))
        for row, y in zip(cosines(batch), batch.labels.tolist(), strict=True)
    )
    lower, upper = (REGISTRY[f"binomial.{name}"].evaluate(batch) for name in ("ge_hinges", "le_hinges_log"))
    assert lower.lhs == pytest.approx(hinges / 6, rel=1e-12)
    assert lower.rhs == upper.lhs == pytest.approx(over_proxies(batch, **HYPER, repeats=False), rel=1e-12)
    assert upper.rhs == pytest.approx(hinges / 6 + math.log(2) + math.log(4), rel=1e-12)


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.5])
def test_label_smoothing(eps: float) -> None:
    batch = random_batch([0, 0, 1, 3, 3, 3], eps=eps)
    smoothed = plain = torch_smoothed = 0.0
    for row, y in zip((batch.embeddings @ batch.classifier.t()).tolist(), batch.labels.tolist(), strict=True):
        costs = [math.log(sum(math.exp(logit) for logit in row)) - logit for logit in row]
        target = [1 - eps if c == y else eps / 3 for c in CLASSES]
        smoothed += sum(q * (math.log(q) + cost) for q, cost in zip(target, costs, strict=True) if q) / 6
        plain += costs[y] / 6
        torch_smoothed += ((1 - eps) * costs[y] + eps * sum(costs) / 4) / 6
    assert REGISTRY["crossentropy.nonnegative"].evaluate(batch).rhs == pytest.approx(smoothed, rel=1e-12)
    found = REGISTRY["crossentropy.smoothing_floor"].evaluate(batch)
    assert found.lhs == pytest.approx((1 - eps) * plain + eps * math.log(4), rel=1e-12)
    assert found.rhs == pytest.approx(torch_smoothed, rel=1e-12)
    entropy = -sum(q * math.log(q) for q in [1 - eps, *[eps / 3] * 3] if q)
    found = REGISTRY["crossentropy.zero_head"].evaluate(batch)
    assert (found.lhs, found.rhs) == pytest.approx([math.log(4) - entropy] * 2, rel=1e-12)
