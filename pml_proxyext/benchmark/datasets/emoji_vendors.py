"""Emoji drawn by two groups of vendors: two views of the same things, with several labels each."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pml_proxyext.benchmark.datasets.cache import cache_directory, read_arrays, write_arrays
from pml_proxyext.benchmark.datasets.emoji import prepare_emoji, prepared_emoji, split_emoji
from pml_proxyext.benchmark.datasets.emoji_names import bare_key
from pml_proxyext.benchmark.datasets.emoji_sources import NAMES_PACKAGE, VENDORS, fetch_packages, read_json
from pml_proxyext.benchmark.datasets.frozen_features import project_features
from pml_proxyext.benchmark.datasets.retrieval_set import Split

__all__ = [
    "Drawings",
    "TwoVendorGroups",
    "emoji_subgroups",
    "label_emoji",
    "load_emoji_vendors",
    "prepare_emoji_vendors",
    "vendor_stand_in",
]

_VERSION = 1  # part of the cache's name: raise it when labels change
_INPUTS = 256
_FREQUENT = 20  # emoji that a keyword has to have to be a label

_Arrays = dict[str, npt.NDArray[Any]]

# Styles that descend from one another are on one side: Noto's two, and the flat ones; Emoji One's two and EmojiTwo.
_FIRST_GROUP = ("noto", "noto-v1", "fluent-flat", "fxemoji")


@dataclass(frozen=True)
class Drawings:
    """Drawings by one group of vendors.

    Attributes:
        inputs: ``(N, D)``, what the network is given.
        emoji: ``(N,)``, ascending: which emoji each is a drawing of.
    """

    inputs: Tensor
    emoji: Tensor

    def draw(self, emoji: Tensor) -> Tensor:
        """Return the inputs of one drawing, picked by torch's generator, of each of these emoji."""
        counts = self.emoji.bincount()
        starts = counts.cumsum(0) - counts
        chosen = (torch.rand(len(emoji)) * counts[emoji]).long()
        return self.inputs[starts[emoji] + chosen]


@dataclass(frozen=True)
class TwoVendorGroups:
    """The same emoji, by two groups of vendors.

    Attributes:
        a, b: their drawings.
        labels: ``(C, L)`` multi-hot, what each emoji is.
    """

    a: Drawings
    b: Drawings
    labels: Tensor


def prepare_emoji_vendors(progress: bool = True) -> str:
    """Prepare the emoji, fetch their labels, and keep both; what is kept is not done again.

    Args:
        progress: whether to show progress bars.

    Returns:
        how many there are, and where.

    Raises:
        ImportError: if a package of the extra ``emoji`` is missing.
        OSError: if npm is missing or cannot fetch the packages, or the cache cannot be written.
    """
    prepare_emoji(progress)
    keys = prepared_emoji("features")["keys"].tolist()
    arrays = _stored_labels(keys)
    if arrays is None:
        with tempfile.TemporaryDirectory() as folder:
            fetch_packages([NAMES_PACKAGE], Path(folder))
            entries, messages = (
                read_json(Path(folder), NAMES_PACKAGE, f"en/{name}.json") for name in ("data", "messages")
            )
        entry_of = {bare_key(entry["hexcode"]): entry for entry in entries}
        labels, names = label_emoji([entry_of[key] for key in keys], messages)
        arrays = {"keys": np.array(keys), "labels": labels, "names": np.array(names)}
        write_arrays(_path(), arrays)
    return f"{arrays['labels'].shape[1]} labels of {len(keys)} emoji in {_path()}"


def label_emoji(
    entries: Sequence[Mapping[str, Any]], messages: Mapping[str, Any], frequent: int = _FREQUENT
) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Return multi-hot labels ``(C, L)`` and their names: subgroups, then keywords that many emoji have.

    Args:
        entries: of ``data.json`` of ``emojibase-data``, one for each emoji.
        messages: its ``messages.json``, which names the subgroups.
        frequent: how many emoji a keyword must have.

    Example:
        >>> messages = {"subgroups": [{"order": 0, "key": "bird"}, {"order": 1, "key": "plant"}]}
        >>> entries = [{"subgroup": 0, "tags": ["red"]}, {"subgroup": 1, "tags": ["red", "leaf"]}]
        >>> labels, names = label_emoji(entries, messages, frequent=2)
        >>> labels.tolist(), names
        ([[1, 0, 1], [0, 1, 1]], ['subgroup bird', 'subgroup plant', 'keyword red'])
    """
    named = {subgroup["order"]: subgroup["key"] for subgroup in messages["subgroups"]}
    subgroups = [f"subgroup {named[entry['subgroup']]}" for entry in entries]
    keywords = [{f"keyword {tag}" for tag in entry.get("tags", ())} for entry in entries]
    counts = Counter(keyword for one in keywords for keyword in one)
    names = sorted(set(subgroups))
    names += sorted(keyword for keyword, count in counts.items() if count >= frequent)
    said = [one | {subgroup} for one, subgroup in zip(keywords, subgroups, strict=True)]
    return np.array([[name in one for name in names] for one in said], dtype=np.uint8), names


def load_emoji_vendors(split: Split = "test") -> tuple[TwoVendorGroups, TwoVendorGroups]:
    """Return what to train on and what to evaluate on: other emoji, divided as for the data set ``emoji``.

    Inputs are 256 principal components of a frozen network's features, with variance one on the classes trained on.

    Raises:
        ValueError: if :func:`prepare_emoji_vendors` has not been run.
    """
    arrays = prepared_emoji("features")
    labels = _prepared_labels(arrays["keys"].tolist())["labels"]
    parts = split_emoji(arrays, split)
    inputs = project_features(arrays["features"], np.isin(arrays["classes"], parts[0]), _INPUTS)
    group = [i for i, vendor in enumerate(VENDORS) if vendor.name in _FIRST_GROUP]
    is_first = np.isin(arrays["vendors"], group)

    def drawings(part: Sequence[int], mask: npt.NDArray[np.bool_]) -> Drawings:
        position = np.full(len(labels), -1)
        position[part] = np.arange(len(part))
        emoji = np.where(mask, position[arrays["classes"]], -1)
        rows = np.argsort(emoji, kind="stable")[(emoji < 0).sum() :]
        return Drawings(torch.from_numpy(inputs[rows]), torch.from_numpy(emoji[rows]))

    train, evaluation = (
        TwoVendorGroups(drawings(part, is_first), drawings(part, ~is_first), torch.from_numpy(labels[part]))
        for part in parts
    )
    return train, evaluation


def emoji_subgroups(keys: list[str]) -> npt.NDArray[np.int64]:
    """Return the subgroup of each of the emoji ``(C,)``, as a number.

    Args:
        keys: the code points of all prepared emoji, in their order.

    Raises:
        ValueError: if :func:`prepare_emoji_vendors` has not been run for them.
    """
    arrays = _prepared_labels(keys)
    is_subgroup = np.char.startswith(arrays["names"], "subgroup ")
    return arrays["labels"][:, is_subgroup].argmax(1)


def vendor_stand_in(split: str = "test") -> tuple[TwoVendorGroups, TwoVendorGroups]:
    """Return made-up drawings, the same at every call, of the shapes of real ones: for trials without any download.

    Args:
        split: as of real data; another one gives other drawings.
    """
    generator = torch.Generator().manual_seed(0 if split == "test" else 1)
    meaning_of_label = torch.randn(6, 16, generator=generator)

    def groups(count: int) -> TwoVendorGroups:
        labels = (torch.rand(count, 6, generator=generator) < 0.3).to(torch.uint8)
        labels[torch.arange(count), torch.arange(count) % 6] = 1  # none is without
        meanings = labels.float() @ meaning_of_label + torch.randn(count, 16, generator=generator)

        def drawings(per_emoji: int) -> Drawings:
            emoji = torch.arange(count).repeat_interleave(per_emoji)
            return Drawings(meanings[emoji] + 0.3 * torch.randn(len(emoji), 16, generator=generator), emoji)

        return TwoVendorGroups(drawings(2), drawings(3), labels)

    return groups(40), groups(24)


def _path() -> Path:
    return cache_directory() / f"emoji-vendors-v{_VERSION}.npz"


def _prepared_labels(keys: list[str]) -> _Arrays:
    arrays = _stored_labels(keys)
    if arrays is None:
        raise ValueError(
            f"labels of the emoji are not prepared, there is no intact {_path()} for them; "
            "run: python -m pml_proxyext.benchmark prepare emoji_vendors"
        )
    return arrays


def _stored_labels(keys: list[str]) -> _Arrays | None:
    """Return the labels of these emoji and their names, or None if there are none, or those of others."""
    arrays = read_arrays(_path(), ["keys", "labels", "names"])
    if arrays is None or arrays["keys"].tolist() != keys:
        return None
    return arrays
