"""The tests of relations can fail: a constant that is one per cent too good is found out."""

from __future__ import annotations

import math

import pytest
from hypothesis import Phase, find, settings

from pml_proxyext.bounds import REGISTRY, BoundBatch, Relation
from pml_proxyext.testing.strategies import admissible_batches, relation_batches

TIGHT = [relation for relation in REGISTRY.values() if relation.is_tight]
SEARCH = settings(derandomize=True, deadline=None, database=None, max_examples=1000, phases=[Phase.generate])

# Tight where chance does not get: a simplex of single samples, learners at the corners of a triangle, the classifier
# that fits the batch, all cosines at the margin, codes that are bits, exponentials of scores whose mean is e, partners
# all at the distance where a hinge begins.
NEEDS_THE_WITNESS = {
    "abe.divergence_floor",
    "binomial.le_hinges_log",
    "boudiaf.f1",
    "boudiaf.pce_selfconsistent_le",
    "boudiaf.spce_l2",
    "dcvh.hamming_le_alignment",
    "dcvh.triangle",
    "entropy.logdist",
    "hardest.le_released",
    "information.nwj_le_dv",
    "information.nwj_le_dv_all",
    "proxyanchor.nca_ge_cosface",
    "proxyanchor.hi",
    "unif.simplex_floor",
}


@pytest.mark.parametrize("relation", TIGHT, ids=lambda relation: relation.id)
def test_search_finds_a_constant_that_is_too_good(relation: Relation) -> None:
    def is_violated(batch: BoundBatch) -> bool:
        found = relation.evaluate(batch, mutated=True)
        return math.isfinite(found.slack) and not found.holds

    search = relation_batches if relation.id in NEEDS_THE_WITNESS else admissible_batches
    batch = find(search(relation), is_violated, settings=SEARCH)
    assert relation.evaluate(batch).holds, "the statement itself fails where its mutation does"
