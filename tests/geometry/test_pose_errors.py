from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pml_proxyext.geometry import corner_error, direction_error, rotation_error, translation_error
from tests.geometry.two_views import HOMOGRAPHY, apply, doubles, normal, rotation, stored

SEEDS = st.integers(0, 1000)


@pytest.mark.parametrize("case", stored("pose_errors"), ids=lambda case: f"{case['rot_err_deg']}")
def test_the_stored_errors(case):
    turns, shifts = ([doubles(case[f"{kind}{k}"]) for k in (0, 1)] for kind in ("R", "t"))
    angle, distance = rotation_error(*turns).item(), translation_error(*shifts).item()
    assert angle == pytest.approx(case["rot_err_deg"], abs=1e-9)
    assert distance == pytest.approx(case["trans_err"], abs=1e-9)
    assert direction_error(*shifts).item() == pytest.approx(case["trans_angle_deg"], abs=1e-9)
    assert (angle < 15 and distance < 0.3) is case["success_3d_15deg_0_3m"]


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, degrees=st.sampled_from([0.0, 1e-9, 1e-4, 1.0, 90.0, 179.0, 180.0 - 1e-6, 180.0]))
def test_the_error_is_the_angle_of_the_rotation_between(seed, degrees):
    first, by = rotation(seed), rotation(seed + 7, degrees)
    for second in (first @ by, by @ first):
        assert rotation_error(first, second).item() == pytest.approx(degrees, abs=1e-11 + 1e-12 * degrees)
        assert rotation_error(second, first).item() == pytest.approx(degrees, abs=1e-11 + 1e-12 * degrees)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, degrees=st.sampled_from([0.0, 1e-9, 1e-4, 1.0, 90.0, 180.0 - 1e-6, 180.0]))
def test_directions_know_no_length(seed, degrees):
    across = torch.linalg.cross(normal(3, seed=seed), normal(3, seed=seed + 1))
    first = torch.linalg.cross(across, normal(3, seed=seed + 2))
    along, side = first / first.norm(), torch.linalg.cross(across, first) / (across.norm() * first.norm())
    angle = math.radians(degrees)
    second = 5 * (math.cos(angle) * along + math.sin(angle) * side)
    assert direction_error(first, second).item() == pytest.approx(degrees, abs=1e-11 + 1e-12 * degrees)


def test_errors_of_many_come_one_by_one():
    first, second = (torch.stack([rotation(seed + k) for k in range(4)]) for seed in (0, 50))
    each = torch.stack([rotation_error(a, b) for a, b in zip(first, second, strict=True)])
    assert torch.equal(rotation_error(first, second), each)
    assert (
        direction_error(first[:, 0], second[:, 0]).shape == translation_error(first[:, 0], second[:, 0]).shape == (4,)
    )


def test_the_corner_error_is_the_mean_over_four_corners():
    other = HOMOGRAPHY + 1e-3 * normal(3, 3, seed=0)
    corners = [[0.0, 0.0], [640.0, 0.0], [640.0, 480.0], [0.0, 480.0]]
    expected = sum(math.dist(apply(other, corner), apply(HOMOGRAPHY, corner)) for corner in corners) / 4
    assert corner_error(other, HOMOGRAPHY, 640, 480).item() == pytest.approx(expected, rel=1e-10)
    both = corner_error(torch.stack([other, torch.full((3, 3), torch.nan).double()]), HOMOGRAPHY, 640, 480)
    assert both.isnan().tolist() == [False, True]
