from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from pml_proxyext.geometry import (
    EssentialTeacher,
    camera_coordinates,
    direction_error,
    epipolar_residuals,
    essential_matrix,
    fundamental_matrix,
    relative_pose,
    rotation_error,
    transfer,
)
from tests.geometry.two_views import CAMERA, doubles, normal, project, rotation, same_rows, uniform

TURN, SHIFT = rotation(0, 12), doubles([1.0, 0.2, 0.1])
OTHER_CAMERA = doubles([[700.0, 0.0, 300.0], [0.0, 710.0, 220.0], [0.0, 0.0, 1.0]])


def views(points: Tensor, shift: Tensor = SHIFT, noise: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    a, b = project(points), project(points @ TURN.T + shift)
    return a, b + noise * normal(len(a), 2, seed=9), same_rows(len(a))


def cloud(count: int, seed: int = 0) -> Tensor:
    return 2 * uniform(count, 3, seed=seed) + doubles([-1, -1, 4])


def wrong(b: Tensor, count: int) -> Tensor:
    """Return b with the last ``count`` of its points elsewhere in the picture."""
    return torch.cat([b[: len(b) - count], b[len(b) - count :] + 0.3 * normal(count, 2, seed=5)])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("num_wrong", [0, 40])
def test_the_truth_comes_back_through_wrong_matches(num_wrong, seed):
    a, b, matches = views(cloud(100, seed))
    label = EssentialTeacher().fit(a, wrong(b, num_wrong), matches)
    turn, shift = relative_pose(label.model, a[label.inlier_mask], b[label.inlier_mask])
    assert rotation_error(turn, TURN) < 1e-3
    assert direction_error(shift, SHIFT) < 1e-2
    assert label.inlier_mask[: 100 - num_wrong].all()
    # A wrong match is near its line by chance, with a probability of about 2 * 1e-3 / 0.3.
    assert label.num_inliers <= 100 - num_wrong + 4
    assert label.fitness == label.inlier_ratio


def test_the_truth_comes_back_where_four_matches_of_five_are_wrong():
    a, b, matches = views(cloud(400), noise=2e-4)
    label = EssentialTeacher().fit(a, wrong(b, 320), matches)
    turn, _ = relative_pose(label.model, a[label.inlier_mask], b[label.inlier_mask])
    assert rotation_error(turn, TURN) < 1


def test_a_plane_is_no_degenerate_scene():
    plane = cloud(80)
    plane[:, 2] = 5 + 0.3 * plane[:, 0]
    a, b, matches = views(plane)
    turn, shift = relative_pose(EssentialTeacher().fit(a, b, matches).model, a, b)
    # A plane leaves two poses; where both put it in front of the cameras the teacher may take either.
    truth = essential_matrix(TURN, SHIFT)
    assert epipolar_residuals(essential_matrix(turn, shift), a, b).max() < 1e-3
    assert epipolar_residuals(truth, a, b).max() < 1e-12


def test_pixels_of_two_cameras_give_the_fundamental_matrix():
    a, b, matches = views(cloud(60))
    pixels = transfer(CAMERA, a), transfer(OTHER_CAMERA, b)
    teacher = EssentialTeacher(CAMERA, OTHER_CAMERA)
    label = teacher.fit(*pixels, matches)
    expected = fundamental_matrix(essential_matrix(TURN, SHIFT), CAMERA, OTHER_CAMERA)
    expected = expected / torch.linalg.matrix_norm(expected)
    sign = (label.model * expected).sum().sign()
    torch.testing.assert_close(sign * label.model, expected, rtol=0, atol=1e-6)
    assert teacher.residuals(label.model, *pixels).max() < 0.1
    normalized = EssentialTeacher().fit(camera_coordinates(pixels[0], CAMERA), b, matches)
    assert torch.equal(normalized.inlier_mask, label.inlier_mask)


def test_one_camera_serves_both_pictures():
    a, b, matches = views(cloud(60))
    pixels = transfer(CAMERA, a), transfer(CAMERA, b)
    assert torch.equal(
        EssentialTeacher(CAMERA).fit(*pixels, matches).model,
        EssentialTeacher(CAMERA, CAMERA).fit(*pixels, matches).model,
    )


def test_inliers_are_those_of_the_residuals_in_camera_coordinates():
    a, b, matches = views(cloud(100), noise=1e-3)
    teacher = EssentialTeacher(threshold=5e-4)
    label = teacher.fit(a, b, matches)
    assert torch.equal(label.inlier_mask, teacher.residuals(label.model, a, b) <= 5e-4)
    assert 10 < label.num_inliers < 100


def test_a_fit_can_be_repeated():
    a, b, matches = views(cloud(100), noise=1e-3)
    first, second = (EssentialTeacher().fit(a, wrong(b, 50), matches) for _ in range(2))
    assert torch.equal(first.model, second.model)
    assert first.model.norm().item() == pytest.approx(1)


LINE = torch.linspace(-1, 1, 40).double()[:, None] * doubles([1.0, 0.5, 0.3]) + doubles([0, 0, 4])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(*views(cloud(0))[:2], id="empty"),
        pytest.param(*views(cloud(5))[:2], id="five"),
        pytest.param(*views(LINE)[:2], id="on a line"),
        pytest.param(*views(cloud(5).repeat(9, 1))[:2], id="five points again and again"),
        pytest.param(torch.ones(20, 2), torch.ones(20, 2), id="one point"),
        pytest.param(project(cloud(60)), project(cloud(60)), id="the same picture"),
        pytest.param(*views(cloud(60), shift=0 * SHIFT)[:2], id="a camera that only turns"),
        pytest.param(*views(cloud(60), shift=0 * SHIFT, noise=2e-4)[:2], id="nearly only turns"),
    ],
)
def test_matches_that_determine_nothing_fail(a, b):
    label = EssentialTeacher().fit(a, b, same_rows(len(a)))
    assert not label.success
    assert label.model.shape == (3, 3)
    assert label.model.isnan().all()
    assert label.num_matches == len(a)


def test_a_small_step_aside_is_enough():
    a, b, matches = views(cloud(60), shift=0.05 * SHIFT)
    label = EssentialTeacher().fit(a, b, matches)
    _, shift = relative_pose(label.model, a, b)
    assert direction_error(shift, SHIFT) < 1


def test_bad_points_and_matches_are_named():
    a, b, matches = views(cloud(9))
    with pytest.raises(ValueError, match=r"^points_b must be finite"):
        EssentialTeacher().fit(a, b * torch.nan, matches)
    with pytest.raises(ValueError, match=r"^matches must index the 9 rows of points_a"):
        EssentialTeacher().fit(a, b, matches + 1)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"intrinsics_a": torch.eye(2)}, "intrinsics_a"),
        ({"intrinsics_b": torch.zeros(3, 3)}, "intrinsics_b"),
        ({"intrinsics_b": torch.eye(3) * torch.nan}, "intrinsics_b"),
        ({"threshold": 0}, "threshold"),
        ({"max_iterations": 0}, "max_iterations"),
        ({"confidence": 1.1}, "confidence"),
    ],
)
def test_bad_settings_are_named(arguments, name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        EssentialTeacher(**arguments)


def test_without_opencv_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"pml-proxyext\[geometry\]"):
        EssentialTeacher().fit(*views(cloud(9)))
