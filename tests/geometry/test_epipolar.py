from __future__ import annotations

import math

import pytest
import torch

from pml_proxyext.geometry import (
    camera_coordinates,
    direction_error,
    epipolar_line_distances,
    essential_matrix,
    fundamental_matrix,
    relative_pose,
    rotation_error,
    transfer,
)
from tests.geometry.two_views import CAMERA, doubles, normal, project, rotation, stored, uniform


@pytest.mark.parametrize("case", stored("epipolar"), ids=["first", "second"])
def test_the_stored_matrices_and_distances(case):
    camera, turn, shift, a = (doubles(case[name]) for name in ("K", "R", "t", "x1"))
    fundamental = fundamental_matrix(essential_matrix(turn, shift), camera, camera)
    fundamental = fundamental / fundamental[2, 2]
    torch.testing.assert_close(fundamental, doubles(case["F_norm22"]), rtol=0, atol=1e-11)
    # The stored points have twelve decimals, of numbers of hundreds.
    assert epipolar_line_distances(fundamental, a, doubles(case["x2"])).max() < 1e-9
    noisy = epipolar_line_distances(fundamental, a, doubles(case["x2_noisy"]))
    torch.testing.assert_close(noisy, doubles(case["epiline_dist_px"]), rtol=0, atol=1e-9)


def test_distances_are_those_of_a_loop_over_points():
    fundamental, a, b = normal(3, 3, seed=0), normal(9, 2, seed=1), normal(9, 2, seed=2)
    expected = []
    for (x, y), (u, v) in zip(a.tolist(), b.tolist(), strict=True):
        p, q, r = (row[0] * x + row[1] * y + row[2] for row in fundamental.tolist())
        expected.append(abs(p * u + q * v + r) / math.hypot(p, q))
    torch.testing.assert_close(epipolar_line_distances(fundamental, a, b), doubles(expected))


def test_the_essential_matrix_is_the_product_with_the_translation():
    turn, shift, ray = rotation(0), normal(3, seed=1), normal(3, seed=2)
    expected = torch.linalg.cross(shift, turn @ ray)
    torch.testing.assert_close(essential_matrix(turn, shift) @ ray, expected)


def test_camera_coordinates_undo_the_camera():
    points = normal(9, 2, seed=0)
    torch.testing.assert_close(camera_coordinates(transfer(CAMERA, points), CAMERA), points)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sign", [1, -1])
def test_the_pose_comes_back_from_the_matrix(seed, sign):
    turn, shift = rotation(seed, 12), normal(3, seed=seed)
    scene = 2 * uniform(30, 3, seed=seed) + doubles([-1, -1, 6])
    matrix = sign * essential_matrix(turn, shift)
    found_turn, found_shift = relative_pose(matrix, project(scene), project(scene @ turn.T + shift))
    assert rotation_error(found_turn, turn) < 1e-6
    assert direction_error(found_shift, shift) < 1e-6
    assert found_shift.norm().item() == pytest.approx(1)
    assert found_shift.dtype == found_turn.dtype == torch.float64
