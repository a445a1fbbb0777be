r"""How low the supervised contrastive loss of a batch can go, in closed form.

The loss is :math:`L = \frac{1}{|I|} \sum_{i \in I} -\frac{1}{|P_i|} \sum_{p \in P_i} \log
\frac{e^{s_{ip} / \tau}}{\sum_{j \ne i} e^{s_{ij} / \tau}}`, with :math:`s` the cosine, :math:`P_i` the other samples
of the anchor's class, and :math:`I` the anchors that have one. That is PML's ``SupConLoss`` with its default reducer.
With ``MeanReducer``, which divides by the size :math:`b` of the batch, multiply a floor by :math:`|I| / b`.

A batch of a single class is an exception: PML returns 0 there, the formula above has the floor :math:`\log(b - 1)`.

The floors hold in every dimension. Those that are attained need K - 1 coordinates for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pml_proxyext.geometry.quantities import class_counts, quantity
from pml_proxyext.utils.checks import check_embeddings, check_integer, check_labels
from pml_proxyext.utils.precision import log1p_exp

__all__ = ["supcon_antipodal_floor", "supcon_simplex_floor", "supcon_statistics_floor", "supcon_total_floor"]


def _log_ratio(counts: Tensor, batch_size: Tensor | float, log_repulsion: Tensor) -> Tensor:
    r"""Return :math:`\log(n - 1 + (b - n) e^{t})` for classes of n >= 2 samples."""
    own = torch.log(counts - 1)
    # Not logaddexp: its second derivative is NaN where a class has no negatives and their logarithm is -inf.
    return own + log1p_exp(torch.log(batch_size - counts) - own + log_repulsion)


def _mean_over_anchors(counts: Tensor, log_repulsion: Tensor) -> Tensor:
    """Return the mean of the classes' terms weighted by their anchors; 0 where no class has two samples, as in PML."""
    paired = counts >= 2
    anchors = counts[paired]
    terms = anchors * _log_ratio(anchors, counts.sum(), log_repulsion)
    return terms.sum(-1) / anchors.sum().clamp_min(1)


def supcon_simplex_floor(counts: Sequence[int] | Tensor, temperature: float | Tensor) -> Tensor:
    r"""Return the value of the loss when the classes sit on a simplex: a bound on balanced batches, and only there.

    .. math::
        \sum_{y: n_y \ge 2} \frac{n_y}{|I|} \log\Big(n_y - 1 + (b - n_y) e^{-\frac{K}{(K - 1) \tau}}\Big)

    **Balanced** batches (all :math:`n_y` equal to m): no embeddings have a smaller loss, and the regular simplex with
    collapsed classes attains it (Graf et al. specialised to one batch; the proof is ours: the mean over the classes of
    mean repulsion minus mean attraction is at least :math:`-K / ((K - 1) \tau)`, because
    :math:`\|\sum_i z_i\|^2 \ge 0` and no sum of m unit vectors is longer than m).

    **Unbalanced** batches: it is *no* bound. With 7, 1 and 1 samples at :math:`\tau = 1` it is 1.8635, and both
    singletons opposite to the seven have the loss 1.8359. The theorem of the paper speaks of the sum over all batches,
    :func:`supcon_total_floor`; for one batch use :func:`supcon_antipodal_floor`, :func:`supcon_statistics_floor` or
    the exact :func:`~pml_proxyext.geometry.supcon_batch_minimum`.

    Args:
        counts: numbers of samples of the classes; zeros are left out. K counts the others.
        temperature: :math:`\tau > 0`.

    Shapes:
        ``temperature`` may be a tensor of any shape -> that shape, float64, with its graph. Without a class of two
        samples the result is 0, PML's loss of such a batch.

    Raises:
        ValueError: for counts that are negative, not integers or all zero, and a temperature that is not positive.

    Departs from the paper or the release:
        the mean over the anchors that have a positive, instead of the sum over all anchors.

    Reference:
        Graf, Hofer, Niethammer, Kwitt, "Dissecting Supervised Contrastive Learning", ICML 2021, arXiv:2102.08817.

    Example:
        >>> supcon_simplex_floor([4, 4, 4], temperature=1.0)
        tensor(1.5655, dtype=torch.float64)
    """
    present = class_counts(counts)
    num_classes = len(present)
    distance = num_classes / (num_classes - 1) if num_classes > 1 else 0.0  # 1 - cos; one class has no negatives
    return _mean_over_anchors(present, -distance / quantity("temperature", temperature, positive=True)[..., None])


def supcon_antipodal_floor(counts: Sequence[int] | Tensor, temperature: float | Tensor) -> Tensor:
    r"""Return a floor for any batch: that of negatives exactly opposite to their anchor.

    .. math::
        \sum_{y: n_y \ge 2} \frac{n_y}{|I|} \log\Big(n_y - 1 + (b - n_y) e^{-2 / \tau}\Big) \le L

    Ours: two cosines differ by 2 at most. Attained for two classes, and for batches in which a single class has two
    or more samples: all others go to the opposite pole, in one dimension already. Elsewhere the bound is strict, and
    :func:`~pml_proxyext.geometry.supcon_batch_minimum` is the exact one.

    Args:
        counts: numbers of samples of the classes; zeros are left out.
        temperature: :math:`\tau > 0`.

    Shapes:
        ``temperature`` may be a tensor of any shape -> that shape, float64, with its graph. Without a class of two
        samples the result is 0, PML's loss of such a batch.

    Raises:
        ValueError: for counts that are negative, not integers or all zero, and a temperature that is not positive.

    Departs from the paper or the release:
        not in the paper, whose theorem does not speak of single batches.

    Reference:
        Graf, Hofer, Niethammer, Kwitt, "Dissecting Supervised Contrastive Learning", ICML 2021, arXiv:2102.08817.

    Example:
        >>> supcon_antipodal_floor([7, 1, 1], temperature=1.0)  # log(6 + 2 exp(-2))
        tensor(1.8359, dtype=torch.float64)
    """
    return _mean_over_anchors(class_counts(counts), -2 / quantity("temperature", temperature, positive=True)[..., None])


def supcon_statistics_floor(embeddings: Tensor, labels: Tensor, temperature: float | Tensor) -> Tensor:
    r"""Return a floor of any batch from its mean similarities within and between classes.

    .. math::
        \sum_{y: n_y \ge 2} \frac{n_y}{|I|} \log\Big(n_y - 1 + (b - n_y) e^{S_{rep}(y) - S_{att}(y)}\Big) \le L

    :math:`S_{att}(y)` and :math:`S_{rep}(y)` are the means of :math:`s_{ij} / \tau` over the anchors i of class y and
    their positives or their negatives j. Jensen over positives, negatives and anchors (a lemma of the supplement of
    Graf et al. by memory, re-derived). Attained if each of the three kinds of numbers is constant within its class, as
    it is for collapsed classes on a simplex. It costs sums over classes, no matrix of pairs.

    Args:
        embeddings: ``(N, D)``; they are normalised here.
        labels: ``(N,)`` integers, any values.
        temperature: :math:`\tau > 0`.

    Shapes:
        -> a scalar in float64 with the graph of embeddings and temperature; 0 without a class of two samples.

    Raises:
        ValueError: for inputs of other shapes or dtypes, an empty batch, and a temperature that is not positive.

    Departs from the paper or the release:
        the mean over the anchors that have a positive, instead of the sum over all anchors.

    Reference:
        Graf, Hofer, Niethammer, Kwitt, "Dissecting Supervised Contrastive Learning", ICML 2021, arXiv:2102.08817.

    Example:
        >>> supcon_statistics_floor(torch.tensor([[1.0], [1.0], [-1.0]]), torch.tensor([0, 0, 1]), temperature=1.0)
        tensor(0.1269, dtype=torch.float64)
    """
    directions = normalize(check_embeddings(embeddings).double())
    if labels.shape != (len(directions),) or len(directions) == 0:
        raise ValueError(f"labels must have shape ({len(directions)},), at least one, got {tuple(labels.shape)}")
    classes, index = torch.unique(check_labels(labels).to(directions.device), return_inverse=True)
    counts = torch.bincount(index, minlength=len(classes)).double()
    sums = directions.new_zeros(len(classes), directions.shape[1]).index_add(0, index, directions)
    squares = directions.new_zeros(len(classes)).index_add(0, index, directions.square().sum(1))
    paired = counts >= 2
    own, anchors = sums[paired], counts[paired]
    within = (own.square().sum(1) - squares[paired]) / (anchors * (anchors - 1))
    # One class alone has no negatives; their number, zero, then takes the mean out again.
    between = (own * (sums.sum(0) - own)).sum(1) / (anchors * (counts.sum() - anchors).clamp_min(1))
    return _mean_over_anchors(counts, (between - within) / quantity("temperature", temperature, positive=True))


def supcon_total_floor(num_classes: int, per_class: int, batch_size: int, temperature: float | Tensor) -> Tensor:
    r"""Return the floor of the loss summed over all batches of a balanced data set, with repetition.

    .. math::
        \sum_{l=2}^{b} l\, K\, \Big(\!\binom{n}{l}\!\Big) \Big(\!\binom{n (K - 1)}{b - l}\!\Big)
        \log\Big(l - 1 + (b - l) e^{-\frac{K}{(K - 1) \tau}}\Big) \le \sum_B \sum_{i \in B} L_i,
        \qquad \Big(\!\binom{n}{k}\!\Big) = \binom{n + k - 1}{k}

    The right side runs over all multisets B of b samples and over their anchors that have a positive in B; a sample
    may be its own positive by being drawn twice. This is the theorem of Graf et al. (as in the authors' notebook):
    attained by collapsed classes on a regular simplex, although single batches can lie below the simplex.

    Args:
        num_classes: :math:`K \ge 2`.
        per_class: :math:`n \ge 1` samples in each class.
        batch_size: :math:`b \ge 2`.
        temperature: :math:`\tau > 0`.

    Shapes:
        ``temperature`` may be a tensor of any shape -> that shape, float64, with its graph.

    Raises:
        ValueError: for numbers below those limits, and for so many batches that float64 cannot count them.

    Departs from the paper or the release:
        nothing known.

    Reference:
        Graf, Hofer, Niethammer, Kwitt, "Dissecting Supervised Contrastive Learning", ICML 2021, arXiv:2102.08817;
        code: plus-rkwitt/py_supcon_vs_ce.

    Example:
        >>> supcon_total_floor(3, 2, 4, temperature=1.0)
        tensor(247.3773, dtype=torch.float64)
    """
    check_integer("num_classes", num_classes, low=2)
    check_integer("per_class", per_class)
    check_integer("batch_size", batch_size, low=2)
    inverse = 1 / quantity("temperature", temperature, positive=True)[..., None]
    sizes = range(2, batch_size + 1)
    try:
        anchors = [float(size * num_classes * _batches(num_classes, per_class, batch_size, size)) for size in sizes]
    except OverflowError as error:
        raise ValueError(f"batch_size and per_class give too many batches, got {batch_size}, {per_class}") from error
    terms = _log_ratio(
        torch.arange(2, batch_size + 1, dtype=torch.float64, device=inverse.device),
        float(batch_size),
        -num_classes / (num_classes - 1) * inverse,
    )
    return (terms * terms.new_tensor(anchors)).sum(-1)


def _batches(num_classes: int, per_class: int, batch_size: int, size: int) -> int:
    """Return the number of multisets in which ``size`` of the samples belong to one given class."""
    others = batch_size - size
    return math.comb(per_class + size - 1, size) * math.comb(per_class * (num_classes - 1) + others - 1, others)
