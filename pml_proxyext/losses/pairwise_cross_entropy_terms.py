r"""The cross-entropy of a linear classifier as Boudiaf et al. take it apart, and its pairwise relative.

The cross-entropy of a classifier without bias, whose rows are :math:`\theta_k`, on :math:`n` embeddings :math:`z_i` is
:math:`f_1 + f_2` for any :math:`\lambda > 0`. A matrix of assignments :math:`a_{jk}`, one-hot labels or probabilities,
makes a classifier of the embeddings themselves, :math:`\theta_k = \frac{1}{\lambda n} \sum_j a_{jk} z_j`, whose logits
need similarities between embeddings only. All functions are pure and compute in the dtype that they are given.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

__all__ = [
    "absence_logits",
    "class_indicators",
    "classifier_contrast",
    "classifier_cross_entropy",
    "classifier_tightness",
    "one_hot_labels",
    "pairwise_cross_entropy",
    "scaled_means",
    "self_consistent_assignments",
    "similarity_logits",
]


def scaled_means(embeddings: Tensor, assignments: Tensor) -> Tensor:
    r"""Return :math:`\frac1n \sum_i a_{ik} z_i`, ``(K, D)``: hard means for one-hot rows, soft ones else."""
    return assignments.T @ embeddings / len(embeddings)


def classifier_tightness(embeddings: Tensor, labels: Tensor, classifier: Tensor, lambda_: float) -> Tensor:
    r"""Return :math:`f_1(\theta) = -\frac1n \sum_i \theta_{y_i}^\top z_i + \frac\lambda2 |\theta|^2`, a scalar."""
    return lambda_ / 2 * classifier.square().sum() - (classifier[labels] * embeddings).sum(1).mean()


def classifier_contrast(embeddings: Tensor, classifier: Tensor, lambda_: float) -> Tensor:
    r"""Return :math:`f_2(\theta) = \frac1n \sum_i \log \sum_k e^{\theta_k^\top z_i} - \frac\lambda2 |\theta|^2`."""
    return (embeddings @ classifier.T).logsumexp(1).mean() - lambda_ / 2 * classifier.square().sum()


def classifier_cross_entropy(embeddings: Tensor, labels: Tensor, classifier: Tensor) -> Tensor:
    """Return the mean cross-entropy of a linear classifier ``(K, D)`` without bias, a scalar."""
    return cross_entropy(embeddings @ classifier.T, labels)


def one_hot_labels(labels: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """Return ``(N, num_classes)`` in ``dtype``; torch's own ``one_hot`` looks at the values and returns integers."""
    return (labels[:, None] == torch.arange(num_classes, device=labels.device)).to(dtype)


def class_indicators(labels: Tensor, dtype: torch.dtype) -> Tensor:
    """Return one-hot labels ``(N, K)`` over the K classes of the batch, whatever integers they are.

    A compiled graph cannot count classes. There K is N, a class has the column of its first sample, and the columns of
    other samples are zero: see :func:`absence_logits`.
    """
    if torch.compiler.is_compiling():
        first = (labels[:, None] == labels).int().argmax(1)
        return one_hot_labels(first, len(labels), dtype)
    classes, columns = labels.unique(return_inverse=True)
    return one_hot_labels(columns, len(classes), dtype)


def absence_logits(indicators: Tensor) -> Tensor:
    """Return ``(K,)``, to be added to logits: zero for a class of the batch, minus infinity for a column of zeros."""
    return torch.where(indicators.any(0), 0.0, -torch.inf).to(indicators)


def similarity_logits(similarities: Tensor, assignments: Tensor, lambda_: float) -> Tensor:
    r"""Return :math:`\frac{1}{\lambda n} \sum_j a_{jk} s_{ij}`, ``(N, K)``: logits of the classifier of assignments."""
    return similarities @ assignments / (lambda_ * len(assignments))


def pairwise_cross_entropy(
    similarities: Tensor, indicators: Tensor, assignments: Tensor, lambda_: float, absence: Tensor | float = 0.0
) -> Tensor:
    r"""Return one loss per sample, ``(N,)``, whose mean is PCE.

    That is :math:`f_1` at the hard means over :math:`\lambda`, which is its minimum over all classifiers, plus
    :math:`f_2` at the soft means over :math:`\lambda`.

    Args:
        similarities: ``(N, N)``, inner products.
        indicators: one-hot labels, ``(N, K)``.
        assignments: the probabilities :math:`p_{ik}`, ``(N, K)``.
        lambda_: :math:`\lambda > 0`.
        absence: see :func:`absence_logits`.
    """
    hard = (indicators * similarity_logits(similarities, indicators, lambda_)).sum(1)
    soft = similarity_logits(similarities, assignments, lambda_)
    return (soft + absence).logsumexp(1) - (assignments * soft).sum(1) / 2 - hard / 2


@torch.no_grad()
def self_consistent_assignments(
    similarities: Tensor, start: Tensor, lambda_: float, max_iterations: int, absence: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    r"""Return probabilities, ``(N, K)``, that are the softmax of their own logits, and by how much they are not.

    The iteration turns the classifier :math:`\theta` of some assignments, at the start of the one-hot labels, say, into
    :math:`c(\theta) / \lambda`, with :math:`c` the soft means. That maximises :math:`f_2` with its convex part replaced
    by the tangent at :math:`\theta`. So :math:`f_2` never falls: nothing swings, and damping would only slow it down.

    Returns:
        The probabilities, and the largest change of one of them in the last step.
    """
    tolerance = torch.finfo(similarities.dtype).eps ** 0.75  # above the rounding of the softmax of large logits
    assignments = start
    change = similarities.new_full((), torch.inf)
    for _ in range(max_iterations):
        updated = (similarity_logits(similarities, assignments, lambda_) + absence).softmax(1)
        change = (updated - assignments).abs().amax()
        assignments = updated
        # A compiled graph cannot stop where the data say so: it takes all steps.
        if not torch.compiler.is_compiling() and not change > tolerance:
            break
    return assignments, change
