"""Turned points against loops in the plane, exact values, and sixty digits where the arcus cosine fails."""

from __future__ import annotations

import json
import math
from pathlib import Path

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from pml_proxyext.geometry import angles, nearest_other_angles, virtual_points, virtual_similarities

CASES = json.loads((Path(__file__).parents[1] / "golden" / "almn.json").read_text())["cases"]
RANDOM = {"seed": st.integers(0, 10_000), "rows": st.integers(1, 6), "size": st.integers(2, 7)}


def vectors(seed: int, rows: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return anchors and positives of several norms, and angles that keep within pi."""
    generator = torch.Generator().manual_seed(seed)
    anchors, positives, norms = (torch.randn(rows, size, generator=generator, dtype=torch.float64) for _ in range(3))
    positives = (anchors + positives) * norms[:, :1].exp()
    share = torch.rand(rows, generator=generator, dtype=torch.float64)
    return anchors, positives, share * (torch.pi - angles(anchors, positives))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_fixtures(case):
    rows = torch.tensor(case["embeddings"], dtype=torch.float64)
    rows = normalize(rows) if case["normalize"] else rows
    anchors, positives = rows[case["anchor_idx"]], rows[case["positive_idx"]]
    delta = torch.tensor(case["delta"], dtype=torch.float64)
    points = virtual_points(anchors, positives, delta)
    expected = torch.tensor(case["virtual_points"], dtype=torch.float64)
    torch.testing.assert_close(points, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        virtual_similarities(anchors, positives, delta), (anchors * expected).sum(1), rtol=1e-9, atol=1e-12
    )
    if case["mode"] == "negative":
        gap = (nearest_other_angles(anchors, positives) - angles(anchors, positives)).relu()
        torch.testing.assert_close(case["beta"] * gap, delta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("exponent", [-12, -6, -1, 0])
def test_angles_keep_their_digits_near_zero_and_near_pi(exponent):
    small = 10.0**exponent
    for first, second in (([1.0, 0.0], [1.0, small]), ([1.0, 0.0], [-1.0, small])):
        with mpmath.workdps(60):
            exact = float(mpmath.atan2(mpmath.mpf(small), second[0]))
        found = angles(torch.tensor([first], dtype=torch.float64), torch.tensor([second], dtype=torch.float64))
        assert found.item() == pytest.approx(exact, rel=1e-14)


@settings(max_examples=30, deadline=None)
@given(**RANDOM)
def test_angles_are_the_arcus_cosine_where_that_is_good(seed, rows, size):
    anchors, positives, _ = vectors(seed, rows, size)
    cosines = [
        sum(x * y for x, y in zip(a, p, strict=True)) / math.hypot(*a) / math.hypot(*p)
        for a, p in zip(anchors.tolist(), positives.tolist(), strict=True)
    ]
    expected = [math.acos(max(-1.0, min(1.0, c))) for c in cosines]
    assert angles(anchors, positives).tolist() == pytest.approx(expected, rel=1e-6, abs=1e-7)


@settings(max_examples=30, deadline=None)
@given(**RANDOM)
def test_nearest_other_is_the_least_angle_to_other_positives(seed, rows, size):
    anchors, positives, _ = vectors(seed, rows, size)
    found = nearest_other_angles(anchors, positives)
    for i in range(rows):
        others = [j for j in range(rows) if j != i] or [i]
        each = [angles(anchors[i : i + 1], positives[j : j + 1]).item() for j in others]
        assert found[i].item() == pytest.approx(min(each), rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(**RANDOM)
def test_points_stay_in_the_plane_keep_their_norm_and_move_by_the_angle(seed, rows, size):
    anchors, positives, delta = vectors(seed, rows, size)
    points = virtual_points(anchors, positives, delta)
    torch.testing.assert_close(points.norm(dim=1), positives.norm(dim=1))
    torch.testing.assert_close(angles(anchors, points), angles(anchors, positives) + delta, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(angles(positives, points), delta, rtol=1e-6, atol=1e-6)
    for a, p, v in zip(anchors, positives, points, strict=True):
        # A vector in the span of two others leaves nothing when these are projected out.
        basis = torch.stack([a, p], dim=1)
        residue = v - basis @ torch.linalg.lstsq(basis, v[:, None]).solution[:, 0]
        assert residue.norm() <= 1e-7 * v.norm()
    torch.testing.assert_close(virtual_similarities(anchors, positives, delta), (anchors * points).sum(1))


@settings(max_examples=30, deadline=None)
@given(**RANDOM)
def test_points_turn_with_the_space(seed, rows, size):
    anchors, positives, delta = vectors(seed, rows, size)
    rotation, _ = torch.linalg.qr(
        torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    )
    turned = virtual_points(anchors @ rotation, positives @ rotation, delta)
    torch.testing.assert_close(turned, virtual_points(anchors, positives, delta) @ rotation, rtol=1e-6, atol=1e-8)


def test_an_angle_of_zero_changes_nothing_gradients_included():
    anchors, positives, _ = vectors(0, 5, 3)
    anchors[0] = 0
    anchors.requires_grad_()
    similarities = virtual_similarities(anchors, positives, torch.zeros(5, dtype=torch.float64))
    torch.testing.assert_close(similarities, (anchors * positives).sum(1), rtol=0, atol=0)
    torch.testing.assert_close(torch.autograd.grad(similarities.sum(), anchors)[0], positives)
    torch.testing.assert_close(virtual_points(anchors, positives, torch.zeros(5, dtype=torch.float64)), positives)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [1.0, -2.0, 0.0])
def test_without_a_plane_the_point_stays(dtype, factor):
    positives = torch.randn(20, 16, generator=torch.Generator().manual_seed(1), dtype=dtype)
    anchors, delta = factor * positives, torch.full((20,), 0.7, dtype=dtype)
    torch.testing.assert_close(virtual_points(anchors, positives, delta), positives, rtol=0, atol=0)
    zeros = torch.zeros_like(positives)
    torch.testing.assert_close(virtual_points(positives, zeros, delta), zeros, rtol=0, atol=0)


def test_similarities_are_continuous_where_anchor_and_positive_become_parallel():
    anchor, delta = torch.tensor([[2.0, 0.0]], dtype=torch.float64), torch.tensor([0.7], dtype=torch.float64)
    for tilt in (0.0, 1e-15, 1e-9):
        positive = torch.tensor([[3.0, tilt]], dtype=torch.float64)
        assert virtual_similarities(anchor, positive, delta).item() == pytest.approx(6 * math.cos(0.7), rel=1e-8)


def test_nearly_parallel_points_move_by_the_angle():
    generator = torch.Generator().manual_seed(2)
    anchors = torch.randn(50, 16, generator=generator, dtype=torch.float64)
    positives = anchors + 1e-13 * torch.randn(50, 16, generator=generator, dtype=torch.float64)
    points = virtual_points(anchors, positives, torch.full((50,), 0.7, dtype=torch.float64))
    torch.testing.assert_close(points.norm(dim=1), positives.norm(dim=1), rtol=1e-12, atol=0)
    torch.testing.assert_close(angles(anchors, points), torch.full((50,), 0.7, dtype=torch.float64))


def test_zero_vectors_are_orthogonal_to_all():
    points = torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    found = angles(points, points.flip(0))
    assert found.tolist() == [math.pi / 2, math.pi / 2]
    assert torch.autograd.grad(found.sum(), points)[0].isfinite().all()


def test_gradients_are_finite_where_rows_coincide():
    points = torch.eye(3, dtype=torch.float64, requires_grad=True)
    for quantity in (
        angles(points, points),
        angles(points, -points),
        nearest_other_angles(points, points[[1, 1, 1]]),
        virtual_points(points, points, torch.ones(3, dtype=torch.float64)),
        virtual_similarities(points, points, torch.ones(3, dtype=torch.float64)),
    ):
        assert torch.autograd.grad(quantity.sum(), points)[0].isfinite().all()


def test_gradients_of_all_functions():
    anchors, positives, delta = (x.requires_grad_() for x in vectors(3, 4, 3))
    assert torch.autograd.gradcheck(virtual_points, (anchors, positives, delta))
    assert torch.autograd.gradcheck(virtual_similarities, (anchors, positives, delta))
    assert torch.autograd.gradcheck(angles, (anchors, positives))
    assert torch.autograd.gradcheck(nearest_other_angles, (anchors, positives))


@pytest.mark.parametrize("where", ["anchors", "positives", "delta"])
def test_nan_stays_visible(where):
    inputs = dict(zip(("anchors", "positives", "delta"), vectors(0, 3, 4), strict=True))
    inputs[where][1] = torch.nan
    for function in (virtual_points, virtual_similarities):
        assert function(**inputs)[1].isnan().any()
        assert function(**inputs)[[0, 2]].isfinite().all()
