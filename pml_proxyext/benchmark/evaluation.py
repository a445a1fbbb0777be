"""Retrieval scores of a network by PML's tester."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from torch import Tensor, nn

from pml_proxyext.benchmark.datasets import RetrievalSet
from pml_proxyext.benchmark.recall import RecallCalculator

__all__ = ["METRICS", "Evaluator"]

#: The metrics of every run, by PML's names.
METRICS = ("precision_at_1", "r_precision", "mean_average_precision_at_r")

_SPLIT, _GALLERY = "val", "gallery"  # the first is the name that PML's logging presets expect

_CPU = torch.device("cpu")


class RetrievalTester(GlobalEmbeddingSpaceTester):
    """PML's tester, but it keeps the queries' embeddings and norms, and scores a run that has diverged as NaN."""

    embeddings: Tensor  # (N, D), directions
    norms: Tensor  # (N,)
    _last_norms: Tensor

    def maybe_normalize(self, embeddings: Tensor) -> Tensor:
        self._last_norms = torch.linalg.vector_norm(embeddings, dim=1)
        return super().maybe_normalize(embeddings)

    def get_all_embeddings_for_all_splits(
        self, dataset_dict: Mapping[str, RetrievalSet], trunk: nn.Module, embedder: nn.Module, *rest: Any
    ) -> dict[str, tuple[Tensor, Tensor]]:
        found = {}
        for name, data in dataset_dict.items():
            self.batch_size = data.evaluation_batch
            found[name] = self.get_all_embeddings(data, trunk, embedder)
            if name == _SPLIT:
                self.embeddings, self.norms = found[name][0], self._last_norms
        return found

    def do_knn_and_accuracies(
        self, accuracies: dict[str, float], embeddings_and_labels: Mapping[str, tuple[Tensor, Tensor]], *splits: Any
    ) -> None:
        if all(embeddings.isfinite().all() for embeddings, _ in embeddings_and_labels.values()):
            super().do_knn_and_accuracies(accuracies, embeddings_and_labels, *splits)
        else:  # where PML's calculator ends in an error about something else
            names = self.accuracy_calculator.get_curr_metrics()
            accuracies |= {self.accuracies_keyname(name, label_hierarchy_level=0): math.nan for name in names}


class Evaluator:
    """Scores models on the evaluation classes, every image a query against all others or against a gallery.

    Args:
        data: the queries.
        with_nmi: whether to add the normalised mutual information of a k-means clustering, which is slow.
        end_of_testing_hook: see PML's testers.
        gallery: what the queries are looked up in; None for the other queries.
        recall_at: the K of recall at K, scored in addition.
        device: where the models are.
        workers: processes that read the data.
    """

    def __init__(
        self,
        data: RetrievalSet,
        with_nmi: bool = False,
        end_of_testing_hook: Any = None,
        gallery: RetrievalSet | None = None,
        recall_at: Sequence[int] = (),
        device: torch.device = _CPU,
        workers: int = 0,
    ) -> None:
        self.data = data
        self.sets = {_SPLIT: data} if gallery is None else {_SPLIT: data, _GALLERY: gallery}
        self.tester = RetrievalTester(
            dataloader_num_workers=workers,
            data_device=device,
            accuracy_calculator=RecallCalculator(recall_at, (*METRICS, *(["NMI"] if with_nmi else []))),
            end_of_testing_hook=end_of_testing_hook,
        )

    def __call__(self, models: Mapping[str, nn.Module], epoch: int) -> dict[str, float]:
        """Return each metric by its PML name, as a fraction of six decimals; NaN for embeddings that are not finite."""
        looked_up_in = _GALLERY if _GALLERY in self.sets else _SPLIT
        self.tester.test(self.sets, epoch, models["trunk"], models["embedder"], [(_SPLIT, [looked_up_in])])
        scores = self.tester.all_accuracies[_SPLIT]
        names = self.tester.accuracy_calculator.get_curr_metrics()
        return {name: round(float(scores[f"{name}_level0"]), 6) for name in names}

    def embeddings(self) -> dict[str, Any]:
        """Return directions, norms and labels of the last call as arrays."""
        return {
            "embeddings": self.tester.embeddings.cpu().numpy(),
            "norms": self.tester.norms.cpu().numpy(),
            "labels": self.data.labels.numpy(),
        }
