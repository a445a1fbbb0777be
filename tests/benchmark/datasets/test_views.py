import pytest
import torch
from PIL import Image

from pml_proxyext.benchmark.datasets.views import Views

pytestmark = pytest.mark.usefixtures("torchvision")

MEAN, STD = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def gradient(width, height):
    """An image whose red tells the column and whose green the row, both from 0 to 1."""
    red = torch.linspace(0, 255, width).expand(height, width)
    green = torch.linspace(0, 255, height)[:, None].expand(height, width)
    pixels = torch.stack([red, green, torch.zeros(height, width)], 2).round().byte()
    return Image.fromarray(pixels.numpy())


def seen(sample):
    return sample * STD + MEAN


def test_evaluation_view_is_the_centre_of_the_resized_image():
    image = seen(Views(size=112, resize=128).evaluation()(gradient(512, 256)))
    assert image.shape == (3, 112, 112)
    # The shorter side becomes 128 and the longer 256, of which the crop keeps the middle 112.
    corners = [float(image[0, 0, 0]), float(image[0, 0, -1]), float(image[1, 0, 0]), float(image[1, -1, 0])]
    assert corners == pytest.approx([72 / 256, 184 / 256, 8 / 128, 120 / 128], abs=0.01)


def test_square_view_forgets_the_proportions():
    image = seen(Views(size=112, resize=128, square=True).evaluation()(gradient(512, 256)))
    corners = [float(image[0, 0, 0]), float(image[0, 0, -1]), float(image[1, 0, 0]), float(image[1, -1, 0])]
    assert corners == pytest.approx([8 / 128, 120 / 128, 8 / 128, 120 / 128], abs=0.01)


@pytest.mark.parametrize("resize_first", [False, True])
def test_train_view_crops_the_share_and_the_ratio_asked_for(resize_first):
    views = Views(size=64, resize=128, crop_scale=(0.25, 0.5), crop_ratio=(1.0, 1.0), resize_first=resize_first)
    view, image = views.train(), gradient(256, 256)
    torch.manual_seed(0)
    sides, flipped = [], 0
    for _ in range(60):
        red, green, _ = seen(view(image))
        sides.append((float(red.max() - red.min()), float(green.max() - green.min())))
        flipped += bool(red[0, 0] > red[0, -1])
    for width, height in sides:
        assert 0.48 < width < 0.72  # the square roots of the shares, and a pixel's slack
        assert width == pytest.approx(height, abs=0.02)
    assert max(sides) > (0.6, 0) > min(sides)
    assert 10 < flipped < 50  # 60 fair coins miss this once in 1e7


def test_jitter_changes_colours_within_its_strength():
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    view = Views(size=32, resize=32, jitter=(0.25, 0.0, 0.0, 0.0)).train()
    torch.manual_seed(0)
    levels = [float(seen(view(grey)).mean()) / (128 / 255) for _ in range(40)]
    assert 0.74 <= min(levels) < 0.9 < 1.1 < max(levels) <= 1.26
    unchanged = [float(seen(Views(size=32, resize=32).train()(grey)).mean()) / (128 / 255) for _ in range(5)]
    assert unchanged == pytest.approx([1.0] * 5, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 0}, "size must be an integer >= 1"),
        ({"size": 300}, "resize must be an integer >= 300"),
        ({"crop_scale": (0.0, 1.0)}, "crop_scale must be"),
        ({"crop_ratio": (2.0, 1.0)}, "crop_ratio must be"),
    ],
)
def test_views_out_of_range_are_an_error(changes, message):
    with pytest.raises(ValueError, match=message):
        Views(**changes)
