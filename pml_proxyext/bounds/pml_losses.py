"""Losses of PML, and plain cross-entropy, as functions of a batch, with the reducers that the relations need.

A relation is about a mean over anchors, pairs or triplets. Several of PML's losses average over the terms that are not
zero by default, which is another quantity and obeys other relations; :class:`MeanReducer` is therefore set everywhere.
"""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning import losses
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor, nn

from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.losses import CrossEntropyDMLLoss
from pml_proxyext.losses.cross_entropy_dml_loss import Smoothing

__all__ = ["cross_entropy", "euclidean", "nca", "normalized_softmax", "ntxent", "supcon", "with_proxies"]


def euclidean() -> LpDistance:
    """Return the Euclidean distance on the unit sphere."""
    return LpDistance(normalize_embeddings=True, p=2)


def supcon(batch: BoundBatch, **arguments: Any) -> Tensor:
    """Return the supervised contrastive loss, averaged over the anchors that have a positive."""
    arguments = {"temperature": batch["temperature"], "reducer": MeanReducer(), **arguments}
    mean_over_all: Tensor = losses.SupConLoss(**arguments)(batch.embeddings, batch.labels)
    # MeanReducer counts the anchors without a positive, with zeros.
    return mean_over_all * (len(batch) / int(batch.same.any(1).sum()))


def ntxent(batch: BoundBatch, indices_tuple: Any = None) -> Tensor:
    """Return NT-Xent, averaged over the positive pairs; each competes with the negatives of its anchor only."""
    loss = losses.NTXentLoss(temperature=batch["temperature"], reducer=MeanReducer())
    value: Tensor = loss(batch.embeddings, batch.labels, indices_tuple)
    return value


def nca(batch: BoundBatch) -> Tensor:
    """Return neighbourhood component analysis on cosines, averaged over all anchors."""
    loss = losses.NCALoss(softmax_scale=1 / batch["temperature"], distance=CosineSimilarity(), reducer=MeanReducer())
    value: Tensor = loss(batch.embeddings, batch.labels)
    return value


def normalized_softmax(batch: BoundBatch) -> Tensor:
    """Return the normalized softmax loss with the proxies of the batch."""
    sizes = {"num_classes": len(batch.classifier), "embedding_size": batch.classifier.shape[1]}
    loss = losses.NormalizedSoftmaxLoss(temperature=batch["temperature"], reducer=MeanReducer(), **sizes)
    return with_proxies(loss, batch.classifier)(batch.embeddings, batch.labels)


def cross_entropy(batch: BoundBatch, label_smoothing: float = 0.0, smoothing: Smoothing = "boudiaf") -> Tensor:
    """Return the mean cross-entropy of the linear classifier without bias whose rows are the proxies of the batch."""
    num_classes, size = batch.classifier.shape
    loss = CrossEntropyDMLLoss(num_classes, size, label_smoothing, smoothing, dropout=0.0, reducer=MeanReducer())
    return with_proxies(loss, batch.classifier)(batch.embeddings, batch.labels)


def with_proxies(loss: BaseMetricLossFunction, proxies: Tensor) -> BaseMetricLossFunction:
    """Put proxies ``(C, D)`` into a loss of PML or of this package, as a copy, and return the loss."""
    name, rows = ("W", proxies.t()) if hasattr(loss, "W") else ("proxies", proxies)
    name, rows = ("fc", proxies.t()) if hasattr(loss, "fc") else (name, rows)
    setattr(loss, name, nn.Parameter(rows.detach().clone(memory_format=torch.contiguous_format)))
    return loss
