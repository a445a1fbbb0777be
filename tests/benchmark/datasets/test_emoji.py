import hashlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from pml_proxyext.benchmark.datasets import emoji, load_data, prepare
from pml_proxyext.benchmark.datasets.cache import cache_directory, read_arrays
from pml_proxyext.benchmark.datasets.emoji_sources import NAMES_PACKAGE, VENDORS

PAGE = (Path(__file__).parents[3] / "docs" / "emoji.md").read_text()
ROW = re.compile(r"^\| `([\w-]+)` \| \[([^]]+)\]\((\S+)\) \| `(\S+)` \| (\S+) \| (\d+) \|$", re.MULTILINE)
VENDOR_ROWS = ROW.findall(PAGE)
PAIR = ("fluent-flat", "fluent-color")
OWN_CACHE = cache_directory() / "emoji-v1.npz"  # the user's, before the fixtures put another in its place


@pytest.fixture
def prepared(monkeypatch, tmp_path, npm_on_path):
    """Prepare the emoji of the small registry in a cache of its own; features take fewer components."""
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(tmp_path))
    monkeypatch.setattr(emoji, "_FEATURE_SIZE", 8)
    monkeypatch.setattr(emoji, "efficientnet_features", quick_features)
    emoji.prepare_emoji(progress=False)
    return tmp_path / "emoji-v1.npz"


def quick_features(images, progress=True):
    """Stand in for the network, which has tests of its own: mean colours of a grid."""
    cells = images[:, : images.shape[1] // 8 * 8].reshape(len(images), 8, -1, 8, images.shape[2] // 8, 3)
    return cells.mean((2, 4)).reshape(len(images), -1).astype(np.float32)


def test_prepare_fetches_draws_and_keeps_one_file(monkeypatch, tmp_path, npm_on_path):
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(tmp_path))
    assert prepare("emoji") == f"140 images of 14 emoji in {tmp_path / 'emoji-v1.npz'}"
    assert [path.name for path in tmp_path.iterdir()] == ["emoji-v1.npz"]
    assert read_arrays(tmp_path / "emoji-v1.npz", ["features"])["features"].shape == (140, 1280)


def test_prepare_emoji_a_second_time_fetches_nothing(monkeypatch, prepared):
    monkeypatch.setattr(emoji, "build_emoji", lambda *_: pytest.fail("built again"))
    before = prepared.stat().st_mtime_ns
    assert emoji.prepare_emoji().startswith("140 images")
    assert prepared.stat().st_mtime_ns == before


def test_prepare_says_what_needs_no_preparation():
    assert prepare("glyphs") == "glyphs needs no preparation"
    with pytest.raises(ValueError, match="did you mean 'emoji'"):
        prepare("emojis")


def test_prepare_emoji_without_npm_leaves_nothing_behind(monkeypatch, tmp_path, path_without_npm):
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(OSError, match="npm"):
        emoji.prepare_emoji(progress=False)
    assert not (tmp_path / "cache").exists()


def test_prepare_emoji_misses_the_network_before_anything_is_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    monkeypatch.setattr(emoji, "build_emoji", lambda *_: pytest.fail("built"))
    with pytest.raises(ImportError, match=r"pml-proxyext\[emoji\]"):
        emoji.prepare_emoji(progress=False)


@pytest.mark.parametrize("name", ["emoji", "emoji_images"])
def test_load_unprepared_emoji_says_how_to_prepare_them(monkeypatch, tmp_path, name):
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"emoji-v1\.npz; run: python -m pml_proxyext\.benchmark prepare emoji"):
        load_data(name)


def test_damaged_cache_is_reported_and_prepared_again(prepared):
    prepared.write_bytes(prepared.read_bytes()[:5000])
    with pytest.warns(UserWarning, match="unreadable"), pytest.raises(ValueError, match="prepare emoji"):
        emoji.load_emoji()
    with pytest.warns(UserWarning, match="unreadable"):
        emoji.prepare_emoji(progress=False)
    assert emoji.load_emoji().train.num_classes == 7


@pytest.mark.parametrize("name", ["emoji", "emoji_images"])
def test_load_emoji_splits_share_no_class_and_leave_out_the_twin(prepared, name):
    test, validation = load_data(name, "test"), load_data(name, "validation")
    parts = [set(part.class_names) for part in (validation.train, validation.evaluation, test.evaluation)]
    assert [len(part) for part in parts] == [6, 1, 7]
    assert len(set.union(*parts)) == 14
    assert set(test.train.class_names) == parts[0] | parts[1]
    assert test.name == name
    assert len(test.train) + len(test.evaluation) == 140 - 14
    assert len(validation.train) + len(validation.evaluation) == len(test.train)


def test_load_emoji_orders_classes_by_the_hash_of_their_code_points(prepared):
    stored = read_arrays(prepared, ["keys", "names"])
    ordered = sorted(stored["keys"], key=lambda key: hashlib.sha256(f"emoji64:{key}".encode()).hexdigest())
    name_of = dict(zip(stored["keys"], stored["names"], strict=True))
    data = emoji.load_emoji("test")
    assert [*data.train.class_names, *data.evaluation.class_names] == [name_of[key] for key in ordered]


def test_load_emoji_fits_the_projection_on_the_classes_trained_on(prepared):
    for split in ("test", "validation"):
        train = emoji.load_emoji(split).train.samples.double()
        assert train.shape[1] == 8
        assert abs(train.T.cov().diagonal() - 1).max() < 1e-3
        assert abs(train.mean(0)).max() < 1e-3


def test_load_emoji_images_halves_the_drawings(prepared):
    stored = read_arrays(prepared, ["images", "classes", "vendors", "names"])
    data = emoji.load_emoji_images().train
    assert data.samples.shape[1:] == (3, 32, 32)
    label = 2
    kept = (stored["names"][stored["classes"]] == data.class_names[label]) & (stored["vendors"] != 5)
    large = stored["images"][kept].astype(float)
    expected = (large[:, ::2, ::2] + large[:, 1::2, ::2] + large[:, ::2, 1::2] + large[:, 1::2, 1::2]) / 4
    small = data.samples[data.labels == label].permute(0, 2, 3, 1).numpy()
    assert len(small) == kept.sum() > 0
    assert abs(small - expected).max() <= 0.5


def test_page_names_authors_packages_and_licences_as_the_code_does():
    told = [(name, package, f"{author}, {link}", licence) for name, author, link, package, licence, _ in VENDOR_ROWS]
    assert told == list(VENDORS)
    assert NAMES_PACKAGE.rpartition("@")[2] in PAGE


@pytest.mark.skipif(not OWN_CACHE.exists(), reason="the emoji are not prepared on this machine")
class TestPrepared:
    """The real emoji, where there are any; the numbers are those of a build by another program."""

    @pytest.fixture(autouse=True)
    def _use_own_cache(self, monkeypatch):
        monkeypatch.setenv("PML_PROXYEXT_CACHE", str(OWN_CACHE.parent))

    def test_counts(self):
        stored = read_arrays(OWN_CACHE, ["images", "classes", "vendors", "names"])
        assert stored["images"].shape == (11_122, 64, 64, 3)
        assert len(set(stored["names"].tolist())) == 1389
        drawings = np.bincount(stored["vendors"]).tolist()
        assert drawings == [1389, 1048, 1388, 1042, 1387, 1387, 655, 552, 1389, 885]
        assert drawings == [int(count) for *_, count in VENDOR_ROWS]
        pairs = np.unique(np.stack([stored["classes"], stored["vendors"]]), axis=1)
        assert np.bincount(pairs[0]).min() >= 4

    def test_splits(self):
        for split, classes, drawings in (("test", (694, 695), (4807, 4928)), ("validation", (521, 173), (3601, 1206))):
            data = emoji.load_emoji(split)
            assert (data.train.num_classes, data.evaluation.num_classes) == classes
            assert (len(data.train), len(data.evaluation)) == drawings

    def test_twin_is_one_and_three_pairs_are_alike(self):
        stored = read_arrays(OWN_CACHE, ["images", "classes", "vendors"])
        small = stored["images"].reshape(-1, 16, 4, 16, 4, 3).mean((2, 4)).reshape(len(stored["images"]), -1)
        flat, shaded = (stored["vendors"] == [vendor.name for vendor in VENDORS].index(name) for name in PAIR)
        distances = (small[flat] ** 2).sum(1) - 2 * small[shaded] @ small[flat].T
        found = stored["classes"][flat][distances.argmin(1)] == stored["classes"][shaded]
        assert found.mean() > 0.9
        kept = {image.tobytes() for image in stored["images"][~shaded]}
        assert len(kept) == (~shaded).sum() - 3

    def test_untrained_features_retrieve_as_well_as_known(self):
        """R@1 is 40.44% and MAP@R 18.94% there, with components fitted on the twin's drawings as well."""
        data = emoji.load_emoji().evaluation
        labels = data.labels.numpy()
        vectors = data.samples.numpy()
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        similarities = vectors @ vectors.T
        np.fill_diagonal(similarities, -np.inf)
        relevant = np.bincount(labels)[labels] - 1
        width = relevant.max()
        nearest = np.argsort(-similarities, axis=1)[:, :width]
        hits = (labels[nearest] == labels[:, None]) & (np.arange(width) < relevant[:, None])
        precision = np.cumsum(hits, axis=1) / np.arange(1, width + 1)
        assert hits[:, 0].mean() == pytest.approx(0.4044, abs=0.002)
        assert ((precision * hits).sum(1) / relevant).mean() == pytest.approx(0.1894, abs=0.002)
