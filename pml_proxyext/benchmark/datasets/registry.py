"""The data sets by name, each with the settings that all methods share on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pml_proxyext.benchmark.datasets.bunny import prepare_bunny
from pml_proxyext.benchmark.datasets.emoji import load_emoji, load_emoji_images, prepare_emoji
from pml_proxyext.benchmark.datasets.emoji_text import prepare_emoji_text
from pml_proxyext.benchmark.datasets.emoji_vendors import prepare_emoji_vendors
from pml_proxyext.benchmark.datasets.glyphs import load_glyphs
from pml_proxyext.benchmark.datasets.photographs import load_inshop, load_photographs, prepare_photographs
from pml_proxyext.benchmark.datasets.retrieval_set import RetrievalData, Split
from pml_proxyext.utils.checks import check_choice

__all__ = ["DATASETS", "DataSource", "load_data", "prepare"]


@dataclass(frozen=True)
class DataSource:
    """A data set.

    Args:
        load: returns the images to train on and those to evaluate on.
        shared: values for those fields of a :class:`~pml_proxyext.benchmark.recipe.Recipe` that the recipe leaves
            open: trunk, sizes and number of steps, the same for all methods.
        prepare: fetches or computes, once, what ``load`` needs, and says what there is; None if nothing is needed.
    """

    load: Callable[[Split], RetrievalData]
    shared: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[], str] | None = None


DATASETS: dict[str, DataSource] = {
    "glyphs": DataSource(
        load_glyphs, {"trunk": "small_cnn", "embedding_size": 64, "batch_size": 96, "weight_decay": 1e-4, "steps": 300}
    ),
    "emoji": DataSource(
        load_emoji,
        {"trunk": "identity", "embedding_size": 128, "batch_size": 112, "weight_decay": 1e-4, "steps": 400},
        prepare_emoji,
    ),
    "emoji_images": DataSource(
        load_emoji_images,
        {"trunk": "small_cnn", "embedding_size": 64, "batch_size": 96, "weight_decay": 1e-4, "steps": 300},
        prepare_emoji,
    ),
    **{  # their recipes share nothing, but are each paper's own
        name: DataSource(partial(load_photographs, name), prepare=partial(prepare_photographs, name))
        for name in ("cub200", "cars196", "sop")
    },
    "inshop": DataSource(load_inshop),
}


# What has no recipes of its own, but experiments that look at two views.
_MORE_TO_PREPARE = {"bunny": prepare_bunny, "emoji_text": prepare_emoji_text, "emoji_vendors": prepare_emoji_vendors}


def prepare(name: str) -> str:
    """Fetch or compute what a data set needs before it can be loaded; a data set that needs nothing is left alone.

    Args:
        name: one of :data:`DATASETS`, ``"bunny"``, ``"emoji_text"`` or ``"emoji_vendors"``.

    Returns:
        what there is now, for the user to read.

    Raises:
        ValueError: for an unknown name; it suggests the nearest ones.
    """
    prepared = {**{key: source.prepare for key, source in DATASETS.items()}, **_MORE_TO_PREPARE}
    prepare_it = prepared[check_choice("data", name, prepared)]
    return prepare_it() if prepare_it is not None else f"{name} needs no preparation"


def load_data(name: str, split: Split = "test") -> RetrievalData:
    """Return the images to train on and those to evaluate on.

    Args:
        name: one of :data:`DATASETS`.
        split: ``"test"`` evaluates on the test classes. ``"validation"`` holds out the last quarter of the training
            classes, trains on the rest and leaves the test classes alone: for choosing hyper-parameters.

    Raises:
        ValueError: for an unknown name or split; it suggests the nearest ones.
    """
    check_choice("data", name, DATASETS)
    check_choice("split", split, ["test", "validation"])
    return DATASETS[name].load(split)
