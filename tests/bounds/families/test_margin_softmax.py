"""Margins of the angle: where PML's forms differ from the papers', and what the ranges of the relations leave out."""

from __future__ import annotations

import math

import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch

POLES = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)


def at_angle(angle: float, **hyper: float) -> BoundBatch:
    """Give one sample of class 0 at an angle to its proxy."""
    sample = torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    return BoundBatch(sample, torch.tensor([0]), POLES, hyper)


@pytest.mark.parametrize("angle", [0.3, 2.0, 2.9])
def test_arcface_has_another_form_beyond_pi_minus_margin(angle: float) -> None:
    margin, scale = 0.5, 2.0
    own = math.cos(angle + margin) if angle <= math.pi - margin else math.cos(angle) - margin * math.sin(margin)
    expected = math.log(1 + math.exp(scale * (-math.cos(angle) - own)))
    found = REGISTRY["margin.arcface_ge_ns"].evaluate(at_angle(angle, margin=margin, scale=scale))
    assert found.rhs == pytest.approx(expected, rel=1e-12)
    assert found.lhs == pytest.approx(math.log(1 + math.exp(-2 * scale * math.cos(angle))), rel=1e-12)


def test_arcface_passes_cosface_where_the_condition_on_the_margin_fails() -> None:
    relation = REGISTRY["margin.arcface_le_cosface"]
    assert relation.hyper["margin"].high * math.cos(relation.hyper["margin"].high / 2) < 1
    batch = at_angle(3.1, margin=1.5, scale=4.0)  # in PML's other form; 1.5 cos 0.75 is above 1
    assert relation.rhs.value(batch) < relation.lhs.value(batch) - 0.1
    assert relation.objections(batch) == ["margin=1.5 is not in [0, 1.2]"]


@pytest.mark.parametrize("angle", [0.2, 1.0, 1.9, 3.0])
@pytest.mark.parametrize("name", ["sphereface", "lsoftmax"])
def test_multiple_angles(name: str, angle: float) -> None:
    def own_cosine(margin: int) -> float:
        k = math.floor(angle * margin / math.pi)
        return (-1) ** k * math.cos(margin * angle) - 2 * k

    batch = at_angle(angle, margin=3, scale=0.7)
    batch = BoundBatch(2 * batch.embeddings, batch.labels, 3 * POLES, batch.hyper)
    factor = 0.7 * 2 * (3 if name == "lsoftmax" else 1)
    found = REGISTRY[f"margin.{name}_monotone"].evaluate(batch)
    for margin, value in ((3, found.lhs), (4, found.rhs)):
        expected = math.log(1 + math.exp(factor * (-math.cos(angle) - own_cosine(margin))))
        assert value == pytest.approx(expected, rel=1e-9)
