"""Emoji drawn by ten vendors: many classes with few images each, as frozen features or as small images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pml_proxyext.benchmark.datasets.cache import cache_directory, read_arrays, write_arrays
from pml_proxyext.benchmark.datasets.emoji_build import build_emoji
from pml_proxyext.benchmark.datasets.emoji_sources import VENDORS
from pml_proxyext.benchmark.datasets.frozen_features import efficientnet_features, project_features
from pml_proxyext.benchmark.datasets.retrieval_set import MemorySet, RetrievalData, Split, split_classes

__all__ = ["load_emoji", "load_emoji_images", "prepare_emoji", "prepared_emoji", "split_emoji"]

_RECIPE_VERSION = 1  # part of the cache's name: raise it when packages, drawings or features change
_FEATURE_SIZE = 256
_DESCRIPTIONS = ("classes", "vendors", "keys", "names")

_Arrays = dict[str, npt.NDArray[Any]]

# A shaded copy of the flat drawings: whoever looks for the one finds the other, whatever the method.
_TWIN = [vendor.name for vendor in VENDORS].index("fluent-color")


def prepare_emoji(progress: bool = True) -> str:
    """Fetch and draw the emoji, compute their features, and keep both; nothing is done if they are kept already.

    It downloads 35 MB by npm, and takes a few minutes of one CPU core.

    Args:
        progress: whether to show progress bars.

    Returns:
        how many there are, and where.

    Raises:
        ImportError: if a package of the extra ``emoji`` is missing.
        OSError: if npm is missing or cannot fetch the drawings, or the cache cannot be written.
    """
    arrays = read_arrays(_path(), ["images", "features", *_DESCRIPTIONS])
    if arrays is None:
        efficientnet_features(np.zeros((1, 8, 8, 3), np.uint8), progress=False)  # what is missing is missed now
        arrays = build_emoji(progress)
        arrays["features"] = efficientnet_features(arrays["images"], progress)
        write_arrays(_path(), arrays)
    return f"{len(arrays['images'])} images of {len(arrays['names'])} emoji in {_path()}"


def load_emoji(split: Split = "test") -> RetrievalData:
    """Return the emoji as features of a network trained on ImageNet, 256 principal components of the training classes.

    Raises:
        ValueError: if :func:`prepare_emoji` has not been run.
    """
    arrays = prepared_emoji("features")
    train, evaluation = split_emoji(arrays, split)
    features = project_features(arrays["features"], np.isin(arrays["classes"], train), _FEATURE_SIZE)
    return _retrieval_data("emoji", features, arrays, train, evaluation)


def load_emoji_images(split: Split = "test") -> RetrievalData:
    """Return the emoji as images of 32 x 32 in colour, each pixel the mean of four.

    Raises:
        ValueError: if :func:`prepare_emoji` has not been run.
    """
    arrays = prepared_emoji("images")
    count, height, width, channels = arrays["images"].shape
    blocks = arrays["images"].reshape(count, height // 2, 2, width // 2, 2, channels)
    images = np.rint(blocks.mean((2, 4), dtype=np.float32)).astype(np.uint8)
    return _retrieval_data("emoji_images", images, arrays, *split_emoji(arrays, split))


def _path() -> Path:
    return cache_directory() / f"emoji-v{_RECIPE_VERSION}.npz"


def prepared_emoji(samples: str) -> _Arrays:
    """Return the arrays without the twin's drawings: one that is named, and the descriptions.

    Args:
        samples: ``"features"`` ``(N, 1280)`` or ``"images"`` ``(N, 64, 64, 3)``.

    Raises:
        ValueError: if :func:`prepare_emoji` has not been run.
    """
    arrays = read_arrays(_path(), [samples, *_DESCRIPTIONS])
    if arrays is None:
        raise ValueError(
            f"emoji are not prepared, there is no intact {_path()}; run: python -m pml_proxyext.benchmark prepare emoji"
        )
    kept = arrays["vendors"] != _TWIN
    for name in (samples, "classes", "vendors"):
        arrays[name] = arrays[name][kept]
    return arrays


def split_emoji(arrays: _Arrays, split: Split) -> tuple[list[int], list[int]]:
    """Return the classes to train on and those to evaluate on."""
    return split_classes([f"emoji64:{key}" for key in arrays["keys"]], split)  # another prefix would be another split


def _retrieval_data(
    name: str, samples: npt.NDArray[Any], arrays: _Arrays, train: list[int], evaluation: list[int]
) -> RetrievalData:
    names = arrays["names"].tolist()
    train_set, evaluation_set = (MemorySet(samples, arrays["classes"], part, names) for part in (train, evaluation))
    return RetrievalData(name, train_set, evaluation_set)
