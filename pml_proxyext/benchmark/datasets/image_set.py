"""Images with labels, and the division of classes into those to train on and those to evaluate on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

__all__ = ["ImageSet", "RetrievalData", "Split", "split_classes"]

Split = Literal["test", "validation"]


class ImageSet(Dataset[tuple[Tensor, int]]):
    """Grey images of chosen classes, in memory.

    Args:
        images: ``(N, H, W)`` unsigned bytes.
        class_of_image: ``(N,)`` index into ``class_names`` for each image.
        classes: the indices to keep; the labels are the positions in this list.
        class_names: what each class is called.

    Attributes:
        images: ``(M, 1, H, W)`` float32 in [0, 1].
        labels: ``(M,)`` int64 in ``[0, len(classes))``.
        class_names: one per label.
    """

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        class_of_image: npt.NDArray[np.int64],
        classes: Sequence[int],
        class_names: Sequence[str],
    ) -> None:
        label_of_class = np.full(len(class_names), -1, dtype=np.int64)
        label_of_class[list(classes)] = np.arange(len(classes))
        labels = label_of_class[class_of_image]
        kept = labels >= 0
        self.images = torch.from_numpy(images[kept]).unsqueeze(1).float() / 255
        self.labels = torch.from_numpy(labels[kept])
        self.class_names = [class_names[index] for index in classes]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def first_classes(self, count: int) -> ImageSet:
        """Return the part that belongs to the first ``count`` classes."""
        part = object.__new__(ImageSet)
        kept = self.labels < count
        part.images, part.labels, part.class_names = self.images[kept], self.labels[kept], self.class_names[:count]
        return part


@dataclass(frozen=True)
class RetrievalData:
    """A training set and an evaluation set without a common class."""

    name: str
    train: ImageSet
    evaluation: ImageSet


def split_classes(class_names: Sequence[str], split: Split) -> tuple[list[int], list[int]]:
    """Return the indices of the classes to train on and to evaluate on.

    The classes are ordered by the SHA-256 of their names, an order that neither meaning nor position in the data
    set has a part in. The first half is for training; ``"validation"`` evaluates on the last quarter of that half.

    Example:
        >>> train, test = split_classes(["a", "b", "c", "d"], "test")
        >>> sorted(train + test)
        [0, 1, 2, 3]
    """
    order = sorted(range(len(class_names)), key=lambda i: hashlib.sha256(class_names[i].encode()).digest())
    half = len(order) // 2
    if split == "test":
        return order[:half], order[half:]
    held_out = half - half // 4
    return order[:held_out], order[held_out:half]
