from __future__ import annotations

import math

import pytest
import torch

from pml_proxyext.geometry.teacher_inputs import check_matches, check_points, distance_from_line, num_distinct
from tests.geometry.two_views import normal, rotation


@pytest.mark.parametrize("dim", [2, 3])
def test_the_distance_from_a_line_is_the_spread_across_it(dim):
    along, across = normal(200, 1, seed=0), normal(200, dim, seed=1)
    across[:, 0] = 0
    flat = torch.cat([100 * along, torch.zeros(200, dim - 1)], dim=1).double()
    points = (flat + 0.1 * across) @ (rotation(3)[:dim, :dim] if dim == 3 else torch.eye(2).double()) + 7
    # 0.1 in each of the directions across; the fit takes a little of it, which 200 points make less than a tenth.
    assert distance_from_line(points) == pytest.approx(0.1 * math.sqrt(dim - 1), rel=0.1)


def test_leaving_one_out_is_the_best_of_a_loop():
    points = normal(7, 2, seed=0)
    every = [distance_from_line(torch.cat([points[:k], points[k + 1 :]])) for k in range(7)]
    assert distance_from_line(points, leave_one_out=True) == pytest.approx(min(every), rel=1e-9)


def test_two_points_are_always_on_a_line():
    for count in range(3):
        assert distance_from_line(normal(count, 3, seed=0)) == 0
    assert distance_from_line(normal(3, 3, seed=0), leave_one_out=True) < 1e-7


def test_copies_of_a_match_are_one():
    a = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [3.0, 4.0]])
    assert num_distinct(a, a) == 2
    assert num_distinct(a, a.flip(0)) == 3
    assert num_distinct(a[:0], a[:0]) == 0


def test_matched_points_come_row_by_row():
    a, b = normal(5, 2, seed=0), normal(4, 2, seed=1)
    matched = check_matches(torch.tensor([[4, 0], [1, 3], [1, 0]], dtype=torch.int32), a, b)
    assert torch.equal(matched[0], a[[4, 1, 1]])
    assert torch.equal(matched[1], b[[0, 3, 0]])


def test_points_are_double_and_without_graph():
    points = torch.ones(3, 2, requires_grad=True)
    found = check_points(points, 2, "points_a")
    assert found.dtype == torch.float64
    assert not found.requires_grad


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.ones(3), r"^points_a must have shape \(N, 2\), got shape \(3,\)$"),
        (torch.ones(3, 3), r"got shape \(3, 3\)$"),
        (torch.ones(3, 2, dtype=torch.int64), r"^points_a must be floating point, got torch.int64$"),
        (torch.tensor([[1.0, math.nan]]), r"^points_a must be finite, got NaN or infinity in 1 of 2 values$"),
        (torch.tensor([[1.0, math.inf]]), r"^points_a must be finite"),
    ],
)
def test_bad_points_are_named(points, message):
    with pytest.raises(ValueError, match=message):
        check_points(points, 2, "points_a")


@pytest.mark.parametrize(
    ("matches", "message"),
    [
        (torch.zeros(3), r"^matches must have shape \(M, 2\), got shape \(3,\)$"),
        (torch.zeros(3, 3).long(), r"got shape \(3, 3\)$"),
        (torch.zeros(3, 2), r"^matches must be integers, got torch.float32$"),
        (torch.zeros(3, 2) > 0, r"got torch.bool$"),
        (torch.tensor([[0, 0], [5, 0]]), r"^matches must index the 5 rows of points_a, got indices from 0 to 5$"),
        (torch.tensor([[0, 0], [0, -1]]), r"^matches must index the 4 rows of points_b, got indices from -1 to 0$"),
    ],
)
def test_bad_matches_are_named(matches, message):
    with pytest.raises(ValueError, match=message):
        check_matches(matches, normal(5, 2, seed=0), normal(4, 2, seed=0))
