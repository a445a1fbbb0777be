"""Samples with labels, and the division of classes into those to train on and those to evaluate on."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pml_proxyext.benchmark.datasets.views import Views

__all__ = ["MemorySet", "RetrievalData", "RetrievalSet", "Split", "hash_order", "split_classes"]

Split = Literal["test", "validation"]


class RetrievalSet(Dataset[tuple[Tensor, int]]):
    """Samples with labels: what training and evaluation need of a data set.

    Args:
        labels: ``(N,)`` int64 in ``[0, C)``.
        class_names: one per label.
    """

    evaluation_batch: ClassVar[int] = 512  # how many samples to embed at a time

    def __init__(self, labels: Tensor, class_names: Sequence[str]) -> None:
        self.labels, self.class_names = labels, list(class_names)

    def sample(self, index: int) -> Tensor:
        """Return what the network is given for one sample."""
        raise NotImplementedError

    def select(self, kept: Tensor) -> RetrievalSet:
        """Return the part that the mask ``kept`` ``(N,)`` chooses, with the same classes."""
        raise NotImplementedError

    def plain(self) -> RetrievalSet:
        """Return the samples without random changes, for data that training sees changed at random."""
        return self

    def seen_through(self, views: Views) -> RetrievalSet:
        """Return the same photographs as other inputs."""
        raise ValueError("views must be None for data that are not photographs")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.sample(index), int(self.labels[index])

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def first_classes(self, count: int) -> RetrievalSet:
        """Return the part that belongs to the first ``count`` classes."""
        part = self.select(self.labels < count)
        part.class_names = self.class_names[:count]
        return part


class MemorySet(RetrievalSet):
    """Images or features of chosen classes, in memory.

    Args:
        samples: ``(N, H, W)`` or ``(N, H, W, 3)`` unsigned bytes, or ``(N, D)`` floats.
        class_of_sample: ``(N,)`` index into ``class_names`` for each sample.
        classes: the indices to keep; the labels are the positions in this list.
        class_names: what each class is called.

    Attributes:
        samples: ``(M, 1 or 3, H, W)`` unsigned bytes or ``(M, D)`` float32.
        labels: ``(M,)`` int64 in ``[0, len(classes))``.
        class_names: one per label.
    """

    def __init__(
        self,
        samples: npt.NDArray[np.generic],
        class_of_sample: npt.NDArray[np.int64],
        classes: Sequence[int],
        class_names: Sequence[str],
    ) -> None:
        label_of_class = np.full(len(class_names), -1, dtype=np.int64)
        label_of_class[list(classes)] = np.arange(len(classes))
        labels = label_of_class[class_of_sample]
        kept = labels >= 0
        super().__init__(torch.from_numpy(labels[kept]), [class_names[index] for index in classes])
        chosen = torch.from_numpy(samples[kept])
        if chosen.ndim > 2:
            chosen = chosen.unsqueeze(1) if chosen.ndim == 3 else chosen.permute(0, 3, 1, 2).contiguous()
        self.samples = chosen

    @property
    def images(self) -> Tensor:
        """Return all samples as the network is given them: images as float32 in [0, 1]."""
        return _as_input(self.samples)

    def sample(self, index: int) -> Tensor:
        return _as_input(self.samples[index])

    def select(self, kept: Tensor) -> MemorySet:
        part = copy.copy(self)
        part.samples, part.labels = self.samples[kept], self.labels[kept]
        return part


def _as_input(samples: Tensor) -> Tensor:
    return samples.float() / 255 if samples.dtype == torch.uint8 else samples


@dataclass(frozen=True)
class RetrievalData:
    """A training set and an evaluation set without a common class.

    Args:
        name: of the data set.
        train: what to train on.
        evaluation: the queries; each is looked up among the others, or in ``gallery`` if there is one.
        gallery: what the queries are looked up in, with the same classes as ``evaluation``.
        recall_at: the K of the recall at K that papers report on these data.
    """

    name: str
    train: RetrievalSet
    evaluation: RetrievalSet
    gallery: RetrievalSet | None = None
    recall_at: tuple[int, ...] = field(default=(), kw_only=True)

    def first_classes(self, count: int) -> RetrievalData:
        """Return the part of each set that belongs to its first ``count`` classes."""
        return self._each(lambda part: part.first_classes(count))

    def seen_through(self, views: Views) -> RetrievalData:
        """Return the same photographs as other inputs."""
        return self._each(lambda part: part.seen_through(views))

    def _each(self, change: Callable[[RetrievalSet], RetrievalSet]) -> RetrievalData:
        gallery = None if self.gallery is None else change(self.gallery)
        return dataclasses.replace(self, train=change(self.train), evaluation=change(self.evaluation), gallery=gallery)


def hash_order(class_names: Sequence[str]) -> list[int]:
    """Return the indices of the classes ordered by the SHA-256 of their names.

    It is an order that neither meaning nor position in the data set has a part in.
    """
    return sorted(range(len(class_names)), key=lambda i: hashlib.sha256(class_names[i].encode()).digest())


def split_classes(class_names: Sequence[str], split: Split) -> tuple[list[int], list[int]]:
    """Return the indices of the classes to train on and to evaluate on.

    The first half in the order of :func:`hash_order` is for training; ``"validation"`` evaluates on the last quarter
    of that half.

    Example:
        >>> train, test = split_classes(["a", "b", "c", "d"], "test")
        >>> sorted(train + test)
        [0, 1, 2, 3]
    """
    order = hash_order(class_names)
    half = len(order) // 2
    if split == "test":
        return order[:half], order[half:]
    held_out = half - half // 4
    return order[:held_out], order[held_out:half]
