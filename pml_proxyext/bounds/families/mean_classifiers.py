"""Quantities around a linear classifier: its hard and soft means, PCE, SPCE, and what lies between them.

The hard means are those of the classes under the labels, the soft means those under the classifier's own softmax; both
make a classifier of the batch itself. See :mod:`pml_proxyext.losses.pairwise_cross_entropy_terms`.
"""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.losses import PairwiseCrossEntropyLoss, SimplifiedPairwiseCrossEntropyLoss
from pml_proxyext.losses.pairwise_cross_entropy_terms import (
    class_indicators,
    classifier_contrast,
    classifier_cross_entropy,
    classifier_tightness,
    scaled_means,
    self_consistent_assignments,
)

__all__ = [
    "at_hard_means",
    "distance_to_hard_means",
    "exact_gap",
    "gap_bound",
    "hard_means_cross_entropy",
    "pairwise_floor",
    "pairwise_tightness",
    "pce",
    "pce_of_labels",
    "self_consistent",
    "spce",
    "spce_floor",
    "spce_penalty",
    "tightness",
]


def hard_classifier(batch: BoundBatch) -> Tensor:
    """Return the classifier of the scaled means of the classes."""
    return scaled_means(batch.embeddings, batch.one_hot) / batch["lambda_"]


def mean_difference(batch: BoundBatch) -> Tensor:
    """Return the classifier of the hard means minus that of the soft means, without cancellation."""
    probabilities = (batch.embeddings @ batch.classifier.t()).softmax(1)
    return scaled_means(batch.embeddings, batch.one_hot - probabilities) / batch["lambda_"]


def tightness(batch: BoundBatch) -> Tensor:
    """Return the half of cross-entropy that draws samples to their class, with the penalty of the classifier."""
    return classifier_tightness(batch.embeddings, batch.labels, batch.classifier, batch["lambda_"])


def pairwise_tightness(batch: BoundBatch) -> Tensor:
    """Return the first term of PCE; its sum over pairs is a sum of squared means."""
    return -batch["lambda_"] / 2 * hard_classifier(batch).square().sum()


def pce(batch: BoundBatch) -> Tensor:
    """Return PCE with the soft assignments of the classifier, which count as constants in gradients."""
    loss = PairwiseCrossEntropyLoss(batch["lambda_"], lambda embeddings: embeddings @ batch.classifier.t())
    value: Tensor = loss(batch.embeddings, batch.labels)
    return value


def pce_of_labels(batch: BoundBatch) -> Tensor:
    """Return PCE with the labels in the place of soft assignments."""
    loss = PairwiseCrossEntropyLoss(batch["lambda_"], max_iterations=0)
    value: Tensor = loss(batch.embeddings, batch.labels)
    return value


def spce(batch: BoundBatch) -> Tensor:
    """Return SPCE, whose classes are those of the batch."""
    value: Tensor = SimplifiedPairwiseCrossEntropyLoss(batch["lambda_"])(batch.embeddings, batch.labels)
    return value


def at_hard_means(batch: BoundBatch) -> BoundBatch:
    """Return the batch with the hard means as its classifier."""
    return replace(batch, proxies=hard_classifier(batch))


def self_consistent(batch: BoundBatch) -> BoundBatch:
    """Return the batch with the classifier that equals its own soft means and is reached from that of the batch."""
    products, start = batch.embeddings @ batch.embeddings.t(), (batch.embeddings @ batch.classifier.t()).softmax(1)
    # Both sides differ by the square of the last step. Where means merge, at one lambda, steps are slow to shrink: with
    # 1000 of them the sides differed by 2e-8.
    assignments, _ = self_consistent_assignments(products, start, batch["lambda_"], max_iterations=10_000)
    return replace(batch, proxies=scaled_means(batch.embeddings, assignments) / batch["lambda_"])


def distance_to_hard_means(batch: BoundBatch) -> Tensor:
    """Return half of lambda times the squared distance between the classifier and the hard means."""
    return batch["lambda_"] / 2 * (batch.classifier - hard_classifier(batch)).square().sum()


def gap_bound(batch: BoundBatch) -> Tensor:
    """Return the difference of squared distances as a product, which keeps its digits where the means agree."""
    difference, hard = mean_difference(batch), hard_classifier(batch)
    return -batch["lambda_"] / 2 * (difference * (2 * batch.classifier - 2 * hard + difference)).sum()


def exact_gap(batch: BoundBatch) -> Tensor:
    """Return the squared distance to the hard means, plus how far the contrast is from that of the soft means."""
    soft = hard_classifier(batch) - mean_difference(batch)
    contrasts = [classifier_contrast(batch.embeddings, rows, batch["lambda_"]) for rows in (batch.classifier, soft)]
    return distance_to_hard_means(batch) + contrasts[0] - contrasts[1]


def pairwise_floor(batch: BoundBatch) -> Tensor:
    """Return what cross-entropy with an L2 penalty cannot fall below, over the classes of the classifier."""
    return _pairwise_floor(batch, batch.one_hot)


def spce_floor(batch: BoundBatch) -> Tensor:
    """Return :func:`pairwise_floor` over the classes of the batch."""
    return _pairwise_floor(batch, class_indicators(batch.labels, batch.embeddings.dtype))


def _pairwise_floor(batch: BoundBatch, indicators: Tensor) -> Tensor:
    means = scaled_means(batch.embeddings, indicators)
    return math.log(len(means)) - (means - means.mean(0)).square().sum() / (2 * batch["lambda_"])


def spce_penalty(batch: BoundBatch) -> Tensor:
    """Return half of lambda times the squared norm of the hard means of the classes of the batch."""
    means = scaled_means(batch.embeddings, class_indicators(batch.labels, batch.embeddings.dtype))
    return means.square().sum() / (2 * batch["lambda_"])


def hard_means_cross_entropy(batch: BoundBatch) -> Tensor:
    """Return the cross-entropy of the hard means, over the classes of the batch, with gradients through them."""
    indicators = class_indicators(batch.labels, batch.embeddings.dtype)
    classifier = scaled_means(batch.embeddings, indicators) / batch["lambda_"]
    return classifier_cross_entropy(batch.embeddings, indicators.argmax(1), classifier)
