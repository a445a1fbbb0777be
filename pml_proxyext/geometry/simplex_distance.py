r"""How far a batch, or a classifier, is from the simplex on which the losses have their minimum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from pml_proxyext.utils.checks import check_embeddings, check_labels
from pml_proxyext.utils.precision import upcast

__all__ = ["SimplexDistance", "classifier_alignment", "simplex_distance"]


@dataclass(frozen=True)
class SimplexDistance:
    """What :func:`simplex_distance` measured: four scalars, all zero for collapsed classes on a regular simplex.

    Attributes:
        within_class_variance: mean squared distance of the normalised embeddings from the mean of their class.
        gram_distance: root mean square of (cosine of two class means + 1 / (K - 1)) over the pairs of classes.
        cosine_std: standard deviation of the cosines of the pairs of class means.
        largest_deviation: largest distance of such a cosine from -1 / (K - 1).
    """

    within_class_variance: Tensor
    gram_distance: Tensor
    cosine_std: Tensor
    largest_deviation: Tensor


@torch.no_grad()
def simplex_distance(embeddings: Tensor, labels: Tensor) -> SimplexDistance:
    r"""Measure how far the classes are from points, and their means from a regular simplex.

    With :math:`z` the normalised embeddings, :math:`\mu_y` the mean of class y and :math:`G` the cosines of the K
    class means,

    .. math::
        \frac1N \sum_i \|z_i - \mu_{y_i}\|^2, \qquad
        \frac{\|G - (K I - 1 1^\top) / (K - 1)\|_F}{\sqrt{K (K - 1)}},

    and of the cosines off the diagonal of :math:`G` the standard deviation and the largest distance from
    :math:`-1 / (K - 1)`. Their *mean* is left out: it is near :math:`-1 / (K - 1)` as soon as the means sum to zero,
    on a simplex or not.

    Only :math:`D \ge K - 1` coordinates have room for a simplex. With fewer, the Gram distance cannot be zero.

    Args:
        embeddings: ``(N, D)``; they are normalised here.
        labels: ``(N,)`` integers, any values; K is the number of different ones.

    Shapes:
        -> :class:`SimplexDistance` of scalars without a graph, in float32 for half precision; NaN for NaN.

    Raises:
        ValueError: for inputs of other shapes or dtypes, and fewer than two classes.

    Reference:
        Graf, Hofer, Niethammer, Kwitt, "Dissecting Supervised Contrastive Learning", ICML 2021, arXiv:2102.08817; the
        choice of the four numbers is ours.

    Example:
        >>> from pml_proxyext.geometry import regular_simplex
        >>> labels = torch.tensor([0, 0, 1, 2])
        >>> simplex_distance(regular_simplex(3, 2)[labels], labels).gram_distance < 1e-6
        tensor(True)
    """
    directions = normalize(upcast(check_embeddings(embeddings)))
    _, index, means = _class_means(directions, labels)
    num_classes = len(means)
    if num_classes < 2:
        raise ValueError(f"labels must name two classes or more, got {num_classes} in {len(labels)} labels")
    vertices = normalize(means)
    pairs = ~torch.eye(num_classes, dtype=torch.bool, device=means.device)
    cosines = (vertices @ vertices.T)[pairs]
    deviations = cosines + 1 / (num_classes - 1)
    return SimplexDistance(
        within_class_variance=(directions - means[index]).square().sum(1).mean(),
        gram_distance=deviations.square().mean().sqrt(),
        cosine_std=cosines.std(correction=0),
        largest_deviation=deviations.abs().max(),
    )


@torch.no_grad()
def classifier_alignment(embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    r"""Return, for each class of the batch, the cosine of its row of a classifier with its mean embedding.

    .. math::
        \cos\Big(w_y - \frac1C \sum_c w_c,\; \frac{1}{n_y} \sum_{i: y_i = y} z_i\Big)

    The mean row is taken off, for a softmax does not see it. Where cross-entropy has its minimum all are 1.

    Args:
        embeddings: ``(N, D)``, with the norms that the classifier sees.
        labels: ``(N,)`` integers in ``[0, C)``.
        weights: ``(C, D)``, the classifier's weights or the proxies.

    Shapes:
        -> one cosine for each class that occurs, in the order of the labels, without a graph; in float32 for half
        precision, and empty for an empty batch. A class mean or a centred row of length zero gives 0.

    Raises:
        ValueError: for inputs of other shapes or dtypes, and labels out of range.

    Reference:
        Graf, Hofer, Niethammer, Kwitt, "Dissecting Supervised Contrastive Learning", ICML 2021, arXiv:2102.08817.

    Example:
        >>> classifier_alignment(torch.eye(2), torch.tensor([0, 1]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        tensor([1., 0.])
    """
    check_embeddings(weights, name="weights")
    check_embeddings(embeddings, weights.shape[1])
    check_labels(labels, len(weights))
    classes, _, means = _class_means(upcast(embeddings), labels)
    rows = weights.to(means)
    return cosine_similarity((rows - rows.mean(0))[classes], means, dim=1)


def _class_means(vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the classes that occur, the class of each row as an index into them, and their means."""
    if labels.shape != (len(vectors),):
        raise ValueError(f"labels must have shape ({len(vectors)},), got {tuple(labels.shape)}")
    classes, index = torch.unique(check_labels(labels).to(vectors.device), return_inverse=True)
    sums = vectors.new_zeros(len(classes), vectors.shape[1]).index_add(0, index, vectors)
    return classes, index, sums / torch.bincount(index, minlength=len(classes))[:, None]
