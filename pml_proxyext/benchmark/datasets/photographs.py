"""The papers' data sets, read from the user's disk: CUB200-2011, Cars196, Stanford Online Products, In-Shop Clothes."""

from __future__ import annotations

import copy
import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pml_proxyext.benchmark.datasets.inshop import Listing, inshop_listings
from pml_proxyext.benchmark.datasets.retrieval_set import RetrievalData, RetrievalSet, Split, hash_order
from pml_proxyext.benchmark.datasets.views import View, Views

__all__ = ["DATA_VARIABLE", "PhotographSet", "data_root", "load_inshop", "load_photographs", "prepare_photographs"]

#: The environment variable that holds the folder of all these data sets.
DATA_VARIABLE = "PML_PROXYEXT_DATA"

_SOURCES = {"cub200": "CUB", "cars196": "Cars196", "sop": "StanfordOnlineProducts"}  # PML's classes
_RECALL_AT = {"cub200": (1, 2, 4, 8), "cars196": (1, 2, 4, 8), "sop": (1, 10, 100, 1000)}


class PhotographSet(RetrievalSet):
    """Image files with labels, read when they are needed.

    Args:
        listing: paths and class ids; the labels are the ids' positions in ``classes``.
        classes: the ids to keep.
        augmented: whether samples are random views, for training.
    """

    evaluation_batch = 128

    def __init__(self, listing: Listing, classes: Sequence[int], augmented: bool) -> None:
        label_of_class = {number: label for label, number in enumerate(classes)}
        kept = [(path, label_of_class[number]) for path, number in listing if number in label_of_class]
        labels = torch.tensor([label for _, label in kept], dtype=torch.int64)
        super().__init__(labels, [str(number) for number in classes])
        self.paths = np.array([str(path) for path, _ in kept])
        self.views, self.augmented = Views(), augmented
        self._view: View | None = None

    def sample(self, index: int) -> Tensor:
        if self._view is None:  # torchvision is imported by then, and only then
            self._view = self.views.train() if self.augmented else self.views.evaluation()
        with Image.open(self.paths[index]) as image:
            return self._view(image.convert("RGB"))  # some are grey

    def select(self, kept: Tensor) -> PhotographSet:
        part = copy.copy(self)
        part.paths, part.labels = self.paths[kept.numpy()], self.labels[kept]
        return part

    def plain(self) -> PhotographSet:
        return self._changed(augmented=False)

    def seen_through(self, views: Views) -> PhotographSet:
        return self._changed(views=views)

    def _changed(self, **attributes: Any) -> PhotographSet:
        other = copy.copy(self)
        vars(other).update(attributes, _view=None)
        return other


def data_root() -> Path:
    """Return the folder of all these data sets, ``$PML_PROXYEXT_DATA``.

    Raises:
        FileNotFoundError: if it is not set.
    """
    root = os.environ.get(DATA_VARIABLE)
    if not root:
        raise FileNotFoundError(f"set the environment variable {DATA_VARIABLE} to the folder of the data sets")
    return Path(root)


def load_photographs(name: str, split: Split = "test") -> RetrievalData:
    """Return a data set by its usual division: the first half of the classes is for training, the other for testing.

    Args:
        name: ``"cub200"``, ``"cars196"`` or ``"sop"``; its files are in the folder of that name in :func:`data_root`.
        split: ``"validation"`` evaluates on a quarter of the training classes, the last by the SHA-256 of their
            numbers, and trains on the others.

    Raises:
        FileNotFoundError: if files are missing, with what to do.
    """
    folder = data_root() / name
    try:
        parts = [_source(name)(str(folder), split=part) for part in ("train", "test")]
    except (OSError, ValueError) as error:  # PML has a ValueError for a folder that is not there
        raise FileNotFoundError(
            f"{name} is not in {folder} ({error}); to download it, run: "
            f"{DATA_VARIABLE}={data_root()} python -m pml_proxyext.benchmark prepare {name}"
        ) from error
    train, test = ([(Path(p), int(y)) for p, y in zip(part.paths, part.labels, strict=True)] for part in parts)
    _check_images(name, [*train[:1], *test[:1]])
    return _retrieval_data(name, train, split, test, None, _RECALL_AT[name])


def prepare_photographs(name: str) -> str:
    """Let PML download a data set into :func:`data_root`, unless its folder has something in it already.

    Args:
        name: ``"cub200"``, ``"cars196"`` or ``"sop"``.

    Returns:
        how many images there are, and where.
    """
    folder = data_root() / name
    images = len(_source(name)(str(folder), download=True))
    return f"{images} images of {name} in {folder}"


def load_inshop(split: Split = "test") -> RetrievalData:
    """Return In-Shop Clothes Retrieval by its own division into training, queries and gallery.

    Args:
        split: ``"validation"`` as for :func:`load_photographs`; it has no gallery.

    Raises:
        FileNotFoundError: if files are missing, with what to do.
    """
    listings = inshop_listings(data_root() / "inshop")
    _check_images("inshop", [listing[0] for listing in listings.values()])
    recall_at = (1, 10, 20, 30, 40, 50)
    return _retrieval_data("inshop", listings["train"], split, listings["query"], listings["gallery"], recall_at)


def _source(name: str) -> Callable[..., Any]:
    try:
        module = importlib.import_module("pytorch_metric_learning.datasets")
    except ImportError as error:
        raise ImportError("this needs a newer pytorch-metric-learning, one with data sets: 2.8.1 or later") from error
    return cast(Callable[..., Any], getattr(module, _SOURCES[name]))


def _retrieval_data(
    name: str, train: Listing, split: Split, test: Listing, gallery: Listing | None, recall_at: tuple[int, ...]
) -> RetrievalData:
    classes = _classes(train)
    if split == "validation":
        order = [classes[i] for i in hash_order([str(number) for number in classes])]
        learnt = len(classes) - len(classes) // 4
        parts = (PhotographSet(train, order[:learnt], True), PhotographSet(train, order[learnt:], False))
        return RetrievalData(name, *parts, recall_at=recall_at)
    unseen = _classes([*test, *(gallery or [])])
    looked_up = PhotographSet(gallery, unseen, False) if gallery else None
    parts = (PhotographSet(train, classes, True), PhotographSet(test, unseen, False))
    return RetrievalData(name, *parts, gallery=looked_up, recall_at=recall_at)


def _classes(listing: Listing) -> list[int]:
    return sorted({number for _, number in listing})


def _check_images(name: str, listing: Listing) -> None:
    for path, _ in listing:
        if not path.is_file():
            raise FileNotFoundError(f"{name} is incomplete: its list names {path}, which is not there")
