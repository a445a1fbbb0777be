"""Labelled pairs in place of labelled samples."""

from __future__ import annotations

import torch
from torch import Tensor

from pml_proxyext.utils.checks import check_labels

__all__ = ["pair_labels"]


def pair_labels(y: Tensor, entailment_label: int = 1) -> Tensor:
    r"""Return class labels for the first and second members of pairs in one batch, from the labels of the pairs.

    The members of pair i have the same label i if the pair is positive; otherwise the second one has a label of its
    own. So any loss of PML can learn from labelled pairs: ``loss_func(torch.cat([first, second]), pair_labels(y))``.

    Args:
        y: ``(M,)`` integers, one label per pair.
        entailment_label: the label of positive pairs.

    Shapes:
        -> ``(2M,)`` int64 in [0, 2M). In a memory of several batches add ``2 * M * step``, so that none meets again.

    Raises:
        ValueError: if ``y`` is not one-dimensional, or not of integers.

    Example:
        >>> pair_labels(torch.tensor([1, 0, 1]))
        tensor([0, 1, 2, 0, 4, 2])
    """
    if y.ndim != 1:
        raise ValueError(f"y must have shape (M,), got shape {tuple(y.shape)}")
    y = check_labels(y, name="y")
    first = torch.arange(len(y), device=y.device)
    return torch.cat([first, torch.where(y == entailment_label, first, first + len(y))])
