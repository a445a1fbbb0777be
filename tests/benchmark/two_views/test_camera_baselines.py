"""Descriptors against loops, invariances, and pairs whose correlations are known."""

import math

import numpy as np
import pytest
import torch

from pml_proxyext.benchmark.datasets.emoji_cameras import CameraPairs, camera_stand_in
from pml_proxyext.benchmark.two_views.camera_baselines import canonical_correlations, gradient_histograms, pixels


def images(count=3, side=8, seed=0):
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hog_by_loop(image):
    """One image: votes pixel by pixel, cells of 4, blocks of 2 by 2 cells of norm one."""
    dy, dx = np.gradient(image)
    cells = np.zeros((9, image.shape[0] // 4, image.shape[1] // 4))
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            angle = math.degrees(math.atan2(dy[i, j], dx[i, j])) % 180 / 20
            size, low = math.hypot(dx[i, j], dy[i, j]), int(angle)
            cells[low % 9, i // 4, j // 4] += size * (1 - angle + low)
            cells[(low + 1) % 9, i // 4, j // 4] += size * (angle - low)
    blocks = [cells[:, i : i + 2, j : j + 2] for i in range(cells.shape[1] - 1) for j in range(cells.shape[2] - 1)]
    return np.array([block / np.linalg.norm(block) for block in blocks])


def test_histograms_are_those_of_a_loop():
    pictures = images(side=12)
    found = gradient_histograms(pictures).reshape(3, 9 * 4, 4)  # parts of a block, blocks
    for row, picture in zip(found, pictures, strict=True):
        expected = hog_by_loop(picture[0].numpy()).reshape(4, 9 * 4)
        np.testing.assert_allclose(row.T.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_histograms_do_not_see_brightness_contrast_nor_negatives():
    pictures = images()
    for other in (pictures + 0.3, 0.5 * pictures, 1 - pictures):
        torch.testing.assert_close(gradient_histograms(other), gradient_histograms(pictures))
    assert not torch.allclose(gradient_histograms(pictures.mT), gradient_histograms(pictures))


def test_pixels_have_no_mean():
    found = pixels(images())
    torch.testing.assert_close(found.mean(1), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert torch.equal(found, pixels(images()))


def test_canonical_variables_of_unseen_pairs_agree_where_views_share_something_and_not_elsewhere():
    """Both views hold three hidden numbers and noise; the fourth correlation is that of noise."""
    generator = torch.Generator().manual_seed(0)
    hidden, ways = torch.randn(400, 3, generator=generator), torch.randn(2, 3, 16, generator=generator)
    noise = 0.1 * torch.randn(2, 400, 16, generator=generator)
    a, b = ((hidden @ way + extra).reshape(400, 1, 4, 4) for way, extra in zip(ways, noise, strict=True))
    train, unseen = CameraPairs(a[:200], b[:200]), CameraPairs(a[200:], b[200:])
    first, second = canonical_correlations(train, unseen, principal=6, canonical=4)
    correlations = [np.corrcoef(first[:, k], second[:, k])[0, 1] for k in range(4)]
    assert min(correlations[:3]) > 0.95
    assert abs(correlations[3]) < 0.5


@pytest.mark.parametrize("describe", [pixels, gradient_histograms])
def test_made_up_pictures_have_descriptors(describe):
    assert describe(camera_stand_in()[1].a).isfinite().all()
