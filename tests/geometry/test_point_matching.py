from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pml_proxyext.geometry import mutual_nearest_neighbors, nearest_neighbors, ratio_test_matches
from tests.geometry.two_views import doubles, normal, stored

SIZES = st.integers(1, 9)
MATCHERS = [nearest_neighbors, mutual_nearest_neighbors, ratio_test_matches]


def test_the_stored_matches():
    for case in stored("matching"):
        a, b = doubles(case["src"]), doubles(case["dst"])
        assert nearest_neighbors(a, b)[:, 1].tolist() == case["nearest"]
        assert mutual_nearest_neighbors(a, b).tolist() == case["mutual"]
        assert ratio_test_matches(a, b, 0.75).tolist() == case["ratio_0_75"]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), size_a=SIZES, size_b=SIZES, ratio=st.sampled_from([0.5, 0.75, 1.0]))
def test_matches_are_those_of_a_loop(seed, size_a, size_b, ratio):
    a, b = normal(size_a, 3, seed=seed), normal(size_b, 3, seed=seed + 1)
    away = [[math.dist(x, y) for y in b.tolist()] for x in a.tolist()]
    forward = [(i, min(range(size_b), key=away[i].__getitem__)) for i in range(size_a)]
    mutual = [(i, j) for i, j in forward if i == min(range(size_a), key=lambda k, j=j: away[k][j])]
    tested = [(i, j) for i, j in forward if size_b == 1 or away[i][j] < ratio * sorted(away[i])[1]]
    assert nearest_neighbors(a, b).tolist() == [list(pair) for pair in forward]
    assert mutual_nearest_neighbors(a, b).tolist() == [list(pair) for pair in mutual]
    assert ratio_test_matches(a, b, ratio).tolist() == [list(pair) for pair in tested]


def test_mutual_matches_are_the_same_from_either_side():
    a, b = normal(40, 8, seed=0), normal(50, 8, seed=1)
    there, back = mutual_nearest_neighbors(a, b), mutual_nearest_neighbors(b, a)
    assert len(there) > 5
    assert {tuple(pair) for pair in there.tolist()} == {(i, j) for j, i in back.tolist()}


def test_too_few_mutual_matches_are_replaced_by_one_way_ones():
    a, b = normal(40, 8, seed=0), normal(50, 8, seed=1)
    mutual = mutual_nearest_neighbors(a, b)
    assert torch.equal(mutual_nearest_neighbors(a, b, min_matches=len(mutual)), mutual)
    assert torch.equal(mutual_nearest_neighbors(a, b, min_matches=len(mutual) + 1), nearest_neighbors(a, b))


def test_too_few_that_pass_the_ratio_are_filled_up_with_the_best_ratios():
    a, b = normal(40, 8, seed=0), normal(50, 8, seed=1)
    passed = ratio_test_matches(a, b, 0.8)
    assert 0 < len(passed) < 20
    assert torch.equal(ratio_test_matches(a, b, 0.8, min_matches=len(passed)), passed)
    filled = ratio_test_matches(a, b, 0.8, min_matches=20)
    ratios = torch.cdist(a, b).topk(2, largest=False).values
    best = (ratios[:, 0] / ratios[:, 1]).argsort()[:20].sort().values
    assert filled[:, 0].tolist() == best.tolist()
    assert {tuple(pair) for pair in passed.tolist()} <= {tuple(pair) for pair in filled.tolist()}
    assert len(ratio_test_matches(a, b, 0.8, min_matches=1000)) == 40


def test_twins_do_not_pass_the_ratio():
    b = torch.tensor([[0.0, 1.0], [0.0, 1.0], [5.0, 0.0]])
    assert ratio_test_matches(b[:1], b).tolist() == []
    assert ratio_test_matches(b[2:], b).tolist() == [[0, 2]]


@pytest.mark.parametrize("match", MATCHERS)
def test_without_descriptors_there_are_no_matches(match):
    some = torch.ones(3, 4)
    for a, b in ((some[:0], some), (some, some[:0]), (some[:0], some[:0])):
        found = match(a, b)
        assert found.shape == (0, 2)
        assert found.dtype == torch.int64


@pytest.mark.parametrize("match", MATCHERS)
def test_half_precision_is_compared_in_full(match):
    a, b = normal(30, 8, seed=0).bfloat16(), normal(30, 8, seed=1).bfloat16()
    assert torch.equal(match(a, b), match(a.float(), b.float()))


@pytest.mark.parametrize("match", MATCHERS)
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.ones(3), torch.ones(3, 4), "^descriptors_a must have shape"),
        (torch.ones(3, 4), torch.ones(3, 5), "^descriptors_b must have embedding_size 4"),
        (torch.ones(3, 4), torch.full((3, 4), torch.nan), "^descriptors_b must be finite, got NaN or infinity in 12"),
    ],
)
def test_bad_descriptors_are_named(match, a, b, message):
    with pytest.raises(ValueError, match=message):
        match(a, b)


def test_bad_settings_are_named():
    some = torch.ones(3, 4)
    with pytest.raises(ValueError, match=r"^ratio must be a finite number > 0 and <= 1, got 0$"):
        ratio_test_matches(some, some, 0)
    with pytest.raises(ValueError, match=r"^min_matches must be an integer >= 0, got -1$"):
        mutual_nearest_neighbors(some, some, min_matches=-1)
