import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.nn.functional import avg_pool2d

from pml_proxyext.benchmark.self_supervised.augmentation import (
    change_colours,
    colour_matrices,
    crop,
    random_boxes,
    random_colours,
    random_crops,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count=3, size=16):
    return torch.rand(count, 3, size, size, generator=generator(1), dtype=torch.float64)


def test_boxes_lie_inside_and_have_the_shares_asked_for():
    """The mean of 20,000 uniform shares has a standard deviation of 0.00061; five of them are a false alarm in 1e6."""
    x, y, half_width, half_height = random_boxes(20_000, (0.2, 0.5), generator=generator()).unbind(1)
    for centre, half in ((x, half_width), (y, half_height)):
        assert (centre.abs() + half).max() <= 1 + 1e-6
        assert centre.mean().abs() < 0.02
        assert ((centre + half) > 0.99).any()  # no side is out of reach
    share, ratio = half_width * half_height, half_width / half_height
    assert share.min() >= 0.2 - 1e-6
    assert share.max() <= 0.5 + 1e-6
    assert abs(share.mean().item() - 0.35) < 0.0031
    assert ratio.min() >= 3 / 4 - 1e-5
    assert ratio.max() <= 4 / 3 + 1e-5
    assert abs(ratio.log().mean().item()) < 5 * math.log(16 / 9) / math.sqrt(12 * 20_000)


def test_boxes_as_large_as_the_picture_are_cut_and_stay_in_the_middle():
    boxes = random_boxes(100, (1.0, 1.0), generator=generator())
    assert boxes[:, 2:].max() == 1
    assert (boxes[:, 2:] >= math.sqrt(3 / 4) - 1e-6).all()
    assert (boxes[:, :2].abs() <= 1 - boxes[:, 2:] + 1e-6).all()


@pytest.mark.parametrize("bounds", [{"area": (0.0, 1.0)}, {"area": (0.5, 0.4)}, {"area": (0.5, 1.1)}])
def test_shares_out_of_range_are_refused(bounds):
    with pytest.raises(ValueError, match="area must be a finite number"):
        random_boxes(3, **bounds)


@pytest.mark.parametrize("ratio", [(0.0, 1.0), (2.0, 1.0), (1.0, math.inf)])
def test_ratios_out_of_range_are_refused(ratio):
    with pytest.raises(ValueError, match="ratio must be a finite number"):
        random_boxes(3, (0.1, 0.2), ratio)


def test_a_crop_on_the_grid_of_pixels_is_a_slice():
    pictures = images()
    boxes = torch.tensor([[-0.5, -0.5, 0.5, 0.5], [0.5, -0.5, 0.5, 0.5], [0.25, 0.5, 0.5, 0.5]], dtype=torch.float64)
    expected = torch.stack([pictures[0, :, :8, :8], pictures[1, :, :8, 8:], pictures[2, :, 8:, 6:14]])
    torch.testing.assert_close(crop(pictures, boxes, 8), expected)


def test_the_whole_at_half_the_size_is_the_means_of_four_pixels():
    pictures = images()
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64).expand(3, 4)
    torch.testing.assert_close(crop(pictures, whole, 8), avg_pool2d(pictures, 2))


def test_a_crop_interpolates_as_a_loop_over_pixels_does():
    pictures, boxes, size = images(2, 8), random_boxes(2, (0.3, 0.6), generator=generator(2)).double(), 5
    found = crop(pictures, boxes, size).numpy()
    for n, (x, y, half_width, half_height) in enumerate(boxes.tolist()):
        for row in range(size):
            for column in range(size):
                across = (x + half_width * ((2 * column + 1) / size - 1) + 1) * 8 / 2 - 0.5
                down = (y + half_height * ((2 * row + 1) / size - 1) + 1) * 8 / 2 - 0.5
                expected = 0.0
                for i in range(8):
                    for j in range(8):
                        weight = max(0, 1 - abs(np.clip(down, 0, 7) - i)) * max(0, 1 - abs(np.clip(across, 0, 7) - j))
                        expected = expected + weight * pictures[n, :, i, j].numpy()
                np.testing.assert_allclose(found[n, :, row, column], expected, atol=1e-9)


def test_random_crops_differ_within_a_batch_and_repeat_with_the_generator():
    same = images(1).expand(4, -1, -1, -1)
    first, again = (random_crops(same, 8, (0.3, 0.9), generator(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert all(not torch.allclose(first[i], first[j]) for i in range(4) for j in range(i))


def test_colours_turn_about_the_greys():
    contrast, saturation, hue = (torch.tensor(values) for values in ([0.7, 1.5], [0.4, 1.0], [0.1, -0.3]))
    found = colour_matrices(contrast, saturation, hue).double().numpy()
    axis = np.ones(3) / np.sqrt(3)
    grey = np.outer(axis, axis)
    for matrix, a, s, turns in zip(found, contrast.tolist(), saturation.tolist(), hue.tolist(), strict=True):
        rotation = Rotation.from_rotvec(2 * np.pi * turns * axis).as_matrix()
        np.testing.assert_allclose(matrix, a * (grey + s * rotation @ (np.eye(3) - grey)), atol=1e-6)


def test_a_third_of_a_turn_exchanges_red_green_and_blue():
    one = torch.ones(1)
    pictures = images(1).float()
    found = change_colours(pictures, colour_matrices(one, one, one / 3), torch.zeros(1))
    torch.testing.assert_close(found, pictures[:, [2, 0, 1]], rtol=0, atol=1e-5)


def test_changed_colours_keep_the_mean_but_for_contrast_and_brightness():
    pictures = 0.4 + 0.2 * images(2).float()  # nothing is cut off
    changed = change_colours(
        pictures, colour_matrices(torch.tensor([1.0, 0.5]), torch.tensor([0.3, 1.2]), torch.tensor([0.1, 0.2])),
        torch.tensor([0.0, 0.1]),
    )  # fmt: skip
    greys = pictures.mean(1)
    torch.testing.assert_close(changed[0].mean(0), greys[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(changed[1].mean(0), 0.5 + 0.5 * (greys[1] - 0.5) + 0.1, rtol=0, atol=1e-5)


def test_colours_of_no_strength_are_the_same_or_grey():
    pictures = images(40)
    torch.testing.assert_close(random_colours(pictures, 0.0, 0.0, generator()), pictures, rtol=0, atol=1e-6)
    found = random_colours(pictures, 0.0, 0.5, generator())
    grey = pictures.mean(1, keepdim=True).expand_as(pictures)
    is_grey = torch.isclose(found, grey, atol=1e-6).flatten(1).all(1)
    is_same = torch.isclose(found, pictures, atol=1e-6).flatten(1).all(1)
    assert (is_grey ^ is_same).all()
    assert is_grey.any()
    assert is_same.any()


def test_grey_is_as_frequent_as_asked_for():
    """Shares of 4,000 draws have a standard deviation of 0.0063; five of them are a false alarm in 1e6."""
    found = random_colours(images(1, 2).float().expand(4000, -1, -1, -1), 0.1, 0.2, generator())
    is_grey = (found.amax(1) - found.amin(1)).flatten(1).amax(1) < 1e-5
    assert abs(is_grey.float().mean().item() - 0.2) < 0.032


def test_random_colours_stay_in_range_and_differ_within_a_batch():
    same = images(1).expand(8, -1, -1, -1)
    found = random_colours(same, 1.0, 0.0, generator())
    assert found.min() >= 0
    assert found.max() <= 1
    assert all(not torch.allclose(found[i], found[j], atol=1e-3) for i in range(8) for j in range(i))
    assert torch.equal(found, random_colours(same, 1.0, 0.0, generator()))


@pytest.mark.parametrize("arguments", [{"strength": 1.1, "grey_share": 0.0}, {"strength": 0.5, "grey_share": -0.1}])
def test_strengths_and_shares_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match="must be a finite number >= 0 and <= 1"):
        random_colours(images(), **arguments)
