import numpy as np
import pytest
import torch

from pml_proxyext.benchmark.datasets import emoji, emoji_vendors, load_data, prepare
from pml_proxyext.benchmark.datasets.cache import cache_directory, read_arrays
from pml_proxyext.benchmark.datasets.emoji_sources import VENDORS
from pml_proxyext.benchmark.datasets.emoji_vendors import (
    Drawings,
    label_emoji,
    load_emoji_vendors,
    prepare_emoji_vendors,
    vendor_stand_in,
)

OWN_CACHE = cache_directory() / "emoji-vendors-v1.npz"  # the user's, before the fixtures put another in its place


def quick_image_features(images, progress=True):
    cells = images.reshape(len(images), 8, images.shape[1] // 8, 8, images.shape[2] // 8, 3)
    return cells.mean((2, 4)).reshape(len(images), -1).astype(np.float32)


@pytest.fixture
def prepared(monkeypatch, tmp_path, npm_on_path):
    """Prepare the emoji of the small registry, and their labels, in a cache of its own."""
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(tmp_path))
    monkeypatch.setattr(emoji, "efficientnet_features", quick_image_features)
    monkeypatch.setattr(emoji_vendors, "_INPUTS", 8)
    monkeypatch.setattr(emoji, "_FEATURE_SIZE", 8)
    assert prepare_emoji_vendors(progress=False).endswith(f"of 14 emoji in {tmp_path / 'emoji-vendors-v1.npz'}")
    return tmp_path / "emoji-vendors-v1.npz"


def test_labels_are_subgroups_and_frequent_keywords():
    messages = {"subgroups": [{"order": 7, "key": "plant"}, {"order": 3, "key": "bird"}, {"order": 4, "key": "none"}]}
    entries = [
        {"subgroup": 7, "tags": ["red", "plant"]},
        {"subgroup": 3, "tags": ["red", "red"]},
        {"subgroup": 7, "tags": ["plant", "rare"]},
        {"subgroup": 3},
    ]
    labels, names = label_emoji(entries, messages, frequent=2)
    assert names == ["subgroup bird", "subgroup plant", "keyword plant", "keyword red"]
    assert labels.tolist() == [[0, 1, 1, 1], [1, 0, 0, 1], [0, 1, 1, 0], [1, 0, 0, 0]]


def test_what_is_kept_is_not_prepared_again(monkeypatch, prepared):
    monkeypatch.setattr(emoji_vendors, "fetch_packages", lambda *_: pytest.fail("again"))
    assert prepare("emoji_vendors").endswith("of 14 emoji in " + str(prepared))


def test_labels_of_other_emoji_are_prepared_again(prepared):
    stored = read_arrays(prepared, ["keys", "labels", "names"])
    np.savez(prepared, **{**stored, "keys": stored["keys"][::-1]})
    with pytest.raises(ValueError, match=r"run: python -m pml_proxyext\.benchmark prepare emoji_vendors"):
        load_emoji_vendors()
    prepare_emoji_vendors(progress=False)
    assert len(load_emoji_vendors()[0].labels) == 7


def test_unprepared_labels_say_how_to_prepare_them(prepared):
    prepared.unlink()
    with pytest.raises(ValueError, match=r"emoji-vendors-v1\.npz for them; run: python -m"):
        load_emoji_vendors()


@pytest.mark.parametrize("split", ["test", "validation"])
def test_views_divide_the_drawings_of_the_emoji_by_vendor(prepared, split):
    data = load_data("emoji", split)
    for part, images in zip(load_emoji_vendors(split), (data.train, data.evaluation), strict=True):
        found = torch.cat([part.a.inputs, part.b.inputs])
        torch.testing.assert_close(found.sum(0), images.images.sum(0), rtol=1e-5, atol=1e-2)
        counts = part.a.emoji.bincount() + part.b.emoji.bincount()
        torch.testing.assert_close(counts, images.labels.bincount())
        for view in (part.a, part.b):
            assert (view.emoji.diff() >= 0).all()


def test_every_drawing_is_of_its_emoji_and_its_vendors(prepared):
    arrays = emoji.prepared_emoji("features")
    train, evaluation = emoji.split_emoji(arrays, "test")
    first = [i for i, v in enumerate(VENDORS) if v.name in ("noto", "noto-v1", "fluent-flat", "fxemoji")]
    inputs = emoji_vendors.project_features(arrays["features"], np.isin(arrays["classes"], train), 8)
    for part, classes in zip(load_emoji_vendors("test"), (train, evaluation), strict=True):
        for view, mine in ((part.a, True), (part.b, False)):
            for row, which in zip(view.inputs.numpy(), view.emoji.tolist(), strict=True):
                same = (inputs == row).all(1)
                assert classes[which] in arrays["classes"][same]
                assert mine in np.isin(arrays["vendors"][same], first)


def test_draw_picks_all_drawings_of_an_emoji_alike_and_no_others():
    """Shares of 3,000 draws have a standard deviation of 0.0092 at most; five of them are a false alarm in 1e6."""
    drawings = Drawings(torch.arange(6.0)[:, None], torch.tensor([0, 0, 1, 2, 2, 2]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = drawings.draw(torch.tensor([2, 0, 1]).repeat(3000)).view(3000, 3)
    for column, allowed in zip(found.T, ([3, 4, 5], [0, 1], [2]), strict=True):
        values, counts = column.unique(return_counts=True)
        assert values.tolist() == allowed
        assert (counts / 3000 - 1 / len(allowed)).abs().max() < 0.046


def test_the_stand_in_is_the_same_at_every_call_and_differs_between_splits():
    again = vendor_stand_in("test")
    for part, same in zip(vendor_stand_in("test"), again, strict=True):
        assert torch.equal(part.a.inputs, same.a.inputs)
        assert torch.equal(part.labels, same.labels)
        assert part.labels.sum(1).min() > 0
    assert not torch.equal(again[0].a.inputs, vendor_stand_in("validation")[0].a.inputs)


@pytest.mark.skipif(not OWN_CACHE.exists(), reason="the labels of the emoji are not prepared on this machine")
def test_prepared_labels(monkeypatch):
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(OWN_CACHE.parent))
    stored = read_arrays(OWN_CACHE, ["names", "labels"])
    subgroups = [name.startswith("subgroup ") for name in stored["names"].tolist()]
    assert (sum(subgroups), len(subgroups)) == (93, 121)
    assert (stored["labels"][:, subgroups].sum(1) == 1).all()
    assert stored["labels"][:, ~np.array(subgroups)].sum(0).min() >= 20
    train, evaluation = load_emoji_vendors()
    assert (len(train.a.inputs), len(train.b.inputs), len(train.labels)) == (2205, 2602, 694)
    assert (len(evaluation.a.inputs), len(evaluation.b.inputs), len(evaluation.labels)) == (2274, 2654, 695)
