from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from pml_proxyext.geometry import GeometricVerifier, HomographyTeacher, corner_error, homography_residuals, transfer
from tests.geometry.two_views import HOMOGRAPHY, generator, normal, same_rows, uniform

PICTURE = (288, 288)


def scene(count: int, num_wrong: int = 0, noise: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return points of both pictures and matches, the last ``num_wrong`` of them wrong."""
    a = 288 * uniform(count, 2, seed=seed)
    b = transfer(HOMOGRAPHY, a) + noise * normal(count, 2, seed=seed + 1)
    b[count - num_wrong :] = 288 * uniform(num_wrong, 2, seed=seed + 2)
    return a, b, same_rows(count)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("num_wrong", [0, 40, 75])
def test_the_truth_comes_back_through_wrong_matches(num_wrong, seed):
    label = HomographyTeacher().fit(*scene(100, num_wrong, seed=3 * seed))
    assert label.success
    # OpenCV computes points in single precision.
    assert corner_error(label.model, HOMOGRAPHY, *PICTURE) < 0.01
    assert label.inlier_mask[: 100 - num_wrong].all()
    # A wrong match is by chance within 3 pixels of its place with a probability of pi 9 / 288^2 = 0.0003.
    assert label.num_inliers <= 100 - num_wrong + 1
    assert label.fitness == label.inlier_ratio == label.num_inliers / 100


@pytest.mark.parametrize("seed", range(5))
def test_noise_of_a_pixel_leaves_corners_within_few(seed):
    label = HomographyTeacher().fit(*scene(100, 50, 1.0, seed=3 * seed))
    assert corner_error(label.model, HOMOGRAPHY, *PICTURE) < 5


def test_matches_say_which_points_belong_together():
    a, b, matches = scene(60)
    order = torch.randperm(60, generator=generator(0))
    shuffled = HomographyTeacher().fit(a, b[order], torch.stack([torch.arange(60), order.argsort()], dim=1))
    assert torch.equal(shuffled.model, HomographyTeacher().fit(a, b, matches).model)


def test_a_fit_can_be_repeated():
    arguments = scene(100, 75, 1.0)
    first = HomographyTeacher().fit(*arguments)
    HomographyTeacher().fit(*scene(50))
    second = HomographyTeacher().fit(*arguments)
    assert torch.equal(first.model, second.model)
    assert torch.equal(first.inlier_mask, second.inlier_mask)


def test_swapping_the_pictures_inverts_the_model():
    a, b, matches = scene(100, 40)
    there, back = HomographyTeacher().fit(a, b, matches), HomographyTeacher().fit(b, a, matches)
    assert corner_error(torch.linalg.inv(back.model), there.model, *PICTURE) < 0.01
    assert torch.equal(there.inlier_mask, back.inlier_mask)


def test_inliers_are_those_of_the_residuals():
    a, b, matches = scene(100, 40, 1.5)
    teacher = HomographyTeacher(threshold=2.0)
    label = teacher.fit(a, b, matches)
    residuals = teacher.residuals(label.model, a, b)
    assert torch.equal(residuals, homography_residuals(label.model, a, b))
    assert torch.equal(label.inlier_mask, residuals <= 2.0)
    assert 10 < label.num_inliers < 60


LINE = torch.tensor([[1.0, 0.5]]).double() * 200 * uniform(40, 1, seed=0) + 10
OFF = torch.tensor([[50.0, 200.0], [90.0, 180.0], [20.0, 250.0]]).double()
SHAKEN = LINE + 0.5 * normal(40, 2, seed=1)


@pytest.mark.parametrize(
    "a",
    [
        pytest.param(OFF[:0], id="empty"),
        pytest.param(288 * uniform(3, 2, seed=0), id="three"),
        pytest.param(LINE, id="on a line"),
        pytest.param(SHAKEN, id="nearly on a line"),
        pytest.param(torch.cat([LINE, OFF[:1]]), id="all but one on a line"),
        pytest.param(torch.cat([SHAKEN, OFF[:1]]), id="all but one nearly on a line"),
        pytest.param(torch.ones(20, 2).double(), id="one point"),
        pytest.param(OFF.repeat(9, 1), id="three points again and again"),
    ],
)
def test_matches_that_determine_nothing_fail(a):
    b = transfer(HOMOGRAPHY, a)
    for points in ((a, b), (b, a)):
        label = HomographyTeacher().fit(*points, same_rows(len(a)))
        assert not label.success
        assert label.model.isnan().all()
        assert label.model.shape == (3, 3)
        assert label.num_matches == len(a)
        assert not GeometricVerifier(0, 0.0)(label)


def test_inliers_of_three_points_determine_nothing():
    """OpenCV finds nothing for these; should it ever, the model is refused."""
    a = OFF.repeat(9, 1)
    assert not HomographyTeacher()._is_determined(a, transfer(HOMOGRAPHY, a))
    a = 288 * uniform(4, 2, seed=0)
    assert HomographyTeacher()._is_determined(a, transfer(HOMOGRAPHY, a))


def test_two_points_off_a_line_are_enough():
    a = torch.cat([LINE, OFF[:2]])
    label = HomographyTeacher().fit(a, transfer(HOMOGRAPHY, a), same_rows(len(a)))
    assert corner_error(label.model, HOMOGRAPHY, *PICTURE) < 0.1


def test_all_matches_to_one_point_fail():
    a = 288 * uniform(50, 2, seed=0)
    to_one = torch.stack([torch.arange(50), torch.zeros(50, dtype=torch.int64)], dim=1)
    assert not HomographyTeacher().fit(a, a, to_one).success
    assert not HomographyTeacher().fit(a, a, to_one.flip(1)).success


def test_bad_points_and_matches_are_named():
    a, b, matches = scene(9)
    with pytest.raises(ValueError, match=r"^points_b must be finite"):
        HomographyTeacher().fit(a, b * torch.nan, matches)
    with pytest.raises(ValueError, match=r"^points_a must have shape \(N, 2\)"):
        HomographyTeacher().fit(torch.ones(9, 3), b, matches)
    with pytest.raises(ValueError, match=r"^matches must index the 9 rows of points_a"):
        HomographyTeacher().fit(a, b, matches + 1)


@pytest.mark.parametrize(("name", "value"), [("threshold", 0), ("max_iterations", 0), ("confidence", 1.1)])
def test_bad_settings_are_named(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        HomographyTeacher(**{name: value})


def test_without_opencv_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"pml-proxyext\[geometry\]"):
        HomographyTeacher().fit(*scene(9))
