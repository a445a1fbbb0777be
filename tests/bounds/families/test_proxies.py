"""Losses with proxies: values that no fixture has, from loops over samples and classes."""

from __future__ import annotations

import math

import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch

LABELS = [0, 0, 1, 2, 2, 2]
CLASSES = range(4)


def random_batch(seed: int = 0, **hyper: float) -> BoundBatch:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(len(LABELS) + len(CLASSES), 5, generator=generator, dtype=torch.float64)
    return BoundBatch(rows[: len(LABELS)], torch.tensor(LABELS), rows[len(LABELS) :], hyper)


def unit(row: list[float]) -> list[float]:
    return [value / math.sqrt(sum(other * other for other in row)) for value in row]


def proxy_nca(batch: BoundBatch, proxies: list[list[float]], scale: float) -> float:
    total = 0.0
    for sample, label in zip(batch.embeddings.tolist(), LABELS, strict=True):
        weights = [math.exp(-scale * math.dist(unit(sample), unit(proxy)) ** 2) for proxy in proxies]
        total -= math.log(weights[label] / sum(weights))
    return total / len(LABELS)


@pytest.mark.parametrize("eps", [0.01, 0.3])
def test_change_between_proxies_and_representatives(eps: float) -> None:
    batch = random_batch(scale=2.0, eps=eps)
    noise = torch.randn(4, 5, generator=torch.Generator().manual_seed(int(1e6 * eps)), dtype=torch.float64).tolist()
    proxies = [unit(row) for row in batch.classifier.tolist()]
    moved = [
        unit([value + eps * change / math.sqrt(5) for value, change in zip(row, changes, strict=True)])
        for row, changes in zip(proxies, noise, strict=True)
    ]
    farthest = max(math.dist(one, two) for one, two in zip(proxies, moved, strict=True))
    found = REGISTRY["proxynca.triplet_proxy_cosine"].evaluate(batch)
    assert found.lhs == pytest.approx(abs(proxy_nca(batch, moved, 2.0) - proxy_nca(batch, proxies, 2.0)), rel=1e-9)
    assert found.rhs == pytest.approx(4 * 2.0 * farthest, rel=1e-12)
    assert REGISTRY["proxynca.triplet_proxy"].evaluate(batch).rhs == pytest.approx(2 * found.rhs + 1e-6, rel=1e-12)


def test_distances_of_pml_are_why_the_triplet_hinge_has_a_wider_tolerance() -> None:
    # 30 samples on their proxies: beyond 25 samples cdist takes the root of a difference of squares.
    proxies = torch.nn.functional.normalize(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)).double())
    labels = torch.repeat_interleave(torch.arange(5), 6)
    found = REGISTRY["proxynca.triplet_hinge"].evaluate(BoundBatch(proxies[labels], labels, proxies, {"margin": 2.0}))
    assert -1e-7 < found.relative_slack < -1e-12
    few = BoundBatch(proxies[labels][::2], labels[::2], proxies, {"margin": 2.0})
    assert abs(REGISTRY["proxynca.triplet_hinge"].evaluate(few).relative_slack) < 1e-14


def test_without_triplets_both_hinges_are_zero() -> None:
    batch = BoundBatch(torch.eye(3)[:2], torch.tensor([0, 0]), torch.eye(3)[:2])
    found = REGISTRY["proxynca.triplet_hinge"].evaluate(batch)
    assert (found.lhs, found.rhs) == (0.0, 0.0)


def test_softplus_of_the_paper_keeps_its_digits_where_torch_would_drop_them() -> None:
    # One sample at a loss just beyond 20, where torch's softplus is the identity.
    batch = BoundBatch(-torch.eye(2)[:1], torch.tensor([0]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), {"scale": 5.01})
    found = REGISTRY["proxynca.softplus_paper"].evaluate(batch)
    assert found.rhs == pytest.approx(math.log1p(math.exp(4 * 5.01)), rel=1e-14)
    assert found.lhs == pytest.approx(found.rhs, rel=1e-14)


def test_hinges_of_proxy_anchor_with_a_class_that_has_no_sample() -> None:
    batch = random_batch(alpha=4.0, margin=0.1)
    cosines = [[sum(a * b for a, b in zip(unit(x), unit(p), strict=True)) for p in batch.classifier.tolist()]
               for x in batch.embeddings.tolist()]  # fmt: skip
    pull = push = logs_of_pull = logs_of_push = 0.0
    for c in CLASSES:
        own = [0.1 - row[c] for row, label in zip(cosines, LABELS, strict=True) if label == c]
        others = [0.1 + row[c] for row, label in zip(cosines, LABELS, strict=True) if label != c]
        pull, push = pull + max([0.0, *own]), push + max([0.0, *others])
        logs_of_pull, logs_of_push = logs_of_pull + math.log(1 + len(own)), logs_of_push + math.log(1 + len(others))
    hinges = 4 * (pull / 3 + push / 4)
    assert REGISTRY["proxyanchor.lo"].evaluate(batch).lhs == pytest.approx(hinges, rel=1e-12)
    upper = REGISTRY["proxyanchor.hi"].evaluate(batch).rhs
    assert upper == pytest.approx(hinges + logs_of_pull / 3 + logs_of_push / 4, rel=1e-12)
