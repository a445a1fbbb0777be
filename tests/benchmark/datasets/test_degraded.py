import math

import numpy as np
import pytest
import torch
from scipy import stats

from pml_proxyext.benchmark.datasets.degraded import LEVELS, blur, degradations, mix, occlude


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    """Images with a margin of background."""
    ink = torch.randint(1, 256, (24, 1, 8, 10), generator=generator(1), dtype=torch.uint8)
    return torch.nn.functional.pad(ink, (3, 3, 2, 2))


LABELS = torch.tensor([5, 1, 1, 0, 5, 2] * 4)  # unsorted, of unequal size, with gaps


def test_degradations_are_the_same_again_and_of_every_level(images):
    first, second = list(degradations(images, LABELS, seed=3)), list(degradations(images, LABELS, seed=3))
    assert [(part.kind, part.level) for part in first] == [
        (k, level) for k, levels in LEVELS.items() for level in levels
    ]
    assert len({part.name for part in first}) == len(first)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.partners, other.partners)
        assert one.images.dtype == torch.uint8
        assert one.images.shape == images.shape
        assert (one.images != images).flatten(1).any(dim=1).all()


def test_another_seed_degrades_elsewhere(images):
    for one, other in zip(degradations(images, LABELS, seed=3), degradations(images, LABELS, seed=4), strict=True):
        assert torch.equal(one.images, other.images) == (one.kind == "blur")


def test_degradations_leave_the_global_generator_alone(images):
    before = torch.get_rng_state()
    list(degradations(images, LABELS))
    assert torch.equal(torch.get_rng_state(), before)


def test_larger_squares_cover_what_smaller_ones_do_and_partners_stay(images):
    parts = {kind: [part for part in degradations(images, LABELS) if part.kind == kind] for kind in LEVELS}
    for smaller, larger in zip(parts["occlusion"], parts["occlusion"][1:], strict=False):
        assert ((larger.images == 0) | (smaller.images == larger.images)).all()
    assert all(torch.equal(part.partners, parts["mixture"][0].partners) for part in parts["mixture"])
    assert all(torch.equal(part.partners, torch.arange(24)) for part in parts["blur"] + parts["occlusion"])


def test_blur_equals_a_naive_convolution(images):
    sigma, images = 0.7, images[..., 2:-2, 3:-3]  # ink to the edge, outside of which is background
    expected = np.zeros(images.shape)
    kernel = np.array([math.exp(-(d**2) / (2 * sigma**2)) for d in range(-3, 4)])  # scipy's kernel ends at 4 sigma
    kernel /= kernel.sum()
    height, width = images.shape[2:]
    for row in range(height):
        for column in range(width):
            for i in range(-3, 4):
                for j in range(-3, 4):
                    if 0 <= row + i < height and 0 <= column + j < width:
                        pixel = images[:, :, row + i, column + j].numpy()
                        expected[:, :, row, column] += kernel[i + 3] * kernel[j + 3] * pixel
    assert np.abs(blur(images, sigma).numpy() - expected).max() <= 0.51  # bytes


def test_blur_does_not_reach_from_one_image_to_the_next():
    images = torch.zeros(3, 1, 9, 9, dtype=torch.uint8)
    images[1] = 255
    assert blur(images, 2.0)[[0, 2]].count_nonzero() == 0


@pytest.mark.parametrize("side", [3, 4])
def test_occlude_blanks_a_square_around_ink(images, side):
    places = set()
    for seed in range(5):
        covered = occlude(images, side, generator(seed)) != images
        for image, mask in zip(images[:, 0], covered[:, 0], strict=True):
            rows, columns = mask.nonzero().unbind(1)  # of the ink that was covered
            top, left = int(rows.min()), int(columns.min())
            height, width = int(rows.max()) - top + 1, int(columns.max()) - left + 1
            assert max(height, width) <= side
            assert mask[top : top + height, left : left + width].all()  # all ink in it, for ink here has no gaps
            assert min(height, width) >= side // 2  # the centre is ink, whose neighbours within the image are
            assert not mask[image == 0].any()
            places.add((top, left))
    assert len(places) > 20


def test_occlude_an_image_without_ink_changes_nothing():
    blank = torch.zeros(2, 1, 5, 5, dtype=torch.uint8)
    assert torch.equal(occlude(blank, 3, generator()), blank)


@pytest.mark.parametrize("weight", [0.2, 0.49])
def test_mix_is_the_weighted_sum_with_an_image_of_another_class(images, weight):
    mixed, partners = mix(images, LABELS, weight, generator())
    assert (LABELS[partners] != LABELS).all()
    expected = (1 - weight) * images.double() + weight * images[partners].double()
    assert (mixed.double() - expected).abs().max() <= 0.5 + 1e-4
    distance = (mixed.double() - images.double()).flatten(1).norm(dim=1)
    assert (distance < (mixed.double() - images[partners].double()).flatten(1).norm(dim=1)).all()  # the label is right


def test_every_image_of_another_class_is_an_equally_likely_partner():
    """Chi-squared test for each image at a level of 1e-6, so 2.4e-5 for a false alarm; none ever with these seeds."""
    images = torch.zeros(24, 1, 1, 1, dtype=torch.uint8)
    counts = torch.zeros(24, 24)
    for seed in range(2000):
        counts[torch.arange(24), mix(images, LABELS, 0.3, generator(seed))[1]] += 1
    for i in range(24):
        allowed = LABELS[i] != LABELS
        assert counts[i][~allowed].sum() == 0
        assert stats.chisquare(counts[i][allowed].numpy()).pvalue > 1e-6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda images: blur(images, 0.0), "sigma must be a finite number > 0, got 0.0"),
        (
            lambda images: blur(images.float(), 1.0),
            r"images must have shape \(N, 1, H, W\) and dtype uint8, got .*float",
        ),
        (lambda images: blur(images[:, 0], 1.0), r"images must have shape \(N, 1, H, W\)"),
        (lambda images: occlude(images, 0), "side must be an integer >= 1, got 0"),
        (lambda images: mix(images, LABELS, 0.5), "weight must be below 0.5, got 0.5"),
        (lambda images: mix(images, LABELS, 0.7), "weight must be a finite number > 0 and <= 0.5, got 0.7"),
        (lambda images: mix(images, LABELS[:3], 0.3), "labels must be one for each of the 24 images, got 3"),
        (lambda images: mix(images, LABELS * 0, 0.3), "labels must be of at least two classes, got 1"),
        (lambda images: mix(images, LABELS.float(), 0.3), "labels must be integers, got torch.float32"),
    ],
)
def test_bad_arguments_are_named(images, call, message):
    with pytest.raises(ValueError, match=message):
        call(images)
