"""Recall at K, which the papers report, by PML's calculator of accuracies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor

from pml_proxyext.utils.checks import check_integer

__all__ = ["RecallCalculator"]

_PREFIX = "recall_at_"


class RecallCalculator(AccuracyCalculator):
    """PML's calculator with the metrics ``recall_at_K``.

    They are the share of queries that have one of their class among their K nearest neighbours. As in PML's other
    metrics, queries that have no other of their class to be found do not count.

    Args:
        recall_at: each K. It may exceed the size of the largest class; the other metrics read no more than they need.
        include: PML's names of the other metrics.

    Example:
        >>> calculator = RecallCalculator([2], ["precision_at_1"])
        >>> line, labels = torch.tensor([[0.0], [1.0], [2.0], [4.5]]), torch.tensor([0, 1, 0, 1])
        >>> calculator.get_accuracy(line, labels)
        {'precision_at_1': 0.0, 'recall_at_2': 0.75}
    """

    def __init__(self, recall_at: Sequence[int], include: Sequence[str]) -> None:
        self.recall_at = [check_integer("recall_at", k) for k in recall_at]
        names = [f"{_PREFIX}{k}" for k in self.recall_at]
        for name, k in zip(names, self.recall_at, strict=True):
            setattr(self, f"calculate_{name}", partial(_recall, k))  # PML finds metrics by the names of methods
        super().__init__(include=(*include, *names), k="max_bin_count", device=torch.device("cpu"))

    def requires_knn(self) -> list[str]:
        return [*super().requires_knn(), *(f"{_PREFIX}{k}" for k in self.recall_at)]

    def determine_k(self, bin_counts: Tensor, num_reference_embeddings: int, ref_includes_query: bool) -> int:
        needed = max([super().determine_k(bin_counts, num_reference_embeddings, ref_includes_query), *self.recall_at])
        return min(needed, num_reference_embeddings - int(ref_includes_query))

    def _get_accuracy(self, function_dict: Mapping[str, Callable[..., float]], **data: Any) -> dict[str, float]:
        nearest = super().determine_k(data["label_counts"][1], len(data["reference"]), data["ref_includes_query"])
        fewer = {**data, "knn_labels": data["knn_labels"][:, :nearest]}  # a thousand neighbours are a burden
        return {
            name: function(**(data if name.startswith(_PREFIX) else fewer)) for name, function in function_dict.items()
        }


def _recall(k: int, knn_labels: Tensor, query_labels: Tensor, not_lone_query_mask: Tensor, **_: Any) -> float:
    hits = (knn_labels[:, :k] == query_labels[:, None]).any(1)
    return hits[not_lone_query_mask].double().mean().item()
