"""Every relation against every kind of batch: what is claimed holds, what is refuted fails."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pml_proxyext.bounds import REGISTRY, Kind, Relation
from pml_proxyext.testing.strategies import relation_batches

RELATIONS = list(REGISTRY.values())
CLAIMED = [relation for relation in RELATIONS if relation.kind is not Kind.REFUTED]
REFUTED = [relation for relation in RELATIONS if relation.kind is Kind.REFUTED]
TIGHT = [relation for relation in RELATIONS if relation.is_tight]


def by_id(relation: Relation) -> str:
    return relation.id


@pytest.mark.parametrize("relation", CLAIMED, ids=by_id)
@given(data=st.data())
def test_relation_holds(relation: Relation, data: Any) -> None:
    found = relation.evaluate(data.draw(relation_batches(relation)))
    if relation.nan_because:
        assume(found.slack == found.slack)
    assert found.holds, f"{relation.id}: {found.lhs!r} against {found.rhs!r}"


@pytest.mark.parametrize("relation", TIGHT, ids=by_id)
def test_both_sides_agree_on_the_witness(relation: Relation) -> None:
    assert relation.witness is not None
    found = relation.evaluate(relation.witness())
    assert found.relative_slack == pytest.approx(0, abs=relation.rtol)


@pytest.mark.parametrize("relation", REFUTED, ids=by_id)
def test_refuted_claim_fails_on_its_witness(relation: Relation) -> None:
    assert relation.witness is not None
    assert relation.evaluate(relation.witness()).relative_slack < -1e-3


def test_an_equality_is_tight_by_itself() -> None:
    assert all(relation.is_tight for relation in RELATIONS if relation.kind is Kind.EQUAL)
