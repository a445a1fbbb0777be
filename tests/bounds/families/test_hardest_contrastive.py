"""Relations of the hardest-contrastive loss, from loops over points."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch


def random_batch(**hyper: float) -> BoundBatch:
    rows = torch.randn(10, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    rows[1::2] = rows[::2] + 0.7 * rows[1::2]  # near partners, on either side of both thresholds
    return BoundBatch(rows, torch.arange(5).repeat_interleave(2), hyper=hyper)


def hinges(batch: BoundBatch, pos: float, neg: float) -> tuple[list[float], list[list[float]]]:
    """Return the distances of partners beyond ``pos``, and how far negatives are within ``neg``, row by row."""
    first, second = batch.unit[::2].tolist(), batch.unit[1::2].tolist()
    away = [[math.dist(a, b) for b in second] for a in first]
    pulls = [max(away[i][i] - pos, 0.0) for i in range(5)]
    return pulls, [[max(neg - away[i][j], 0.0) if i != j else 0.0 for j in range(5)] for i in range(5)]


def hardest(batch: BoundBatch, pos: float, neg: float, *, squared: bool = False) -> float:
    pulls, pushes = hinges(batch, pos, neg)
    if squared:
        pulls = [math.sqrt(max((pull + pos) ** 2 - pos, 0.0)) if pull else 0.0 for pull in pulls]
    rows, columns = ([max(line) ** 2 for line in lines] for lines in (pushes, zip(*pushes, strict=True)))
    return sum(pull**2 for pull in pulls) / 5 + (sum(rows) + sum(columns)) / 10


def evaluate(name: str, pos: float, neg: float) -> Any:
    return REGISTRY[f"hardest.{name}"].evaluate(random_batch(pos_thresh=pos, neg_thresh=neg))


@pytest.mark.parametrize(("pos", "neg"), [(0.1, 1.4), (0.4, 0.9), (0.0, 2.0), (1.0, 1.0)])
def test_the_two_forms(pos: float, neg: float) -> None:
    paper, released = (hardest(random_batch(), pos, neg, squared=squared) for squared in (False, True))
    found = evaluate("le_released", pos, neg)
    assert (found.lhs, found.rhs) == pytest.approx((paper, released + pos * (1 - math.sqrt(pos)) ** 2), rel=1e-9)
    found = evaluate("released_le", pos, neg)
    assert (found.lhs, found.rhs) == pytest.approx((released, paper + pos * (3 - pos)), rel=1e-9)


@pytest.mark.parametrize(("pos", "neg"), [(0.1, 1.4), (0.4, 0.9), (0.0, 2.0)])
def test_against_the_contrastive_loss(pos: float, neg: float) -> None:
    pulls, pushes = hinges(random_batch(), pos, neg)
    contrastive = sum(pulls) / 5 + sum(map(sum, pushes)) / 20
    found = evaluate("ge_contrastive", pos, neg)
    assert (found.lhs, found.rhs) == pytest.approx((contrastive**2 / 2, hardest(random_batch(), pos, neg)), rel=1e-7)
