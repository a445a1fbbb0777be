"""Smooth-AP: against a loop over queries and items, and against PML where PML's groups are right."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_metric_learning.losses import SmoothAPLoss

from pml_proxyext.bounds import REGISTRY, BoundBatch


def random_batch(classes: int, per_class: int, temperature: float = 0.1) -> BoundBatch:
    generator = torch.Generator().manual_seed(classes)
    embeddings = torch.randn(classes * per_class, 3, generator=generator, dtype=torch.float64)
    labels = torch.arange(classes).repeat_interleave(per_class)
    return BoundBatch(embeddings, labels, hyper={"temperature": temperature})


def naive_smooth_ap(batch: BoundBatch) -> float:
    cosines, labels, tau = batch.cosines.tolist(), batch.labels.tolist(), batch["temperature"]
    precisions = []
    for row, own in zip(cosines, labels, strict=True):
        group = [j for j, label in enumerate(labels) if label == own]

        def rank(item: int, among: list[int], row: list[float] = row) -> float:
            return 1 + sum(1 / (1 + math.exp((row[item] - row[k]) / tau)) for k in among if k != item)

        precisions.append(sum(rank(j, group) / rank(j, list(range(len(labels)))) for j in group) / len(group))
    return 1 - sum(precisions) / len(precisions)


@pytest.mark.parametrize(("classes", "per_class"), [(2, 4), (3, 3), (4, 2)])
def test_formula_and_range_agree_with_a_loop(classes: int, per_class: int) -> None:
    batch = random_batch(classes, per_class)
    floor, ceiling = REGISTRY["smoothap.floor"].evaluate(batch), REGISTRY["smoothap.ceiling"].evaluate(batch)
    assert floor.rhs == ceiling.lhs == pytest.approx(naive_smooth_ap(batch), rel=1e-12)
    others = classes * per_class - per_class
    strangers = others / (1 + math.exp(2 / 0.1))
    assert floor.lhs == pytest.approx(strangers / (strangers + (per_class + 1) / 2), rel=1e-12)
    assert ceiling.rhs == pytest.approx(1 - sum(k / (k + others) for k in range(1, per_class + 1)) / per_class)


def test_agrees_with_pml_where_there_are_as_many_classes_as_samples_in_each() -> None:
    batch = random_batch(3, 3)
    pml = SmoothAPLoss(temperature=0.1)(batch.embeddings, batch.labels)
    assert pml.dtype == torch.float32
    assert REGISTRY["smoothap.floor"].evaluate(batch).rhs == pytest.approx(pml.item(), rel=1e-5)


def test_pml_takes_other_groups_elsewhere() -> None:
    # When this fails, PML has been mended: the relations can then go through its class.
    batch = random_batch(2, 3)
    pml = SmoothAPLoss(temperature=0.1)(batch.embeddings, batch.labels)
    assert abs(pml.item() - naive_smooth_ap(batch)) > 1e-3
