"""Drawn batches have the structure and the geometry that were asked for, and shrink to what a human can read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st

from pml_proxyext.bounds import REGISTRY, BoundBatch, Hyper, Relation
from pml_proxyext.testing.geometries import GEOMETRIES
from pml_proxyext.testing.strategies import (
    LABEL_STRUCTURES,
    SCORE_KINDS,
    batches,
    near_witness,
    relation_batches,
    score_matrices,
)

QUICK = settings(derandomize=True, deadline=None, database=None, max_examples=50)


def sizes_of(batch: BoundBatch) -> list[int]:
    return sorted(Counter(batch.labels.tolist()).values())


@pytest.mark.parametrize("structure", LABEL_STRUCTURES)
def test_labels_have_the_structure(structure: str) -> None:
    @QUICK
    @given(batches(structure))
    def check(batch: BoundBatch) -> None:
        sizes = sizes_of(batch)
        assert sizes[-1] >= 2
        if structure == "one_class":
            assert len(sizes) == 1
            return
        assert len(sizes) >= 2
        if structure in ("balanced", "pairs"):
            assert len(set(sizes)) == 1
        if structure == "pairs":
            assert sizes[0] == 2
        if structure == "unbalanced":
            assert sizes[-1] >= 3
            assert sizes[-2] <= 2

    check()


@QUICK
@given(batches(LABEL_STRUCTURES, hyper={"scale": Hyper(1.0, 0.5, 2.0), "order": Hyper(2, 2, 4, True)}, spare_proxies=3))
def test_batches_are_complete(batch: BoundBatch) -> None:
    assert batch.embeddings.dtype == torch.float64
    assert batch.embeddings.isfinite().all()
    assert (batch.embeddings.norm(dim=1) > 0).all()
    assert batch.proxies is not None
    assert len(batch.proxies) >= 2
    assert 0.5 <= batch["scale"] <= 2
    assert batch["order"] in (2, 3, 4)


@QUICK
@given(st.data())
def test_a_geometry_is_a_function_of_its_seed(data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(sorted(GEOMETRIES)))
    labels = np.array([0, 0, 2, 1, 1])
    first, again, other = (GEOMETRIES[place](np.random.default_rng(seed), labels, 4, 3) for seed in (1, 1, 2))
    for array, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(array, same)
        assert not np.array_equal(array, different)


def cosines(place: str) -> torch.Tensor:
    """Cosines of 2 + 2 + 2 samples of three classes."""
    labels = np.repeat(np.arange(3), 2)
    embeddings, _ = GEOMETRIES[place](np.random.default_rng(0), labels, 3, 6)
    return BoundBatch(torch.from_numpy(embeddings), torch.from_numpy(labels)).cosines


def test_geometries_lie_where_their_names_say() -> None:
    same = torch.eye(3).repeat_interleave(2, 0).repeat_interleave(2, 1).bool()
    # The noise of these is at most 0.1 per coordinate, of the collapsed 1e-9, which cosines square.
    torch.testing.assert_close(cosines("simplex")[~same], torch.full((24,), -0.5).double(), atol=0.3, rtol=0)
    torch.testing.assert_close(cosines("orthogonal")[~same], torch.zeros(24).double(), atol=0.4, rtol=0)
    assert cosines("collapsed")[same].min() > 1 - 1e-15
    assert cosines("near_identical").min() > 1 - 1e-4
    assert (cosines("antipodal").abs() > 0.8).all()
    assert cosines("tight")[same].min() > cosines("tight")[~same].max()


def test_a_counterexample_is_small() -> None:
    def is_below_the_simplex(batch: BoundBatch) -> bool:
        return REGISTRY["graf.sc_unbalanced_claim"].evaluate(batch).relative_slack < -1e-3

    found = find(
        relation_batches(REGISTRY["graf.sc_unbalanced_claim"]),
        is_below_the_simplex,
        settings=settings(QUICK, max_examples=1000),
    )
    assert len(found) <= 8  # of up to 30; where the search ends depends on the constants in what is imported
    assert "geometry=" in repr(found)


@pytest.mark.parametrize("relation", REGISTRY.values(), ids=lambda relation: relation.id)
def test_batches_of_a_relation_fulfil_its_assumptions(relation: Relation) -> None:
    @settings(QUICK, max_examples=10)
    @given(relation_batches(relation))
    def check(batch: BoundBatch) -> None:
        assert relation.objections(batch) == []

    check()


def test_near_a_witness_is_near_it() -> None:
    relation = REGISTRY["supcon.ge_ntxent"]
    assert relation.witness is not None
    place = relation.witness().embeddings

    @QUICK
    @given(near_witness(relation))
    def check(batch: BoundBatch) -> None:
        assert 0 < (batch.embeddings - place).abs().max() < 1

    check()


@QUICK
@given(st.integers(1, 4).flatmap(lambda number: st.tuples(st.just(number), score_matrices(number, max_size=5))))
def test_score_matrices_share_a_size(drawn: tuple[int, list[torch.Tensor]]) -> None:
    number, matrices = drawn
    assert len(matrices) == number
    assert {tuple(scores.shape) for scores in matrices} in [{(size, size)} for size in range(2, 6)]
    assert all(scores.dtype == torch.float64 and scores.isfinite().all() for scores in matrices)


@pytest.mark.parametrize("kind", SCORE_KINDS)
def test_score_matrices_are_of_their_kind(kind: str) -> None:
    @QUICK
    @given(score_matrices(kind=kind))
    def check(drawn: list[torch.Tensor]) -> None:
        [scores] = drawn
        off_diagonal = scores[~torch.eye(len(scores), dtype=torch.bool)]
        distinct = len(scores.unique())
        if kind == "constant":
            assert distinct == 1
        elif kind == "ties":
            assert distinct <= 5
        else:
            assert distinct == scores.numel()
        if kind == "dominant_diagonal":
            assert scores.diagonal().min() > off_diagonal.max()

    check()


@pytest.mark.parametrize(
    ("argument", "value", "strategy"),
    [
        ("structure", "balanced_", batches),
        ("geometry", "gaussian_", batches),
        ("kind", "tie", score_matrices),
    ],
)
def test_unknown_names_are_refused(argument: str, value: str, strategy: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be one of .*did you mean"):
        find(strategy(**{argument: value}), lambda batch: True, settings=QUICK)
