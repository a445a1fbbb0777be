"""Gradient ascent does not break a relation either."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch, Kind, Labels, Relation, Scope, Side
from pml_proxyext.testing.ascent import ascend
from pml_proxyext.testing.geometries import GEOMETRIES

INEQUALITIES = [relation for relation in REGISTRY.values() if relation.kind is Kind.AT_MOST]
STARTS = ("gaussian", "wrong_class_clusters", "largest_class_against_rest", "simplex")


def start(relation: Relation, geometry: str) -> BoundBatch:
    """Give a batch to begin with: 8 samples of width 5 in 4 classes, or 2, 3 and 1 where labels need no balance."""
    is_free = relation.labels in (Labels.ANY, Labels.PROXY_ANY)
    labels = np.repeat(np.arange(3 if is_free else 4), [2, 3, 1] if is_free else 2)
    generator = np.random.default_rng(list(GEOMETRIES).index(geometry))
    embeddings, proxies = GEOMETRIES[geometry](generator, labels, len(set(labels)), 5)
    hyper = {name: one.default for name, one in relation.hyper.items()}
    arrays = (torch.from_numpy(array) for array in (embeddings, labels, proxies))
    return BoundBatch(*arrays, hyper, f"geometry={geometry}")


@pytest.mark.parametrize("relation", INEQUALITIES, ids=lambda relation: relation.id)
def test_ascent_does_not_break_it(relation: Relation) -> None:
    for geometry in STARTS:
        worst, found = ascend(relation, start(relation, geometry), steps=25)
        assert found.holds, f"{found.lhs!r} against {found.rhs!r} on {worst.embeddings.tolist()}"


def test_ascent_breaks_what_is_false() -> None:
    def mean_cosine(batch: BoundBatch) -> torch.Tensor:
        return batch.cosines[batch.same].mean()

    false = Relation(
        id="made.up",
        title="Positives have a mean cosine of at most 0.99",
        statement="",
        source="",
        proof="",
        labels=Labels.ANY,
        lhs=Side("mean cosine", mean_cosine),
        rhs=Side("0.99", lambda batch: torch.tensor(0.99, dtype=torch.float64)),
        scope=Scope.BATCH,
    )
    begin = start(false, "gaussian")
    assert false.evaluate(begin).holds
    _, found = ascend(false, begin, steps=200)
    assert not found.holds
