"""What labels, tuples or rows say of a matrix of pairs: which are positive, and how often each is a negative."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from torch import Tensor

__all__ = ["Candidates", "candidates_of_batch", "candidates_of_labels", "candidates_of_rows", "candidates_of_tuples"]

#: Rows ``(P,)`` and columns ``(P,)`` of the positive pairs, and how often each entry is a negative one, ``(N, M)``.
Candidates = tuple[Tensor, Tensor, Tensor]


def candidates_of_labels(labels: Tensor, ref_labels: Tensor, mat: Tensor, is_one_batch: bool) -> Candidates:
    """Return pairs of one label as positives, row by row, and all others as negatives.

    Args:
        labels: ``(N,)``.
        ref_labels: ``(M,)``.
        mat: ``(N, M)``, whose dtype and device the counts have.
        is_one_batch: whether row i and column i are one sample, which is no pair.

    Example:
        >>> labels = torch.tensor([0, 0, 1])
        >>> rows, columns, counts = candidates_of_labels(labels, labels, torch.empty(3, 3), is_one_batch=True)
        >>> rows, columns
        (tensor([0, 1]), tensor([1, 0]))
        >>> counts
        tensor([[0., 0., 1.],
                [0., 0., 1.],
                [1., 1., 0.]])
    """
    same = labels[:, None] == ref_labels.to(labels.device)
    counts = (~same).to(mat)
    if is_one_batch:
        same = same.fill_diagonal_(False)
    rows, columns = same.nonzero(as_tuple=True)
    return rows, columns, counts


def candidates_of_tuples(indices_tuple: Any, mat: Tensor) -> Candidates:
    """Return the pairs in a miner's tuples; one that occurs several times counts several times."""
    pairs = lmu.convert_to_pairs(indices_tuple, None)
    rows, columns, negative_rows, negative_columns = (index.to(mat.device) for index in pairs)
    one = torch.ones((), dtype=mat.dtype, device=mat.device)
    counts = torch.zeros_like(mat).index_put_((negative_rows, negative_columns), one, accumulate=True)
    return rows, columns, counts


def candidates_of_rows(mat: Tensor) -> Candidates:
    """Return row i and column i as the positive pairs of a square matrix, and all others as negatives."""
    rows = torch.arange(len(mat), device=mat.device)
    return rows, rows, (rows[:, None] != rows).to(mat)


def candidates_of_batch(
    mat: Tensor, labels: Tensor | None, ref_labels: Tensor | None, indices_tuple: Any, is_one_batch: bool
) -> Candidates:
    """Return the pairs of tuples, of labels without tuples, and without both those of the rows of two batches.

    Raises:
        ValueError: if there is nothing to tell partners from.
    """
    if indices_tuple is not None:
        return candidates_of_tuples(indices_tuple, mat)
    if labels is not None and ref_labels is not None:
        return candidates_of_labels(labels, ref_labels, mat, is_one_batch)
    if is_one_batch or mat.shape[0] != mat.shape[1]:
        came = "no ref_emb" if is_one_batch else f"{mat.shape[1]} rows of it for {mat.shape[0]} embeddings"
        raise ValueError(f"labels, indices_tuple or the rows' partners in ref_emb are required, got {came}")
    return candidates_of_rows(mat)
