"""PML's supervised contrastive loss and a loop for it: what the floors of this package are measured against."""

from __future__ import annotations

import math

import torch
from pytorch_metric_learning.losses import SupConLoss
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor


def pml_supcon(embeddings: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return PML's loss as the mean over the anchors that have a positive, those with a loss of zero included."""
    _, index, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    loss = SupConLoss(temperature=temperature, reducer=MeanReducer())(embeddings, labels)
    return loss * len(labels) / (counts[index] >= 2).sum().clamp_min(1)


def looped_supcon_sum(similarities: list[list[float]], labels: list[int]) -> float:
    """Return the sum of the loss over the anchors with a positive, from similarities divided by the temperature."""
    total = 0.0
    for i, label in enumerate(labels):
        positives = [j for j, other in enumerate(labels) if other == label and j != i]
        others = [math.exp(similarities[i][j]) for j in range(len(labels)) if j != i]
        if positives:
            total += math.log(sum(others)) - sum(similarities[i][j] for j in positives) / len(positives)
    return total
