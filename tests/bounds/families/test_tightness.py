"""Tightness terms, and label smoothing."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch


def test_mean_square_of_positives_on_the_sphere_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = [0, 0, 0, 1, 2, 2]
    embeddings = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    rows = [[x / math.hypot(*row) for x in row] for row in embeddings.tolist()]
    pairs = [(i, j) for i, j in itertools.permutations(range(6), 2) if labels[i] == labels[j]]
    squares = sum(math.dist(rows[i], rows[j]) ** 2 for i, j in pairs) / len(pairs)
    lhs, rhs = REGISTRY["boudiaf.cosine_pairs"].sides(BoundBatch(embeddings, torch.tensor(labels)))
    assert lhs.item() == pytest.approx(squares, rel=1e-12)
    assert rhs.item() == pytest.approx(squares, rel=1e-12)


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_label_smoothing_against_a_loop(num_classes: int, eps: float) -> None:
    generator = torch.Generator().manual_seed(num_classes)
    embeddings, proxies = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (4, num_classes))
    labels = [0, 1, 1, 0]
    value = 0.0
    for row, label in zip((embeddings @ proxies.T).tolist(), labels, strict=True):
        log_total = math.log(sum(math.exp(logit) for logit in row))
        for k, logit in enumerate(row):
            q = 1 - eps if k == label else eps / (num_classes - 1)
            value += q * (math.log(q) - (logit - log_total)) / len(labels) if q > 0 else 0.0
    batch = BoundBatch(embeddings, torch.tensor(labels), proxies, {"eps": eps})
    lhs, rhs = REGISTRY["smooth.eq_torch"].sides(batch)
    assert lhs.item() == pytest.approx(value, rel=1e-11)
    assert rhs.item() == pytest.approx(value, rel=1e-11)
