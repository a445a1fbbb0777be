"""Which of its classes a rank looks at in a step: all, or those of the batch and a sample of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Piece", "all_classes", "sampled_classes"]


class Piece(NamedTuple):
    """Some classes of a rank, each of which stands for ``weight`` classes."""

    columns: Tensor  # (N,), of each sample's own class in this piece; below 0 or too large if it is elsewhere
    class_tensors: Sequence[Tensor]  # one row per class
    weight: float


def all_classes(class_tensors: Sequence[Tensor], columns: Tensor) -> list[Piece]:
    """Return all classes as one piece."""
    return [Piece(columns, class_tensors, 1.0)]


def sampled_classes(
    class_tensors: Sequence[Tensor], columns: Tensor, rate: float, generator: torch.Generator | None
) -> list[Piece]:
    r"""Return the classes of the batch, and a sample of the others that stands for all of them.

    Of :math:`n` classes that are not in the batch :math:`k` are drawn without replacement, each as likely, and weigh
    :math:`n / k`. So any sum over the classes is what it would be in expectation. :math:`k` is such that the share
    ``rate`` of all classes is looked at, and at least one of the others.
    """
    num_classes = len(class_tensors[0])
    here = (columns >= 0) & (columns < num_classes)
    own = columns[here].unique()  # in order
    is_other = torch.ones(num_classes, dtype=torch.bool, device=columns.device)
    is_other[own] = False
    others = is_other.nonzero().squeeze(1)
    count = min(max(round(rate * num_classes) - len(own), 1), len(others))
    device = others.device if generator is None else generator.device
    drawn = torch.randperm(len(others), generator=generator, device=device)[:count]
    kept = torch.cat([own, others[drawn.to(others.device)]])
    # One selection for both pieces: its backward pass makes one gradient of the size of the parameters, not two.
    own_rows, other_rows = zip(
        *(tensor[kept.to(tensor.device)].split([len(own), count]) for tensor in class_tensors), strict=True
    )
    positions = torch.where(here, torch.searchsorted(own, columns), -1)
    pieces = [Piece(positions, own_rows, 1.0)] if len(own) else []
    if count:
        pieces.append(Piece(torch.full_like(columns, -1), other_rows, len(others) / count))
    return pieces
