"""nivMF against simpler losses: values from loops, with Bessel functions of 50 digits."""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath
import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch

HYPER = {"temperature": 0.5, "kappa_1": 6.0, "kappa_2": 3.0}
SIZE = 3


def random_batch(**hyper: float) -> BoundBatch:
    rows = torch.randn(9, SIZE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return BoundBatch(rows[:5], torch.tensor([0, 1, 1, 2, 3]), rows[5:], hyper)


def log_normalizer(kappa: float) -> float:
    with mpmath.workdps(50):
        order = mpmath.mpf(SIZE) / 2 - 1
        k = mpmath.mpf(kappa)
        value = order * mpmath.log(k) - (order + 1) * mpmath.log(2 * mpmath.pi) - mpmath.log(mpmath.besseli(order, k))
        return float(value)


def mean_length(kappa: float) -> float:
    with mpmath.workdps(50):
        return float(mpmath.besseli(SIZE / 2, kappa) / mpmath.besseli(SIZE / 2 - 1, kappa))


def softmax_loss(batch: BoundBatch, logit: Callable[[list[float], list[float]], float]) -> float:
    """Give the cross-entropy of logits that a function makes of the directions of a sample and of a proxy."""
    total = 0.0
    for sample, label in zip(batch.unit.tolist(), batch.labels.tolist(), strict=True):
        logits = [logit(sample, proxy) for proxy in batch.unit_proxies.tolist()]
        total += math.log(sum(math.exp(one - logits[label]) for one in logits))
    return total / len(batch)


def dot(one: list[float], two: list[float]) -> float:
    return sum(a * b for a, b in zip(one, two, strict=True))


def sum_length(one: list[float], two: list[float]) -> float:
    return math.sqrt(36 + 9 + 2 * 6 * 3 * dot(one, two))


def expected_likelihood(x: list[float], p: list[float]) -> float:
    return (log_normalizer(6) + log_normalizer(3) - log_normalizer(sum_length(x, p))) / 0.5


def bhattacharyya(x: list[float], p: list[float]) -> float:
    return ((log_normalizer(6) + log_normalizer(3)) / 2 - log_normalizer(sum_length(x, p) / 2)) / 0.5


def minus_kl(x: list[float], p: list[float]) -> float:
    return (log_normalizer(3) - log_normalizer(6) - mean_length(6) * (6 - 3 * dot(x, p))) / 0.5


def point(x: list[float], p: list[float]) -> float:
    return 3 * dot(x, p) / 0.5


LOGITS = {
    "cosine_eq_normalized_softmax": lambda x, p: dot(x, p) / 0.5,
    "isotropic_eq_normalized_softmax": point,
    "kl_eq_normalized_softmax": minus_kl,
    "el_vmf_eq_distance": expected_likelihood,
    "b_vmf_eq_distance": bhattacharyya,
    "kl_vmf_eq_distance": minus_kl,
    "el_nivmf_eq_el_vmf": lambda x, p: expected_likelihood(x, p) * 0.5,
}


@pytest.mark.parametrize("name", LOGITS)
def test_both_sides_are_the_softmax_of_the_formula(name: str) -> None:
    found = REGISTRY[f"nivmf.{name}"].evaluate(random_batch(**HYPER))
    expected = softmax_loss(random_batch(), LOGITS[name])
    assert (found.lhs, found.rhs) == pytest.approx((expected, expected), rel=1e-11)


def test_l2_is_proxy_nca() -> None:
    batch = random_batch(scale=2.0)
    expected = softmax_loss(batch, lambda x, p: -2 * math.dist(x, p) ** 2)
    found = REGISTRY["nivmf.l2_eq_proxynca"].evaluate(batch)
    assert (found.lhs, found.rhs) == pytest.approx((expected, expected), rel=1e-12)


def test_expected_likelihood_with_itself() -> None:
    batch = random_batch(norm_ratio=2.5)
    norms = [math.hypot(*row) for row in batch.embeddings.tolist()]

    def mean(factor: float) -> float:
        values = [2 * log_normalizer(factor * norm) - log_normalizer(2 * factor * norm) for norm in norms]
        return sum(values) / len(values)

    found = REGISTRY["vmf.el_self_grows"].evaluate(batch)
    assert (found.lhs, found.rhs) == pytest.approx((mean(1.0), mean(2.5)), rel=1e-11)


def test_entropy() -> None:
    batch = random_batch(kappa_1=6.0)
    entropy, area = -log_normalizer(6) - 6 * mean_length(6), math.log(4 * math.pi)
    found = REGISTRY["vmf.entropy_le_uniform"].evaluate(batch)
    assert (found.lhs, found.rhs) == pytest.approx((entropy, area), rel=1e-12)
    found = REGISTRY["vmf.kl_uniform_eq_entropy"].evaluate(batch)
    assert (found.lhs, found.rhs) == pytest.approx((area - entropy, area - entropy), rel=1e-11)
