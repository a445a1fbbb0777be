import numpy as np
import pytest
import torch

from pml_proxyext.benchmark.datasets import emoji, emoji_vendors, load_data
from pml_proxyext.benchmark.datasets.cache import cache_directory, read_arrays
from pml_proxyext.benchmark.datasets.emoji_drawings import drawings_stand_in, load_emoji_drawings
from pml_proxyext.benchmark.datasets.emoji_vendors import emoji_subgroups, prepare_emoji_vendors
from pml_proxyext.benchmark.self_supervised.evaluation import plain_view

OWN_CACHE = cache_directory() / "emoji-vendors-v1.npz"  # the user's, before the fixtures put another in its place


@pytest.fixture
def prepared(monkeypatch, tmp_path, npm_on_path):
    """Prepare the emoji of the small registry, and their labels, in a cache of its own."""
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(tmp_path))
    monkeypatch.setattr(emoji, "efficientnet_features", lambda images, progress=True: np.zeros((len(images), 8)))
    prepare_emoji_vendors(progress=False)
    path = tmp_path / "emoji-vendors-v1.npz"
    stored = read_arrays(path, ["keys"])  # all these emoji are of one subgroup: others are made up
    subgroup = np.arange(len(stored["keys"])) % 3
    labels = np.concatenate([np.eye(3, dtype=np.uint8)[subgroup], np.ones((len(subgroup), 1), np.uint8)], axis=1)
    names = np.array(["subgroup a", "subgroup b", "subgroup c", "keyword d"])
    np.savez(path, keys=stored["keys"], labels=labels, names=names)
    return path


@pytest.mark.parametrize("split", ["test", "validation"])
def test_drawings_are_those_of_the_data_set_of_images_at_twice_the_size(prepared, split):
    data = load_data("emoji_images", split)
    for part, images in zip(load_emoji_drawings(split), (data.train, data.evaluation), strict=True):
        assert part.images.shape[1:] == (3, 64, 64)
        torch.testing.assert_close(plain_view(part.images), images.images, rtol=0, atol=0.51 / 255)
        together = part.emoji[:, None] == part.emoji
        assert torch.equal(together, images.labels[:, None] == images.labels)


def test_subgroups_are_those_of_the_stored_labels(prepared):
    keys = emoji.prepared_emoji("images")["keys"].tolist()
    found = emoji_subgroups(keys)
    assert found.tolist() == [i % 3 for i in range(len(keys))]
    for part in load_emoji_drawings():
        assert part.subgroups.tolist() == found[part.emoji].tolist()


def test_unprepared_labels_say_how_to_prepare_them(prepared):
    prepared.unlink()
    with pytest.raises(ValueError, match=r"run: python -m pml_proxyext\.benchmark prepare emoji_vendors"):
        load_emoji_drawings()


def test_subgroups_do_not_depend_on_where_their_columns_are(prepared):
    keys = emoji.prepared_emoji("images")["keys"].tolist()
    before = emoji_subgroups(keys)
    stored = read_arrays(prepared, ["keys", "labels", "names"])
    keyword_first = np.argsort(np.char.startswith(stored["names"], "subgroup "), kind="stable")
    moved = {"labels": stored["labels"][:, keyword_first], "names": stored["names"][keyword_first]}
    np.savez(prepared, keys=stored["keys"], **moved)
    assert emoji_vendors.emoji_subgroups(keys).tolist() == before.tolist()


def test_the_stand_in_is_the_same_at_every_call_and_differs_between_splits():
    again = drawings_stand_in("test")
    for part, same in zip(drawings_stand_in("test"), again, strict=True):
        assert torch.equal(part.images, same.images)
        assert part.images.dtype == torch.uint8
        assert part.images.shape == (len(part.emoji), 3, 64, 64)
        assert (part.emoji.bincount() == 4).all()
        assert set(part.subgroups.tolist()) == set(again[0].subgroups.tolist())
    assert not torch.equal(again[0].images, drawings_stand_in("validation")[0].images)


@pytest.mark.skipif(not OWN_CACHE.exists(), reason="the labels of the emoji are not prepared on this machine")
def test_prepared_drawings(monkeypatch):
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(OWN_CACHE.parent))
    train, held_out = load_emoji_drawings()
    assert (len(train.images), len(held_out.images)) == (4807, 4928)
    assert not set(train.emoji.tolist()) & set(held_out.emoji.tolist())
    assert int(torch.cat([train.subgroups, held_out.subgroups]).max()) == 92
