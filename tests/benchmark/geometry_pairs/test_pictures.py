"""Pairs of pictures: where their points are, and what can be told from them."""

import numpy as np
import pytest
import torch

pytest.importorskip("cv2")
pytest.importorskip("skimage")

from pml_proxyext.benchmark.geometry_pairs.pictures import (
    PATCH,
    SIDE,
    TEST_PICTURES,
    TRAIN_PICTURES,
    normalized_patches,
    picture_pair,
    picture_pairs,
    read_picture,
)
from pml_proxyext.geometry import transfer

NAMES = ["coffee.png", "text.png"]


def test_all_pictures_are_inside_the_wheel_and_no_one_is_in_both_parts():
    assert (len(TRAIN_PICTURES), len(TEST_PICTURES)) == (11, 7)
    assert not set(TRAIN_PICTURES) & set(TEST_PICTURES)
    for name in [*TRAIN_PICTURES, *TEST_PICTURES]:
        picture = read_picture(name)
        assert (picture.shape, picture.dtype) == ((SIDE, SIDE), np.uint8)
        assert picture.std() > 5


def test_pairs_depend_on_seed_and_number_alone():
    first, again = picture_pairs(NAMES, 2, 0), picture_pairs(NAMES[1:], 1, 0)
    for name in ("picture_b",):
        assert (getattr(first[2], name) == getattr(again[0], name)).all()
    assert torch.equal(first[2].corners.truth, again[0].corners.truth)
    assert torch.equal(first[2].corners.data_b, picture_pair(NAMES[1], [0, 0]).corners.data_b)
    truths = [pair.corners.truth for pair in [*first, *picture_pairs(NAMES, 2, 1)]]
    assert all(not torch.allclose(one, two) for i, one in enumerate(truths) for two in truths[:i])


def test_the_truth_takes_one_picture_to_the_other_where_contrast_is_not_turned():
    """Each grey value of the second picture, before noise, is a function of the first one's at the true place."""
    for name in TRAIN_PICTURES[:3]:
        pair = picture_pair(name, [0, 0])
        rows, columns = np.mgrid[20:268:4, 20:268:4]
        places = torch.from_numpy(np.stack([columns.ravel(), rows.ravel()], axis=1)).double()
        there = transfer(pair.corners.truth, places).round().long()
        inside = ((there >= 0) & (there < SIDE)).all(1).numpy()
        ones = pair.picture_a[rows.ravel()[inside], columns.ravel()[inside]] // 16
        others = pair.picture_b[there[inside, 1], there[inside, 0]].astype(float)
        explained = sum((ones == level).sum() * others[ones == level].var() for level in set(ones)) / len(ones)
        shuffled = np.random.default_rng(0).permutation(ones)
        by_chance = sum((ones == level).sum() * others[shuffled == level].var() for level in set(ones)) / len(ones)
        assert explained < 0.7 * by_chance


def test_homographies_are_as_wild_as_they_say_and_no_wilder():
    """Turned by at most 12 degrees, and a little more by the corners that are pulled."""
    angles, areas = [], []
    for pair in picture_pairs(["moon.png"], 12, 5):
        square = torch.tensor([[0.0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE]], dtype=torch.float64)
        moved = transfer(pair.corners.truth, square)
        side = moved[1] - moved[0]
        angles.append(torch.rad2deg(torch.atan2(side[1], side[0])).item())
        x, y = moved.unbind(1)
        areas.append(0.5 * (x * y.roll(-1) - y * x.roll(-1)).sum().item() / SIDE**2)
    assert 4 < max(map(abs, angles)) < 12 + np.rad2deg(0.12)
    assert 0.6 < min(areas) < max(areas) < 1.5


def test_points_are_inside_and_patches_are_normalized():
    for pair in picture_pairs(NAMES, 1, 3):
        for points, data in (
            (pair.corners.points_a, pair.corners.data_a),
            (pair.corners.points_b, pair.corners.data_b),
        ):
            assert 20 < len(points) <= 300
            assert ((points >= 16) & (points <= SIDE - 16)).all()
            assert torch.pdist(points).min() >= 6 - 1e-3
            assert data.shape == (len(points), PATCH**2)
            torch.testing.assert_close(data.sum(1), torch.zeros(len(data)), atol=1e-4, rtol=0)
            torch.testing.assert_close(data.norm(dim=1), torch.ones(len(data)))


def test_products_of_patches_are_correlations_and_a_flat_patch_is_zero():
    generator = torch.Generator().manual_seed(0)
    patches = torch.rand(4, 20, generator=generator)
    done = normalized_patches(patches)
    expected = np.corrcoef(patches.numpy())
    np.testing.assert_allclose((done @ done.T).numpy(), expected, atol=1e-6)
    assert not normalized_patches(torch.full((1, 5), 3.0)).any()
