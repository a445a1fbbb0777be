"""Retrieval scores of a network by PML's tester."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor, nn

from pml_proxyext.benchmark.datasets import RetrievalSet

__all__ = ["METRICS", "Evaluator"]

#: The metrics of every run, by PML's names.
METRICS = ("precision_at_1", "r_precision", "mean_average_precision_at_r")

_SPLIT = "val"  # the name that PML's logging presets expect


class RetrievalTester(GlobalEmbeddingSpaceTester):
    """PML's tester, but it keeps its embeddings and their norms, and scores a run that has diverged as NaN."""

    embeddings: Tensor  # (N, D), directions
    norms: Tensor  # (N,)

    def maybe_normalize(self, embeddings: Tensor) -> Tensor:
        self.norms = torch.linalg.vector_norm(embeddings, dim=1)
        self.embeddings = super().maybe_normalize(embeddings)
        return self.embeddings

    def do_knn_and_accuracies(self, accuracies: dict[str, float], *arguments: Any) -> None:
        if self.embeddings.isfinite().all():
            super().do_knn_and_accuracies(accuracies, *arguments)
        else:  # where PML's calculator ends in an error about something else
            names = self.accuracy_calculator.get_curr_metrics()
            accuracies |= {self.accuracies_keyname(name, label_hierarchy_level=0): math.nan for name in names}


class Evaluator:
    """Scores models on the evaluation classes, every image a query against all others.

    Args:
        data: the evaluation images.
        with_nmi: whether to add the normalised mutual information of a k-means clustering, which is slow.
        end_of_testing_hook: see PML's testers.
    """

    def __init__(self, data: RetrievalSet, with_nmi: bool = False, end_of_testing_hook: Any = None) -> None:
        calculator = AccuracyCalculator(
            include=(*METRICS, *(["NMI"] if with_nmi else [])),
            k="max_bin_count",  # as many neighbours as the largest class needs: MAP@R reads no more
            device=torch.device("cpu"),
        )
        self.data = data
        self.tester = RetrievalTester(
            batch_size=512,
            dataloader_num_workers=0,
            data_device=torch.device("cpu"),
            accuracy_calculator=calculator,
            end_of_testing_hook=end_of_testing_hook,
        )

    def __call__(self, models: Mapping[str, nn.Module], epoch: int) -> dict[str, float]:
        """Return each metric by its PML name, as a fraction of six decimals; NaN for embeddings that are not finite."""
        self.tester.test({_SPLIT: self.data}, epoch, models["trunk"], models["embedder"])
        scores = self.tester.all_accuracies[_SPLIT]
        names = self.tester.accuracy_calculator.get_curr_metrics()
        return {name: round(float(scores[f"{name}_level0"]), 6) for name in names}

    def embeddings(self) -> dict[str, Any]:
        """Return directions, norms and labels of the last call as arrays."""
        return {
            "embeddings": self.tester.embeddings.numpy(),
            "norms": self.tester.norms.numpy(),
            "labels": self.data.labels.numpy(),
        }
