"""Relations of ALMN, from loops with the arcus cosine."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch


def random_batch(**hyper: float) -> BoundBatch:
    rows = torch.randn(8, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    rows[1::2] = rows[::2] + 0.7 * rows[1::2]  # some positives are nearer than all negatives, and some not
    return BoundBatch(rows, torch.arange(4).repeat_interleave(2), hyper=hyper)


def losses(
    batch: BoundBatch, beta: float, scale: float = 1.0, *, is_raw: bool = False, m: float | None = None
) -> list[float]:
    """One anchor at a time; with ``m`` for the multiplied angle."""
    rows = batch.embeddings if is_raw else batch.unit
    anchors, positives = rows[::2].tolist(), rows[1::2].tolist()
    found = []
    for i, anchor in enumerate(anchors):
        inner = [sum(x * y for x, y in zip(anchor, p, strict=True)) for p in positives]
        norms = [math.hypot(*anchor) * math.hypot(*p) for p in positives]
        theta = [math.acos(x / n) for x, n in zip(inner, norms, strict=True)]
        phi = min(theta[:i] + theta[i + 1 :])
        delta = min((m - 1) * theta[i], math.pi - theta[i]) if m else beta * max(0.0, phi - theta[i])
        own = norms[i] * math.cos(theta[i] + delta)
        found.append(math.log1p(sum(math.exp(scale * (inner[j] - own)) for j in range(len(inner)) if j != i)))
    return found


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def evaluate(name: str, **hyper: float) -> Any:
    return REGISTRY[f"almn.{name}"].evaluate(random_batch(**hyper))


def test_some_anchors_have_a_margin_and_others_none() -> None:
    moved = [a > b for a, b in zip(losses(random_batch(), 0.5), losses(random_batch(), 0.0), strict=True)]
    assert any(moved)
    assert not all(moved)


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_against_npairs(beta: float) -> None:
    found, batch = evaluate("ge_npairs", beta=beta), random_batch()
    assert (found.lhs, found.rhs) == pytest.approx((mean(losses(batch, 0.0)), mean(losses(batch, beta))), rel=1e-12)


def test_without_a_margin() -> None:
    found, expected = evaluate("eq_npairs"), mean(losses(random_batch(), 0.0))
    assert (found.lhs, found.rhs) == pytest.approx((expected, expected), rel=1e-12)


def test_a_larger_share_of_raw_vectors() -> None:
    found, batch = evaluate("monotone", beta=0.2, beta_step=0.5), random_batch()
    expected = mean(losses(batch, 0.2, is_raw=True)), mean(losses(batch, 0.6, is_raw=True))
    assert (found.lhs, found.rhs) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_ceiling_at_a_scale(scale: float) -> None:
    found, batch = evaluate("le_npairs_or_log", beta=0.7, scale=scale), random_batch()
    ceilings = [max(x, math.log(4)) for x in losses(batch, 0.0, scale)]
    assert (found.lhs, found.rhs) == pytest.approx((mean(losses(batch, 0.7, scale)), mean(ceilings)), rel=1e-12)


def test_floor_with_the_whole_gap() -> None:
    found = evaluate("ge_log_two", scale=8.0)
    assert (found.lhs, found.rhs) == pytest.approx((math.log(2), mean(losses(random_batch(), 1.0, 8.0))), rel=1e-12)


@pytest.mark.parametrize("m", [1.0, 2.0, 3.5])
def test_multiplied_angle(m: float) -> None:
    found = evaluate("multiplicative_ge_npairs", m=m)
    expected = mean(losses(random_batch(), 0.0)), mean(losses(random_batch(), 0.0, m=m))
    assert (found.lhs, found.rhs) == pytest.approx(expected, rel=1e-12)
