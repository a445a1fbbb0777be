import numpy as np
import pytest
import torch

from pml_proxyext.benchmark.datasets import emoji
from pml_proxyext.benchmark.datasets.cache import cache_directory
from pml_proxyext.benchmark.datasets.emoji import prepared_emoji, split_emoji
from pml_proxyext.benchmark.datasets.emoji_cameras import camera_stand_in, load_emoji_cameras

OWN_CACHE = cache_directory() / "emoji-v1.npz"  # the user's, before the fixtures put another in its place


@pytest.mark.parametrize("split", ["test", "validation"])
def test_pairs_are_the_two_vendors_pictures_of_one_emoji(monkeypatch, tmp_path, npm_on_path, split):
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(tmp_path))
    monkeypatch.setattr(emoji, "efficientnet_features", lambda images, progress=True: np.zeros((len(images), 8)))
    emoji.prepare_emoji(progress=False)
    arrays = prepared_emoji("images")
    for pairs, classes in zip(load_emoji_cameras(split), split_emoji(arrays, split), strict=True):
        row = 0
        for number in sorted(classes):
            views = [(arrays["classes"] == number) & (arrays["vendors"] == vendor) for vendor in (0, 2)]
            if not all(view.any() for view in views):  # Twitter's heart is white on white
                continue
            for found, view in zip((pairs.a[row], pairs.b[row]), views, strict=True):
                (image,) = arrays["images"][view] / 255
                grey = 0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]
                expected = grey.reshape(32, 2, 32, 2).mean((1, 3))
                np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-5)
            row += 1
        assert row == len(pairs) == len(pairs.b)


def test_unprepared_emoji_say_how_to_prepare_them(monkeypatch, tmp_path):
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"run: python -m pml_proxyext\.benchmark prepare emoji"):
        load_emoji_cameras()


def test_the_stand_in_is_the_same_at_every_call_and_differs_between_splits():
    again = camera_stand_in("test")
    for part, same in zip(camera_stand_in("test"), again, strict=True):
        assert torch.equal(part.a, same.a)
        assert torch.equal(part.b, same.b)
        assert part.a.shape == part.b.shape == (len(part), 1, 32, 32)
        assert 0 <= part.b.min() <= part.b.max() <= 1
        assert torch.equal(part[:3].b, part.b[:3])
    assert not torch.equal(again[0].a, camera_stand_in("validation")[0].a)


@pytest.mark.skipif(not OWN_CACHE.exists(), reason="the emoji are not prepared on this machine")
def test_prepared_pairs(monkeypatch):
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(OWN_CACHE.parent))
    train, held_out = load_emoji_cameras()
    assert (len(train), len(held_out)) == (693, 695)
