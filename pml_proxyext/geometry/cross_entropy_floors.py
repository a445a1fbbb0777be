r"""How low the cross-entropy of a linear classifier can go, given the sizes of the embeddings and of the weights.

Throughout, :math:`\rho` bounds the norms of the embeddings, the classifier's logits are :math:`W z`, and its K classes
are the rows of :math:`W`. The floors rest on two Jensen inequalities, over the wrong classes and over the samples, and
on one of Cauchy and Schwarz. They hold in every dimension; only a simplex attains them, which takes K - 1 coordinates.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pml_proxyext.geometry.quantities import quantity
from pml_proxyext.utils.checks import check_integer
from pml_proxyext.utils.precision import log1p_exp

__all__ = [
    "cross_entropy_floor",
    "cross_entropy_floor_row_norm",
    "cross_entropy_floor_weight_decay",
    "normalized_softmax_floor",
]

_NEWTON_STEPS = 7  # reach rounding for up to a billion classes and over all of float64


def cross_entropy_floor(radius: float | Tensor, weight_norm: float | Tensor, label_frequencies: Tensor) -> Tensor:
    r"""Return what no mean cross-entropy falls below, whatever the histogram of the labels.

    .. math::
        \log\Big(1 + (K - 1) \exp\Big({-\rho} \frac{K}{K - 1} \|\pi\|_2 \|W\|_F\Big)\Big) \le \mathrm{CE}

    Balanced labels, :math:`\pi_y = 1 / K`, give the theorem of Graf et al. (number from memory, re-derived); the form
    for any :math:`\pi` is ours. It needs a classifier without bias, unless the labels are balanced: then a bias
    changes nothing.

    Attained if the labels are balanced, all embeddings of a class are one vertex of a regular simplex of radius
    :math:`\rho`, and the rows of :math:`W` are a positive multiple of the vertices. For other :math:`\pi` the bound is
    strict.

    Args:
        radius: :math:`\rho \ge 0`, at least the largest norm of an embedding.
        weight_norm: :math:`\|W\|_F \ge 0` or an upper bound of it.
        label_frequencies: ``(K,)`` with one entry for each row of :math:`W`, :math:`K \ge 2`: frequencies or counts
            of the labels (they are divided by their sum), zero for a class that is absent.

    Shapes:
        ``radius`` and ``weight_norm`` may be tensors that broadcast -> their common shape, float64, with their graph.

    Raises:
        ValueError: for negative arguments, and frequencies that are not a vector of two or more with a positive sum.

    Departs from the paper or the release:
        any label histogram instead of a balanced one; of the norms only upper bounds are asked for.

    Reference:
        Graf, Hofer, Niethammer, Kwitt, "Dissecting Supervised Contrastive Learning", ICML 2021, arXiv:2102.08817.

    Example:
        >>> cross_entropy_floor(1.0, 2.0, torch.tensor([5, 5, 5]))
        tensor(0.3029, dtype=torch.float64)
    """
    frequencies = quantity("label_frequencies", label_frequencies)
    if frequencies.ndim != 1 or len(frequencies) < 2 or bool(frequencies.sum() == 0):
        raise ValueError(
            "label_frequencies must be a vector of two or more numbers with a positive sum, "
            f"got shape {tuple(frequencies.shape)} and sum {frequencies.sum().item():g}"
        )
    spread = torch.linalg.vector_norm(frequencies / frequencies.sum())
    num_classes = len(frequencies)
    size = quantity("radius", radius) * quantity("weight_norm", weight_norm)
    return log1p_exp(math.log(num_classes - 1) - num_classes / (num_classes - 1) * spread * size)


def cross_entropy_floor_row_norm(radius: float | Tensor, row_norm: float | Tensor, num_classes: int) -> Tensor:
    r"""Return the floor on balanced labels when each row of the classifier has at most a given norm.

    .. math::
        \log\Big(1 + (K - 1) \exp\Big({-\frac{K}{K - 1}} \rho\, r_W\Big)\Big) \le \mathrm{CE},
        \qquad \|w_y\| \le r_W

    It is :func:`cross_entropy_floor` with :math:`\|W\|_F \le \sqrt K r_W`, attained by the same simplex (corollary of
    Graf et al., number from memory, re-derived).

    Args:
        radius: :math:`\rho \ge 0`, at least the largest norm of an embedding.
        row_norm: :math:`r_W \ge 0`, at least the largest norm of a row.
        num_classes: :math:`K \ge 2`, the number of rows; the labels must be balanced over all of them.

    Shapes:
        ``radius`` and ``row_norm`` may be tensors that broadcast -> their common shape, float64, with their graph.

    Raises:
        ValueError: for negative norms and fewer than two classes.

    Departs from the paper or the release:
        nothing known.

    Reference:
        Graf, Hofer, Niethammer, Kwitt, "Dissecting Supervised Contrastive Learning", ICML 2021, arXiv:2102.08817.

    Example:
        >>> cross_entropy_floor_row_norm(2.0, 1.0, num_classes=3)  # log(1 + 2 exp(-3))
        tensor(0.0949, dtype=torch.float64)
    """
    check_integer("num_classes", num_classes, low=2)
    size = quantity("radius", radius) * quantity("row_norm", row_norm)
    return log1p_exp(math.log(num_classes - 1) - num_classes / (num_classes - 1) * size)


def normalized_softmax_floor(num_classes: int, temperature: float | Tensor) -> Tensor:
    r"""Return the floor of a softmax over the cosines to one proxy per class, on balanced labels.

    .. math::
        \log\Big(1 + (C - 1) \exp\Big({-\frac{C}{(C - 1) \tau}}\Big)\Big) \le L

    It is :func:`cross_entropy_floor_row_norm` with :math:`\rho = 1 / \tau` and :math:`r_W = 1`, the floor of PML's
    ``NormalizedSoftmaxLoss``. The labels must be balanced over *all* C proxies, not only over those in the batch.
    Attained if proxies and embeddings sit together on the vertices of a regular simplex.

    Args:
        num_classes: :math:`C \ge 2`.
        temperature: :math:`\tau > 0`.

    Shapes:
        ``temperature`` may be a tensor -> its shape, float64, with its graph.

    Raises:
        ValueError: for fewer than two classes and a temperature that is not positive.

    Departs from the paper or the release:
        the paper has no temperature in the cross-entropy; it enters as a radius.

    Reference:
        Graf, Hofer, Niethammer, Kwitt, "Dissecting Supervised Contrastive Learning", ICML 2021, arXiv:2102.08817.

    Example:
        >>> normalized_softmax_floor(3, 0.5)  # log(1 + 2 exp(-3))
        tensor(0.0949, dtype=torch.float64)
    """
    return cross_entropy_floor_row_norm(1 / quantity("temperature", temperature, positive=True), 1.0, num_classes)


def cross_entropy_floor_weight_decay(radius: float | Tensor, num_classes: int, weight_decay: float | Tensor) -> Tensor:
    r"""Return what cross-entropy plus weight decay cannot fall below on balanced labels, for any classifier.

    .. math::
        \min_{r \ge 0}\; \log\Big(1 + (K - 1) e^{-\frac{K}{K - 1} \rho r}\Big) + \lambda K r^2
        \;\le\; \mathrm{CE} + \lambda \|W\|_F^2

    :func:`cross_entropy_floor` with :math:`r = \|W\|_F / \sqrt K`, minimised over :math:`r` (Graf et al., number from
    memory, re-derived). The minimand is convex; its minimiser is found to rounding by Newton's method on the logarithm
    of :math:`r`, where the iteration is monotone, for any :math:`\rho` and :math:`\lambda` that float64 can hold.

    Attained by the simplex of :func:`cross_entropy_floor` with the rows of :math:`W` at the minimising norm.

    Args:
        radius: :math:`\rho \ge 0`, at least the largest norm of an embedding.
        num_classes: :math:`K \ge 2`, the number of rows; the labels must be balanced over all of them.
        weight_decay: :math:`\lambda > 0`. The ``weight_decay`` of torch's SGD is :math:`2 \lambda`.

    Shapes:
        ``radius`` and ``weight_decay`` may be tensors that broadcast -> their common shape, float64, with their graph.

    Raises:
        ValueError: for a negative radius, fewer than two classes, and a weight decay that is not positive.

    Departs from the paper or the release:
        nothing known.

    Reference:
        Graf, Hofer, Niethammer, Kwitt, "Dissecting Supervised Contrastive Learning", ICML 2021, arXiv:2102.08817.

    Example:
        >>> cross_entropy_floor_weight_decay(1.0, 2, weight_decay=1e9)  # log(2): weights cost too much
        tensor(0.6931, dtype=torch.float64)
    """
    check_integer("num_classes", num_classes, low=2)
    shift = math.log(num_classes - 1)
    tiny = torch.finfo(torch.float64).tiny  # a radius of zero gives the value and slope of one too small to matter
    log_radius = torch.log(quantity("radius", radius).clamp_min(tiny))
    log_decay = torch.log(quantity("weight_decay", weight_decay, positive=True))
    # In x = K / (K - 1) rho r the minimand is log(1 + e^(shift - x)) + mu x^2.
    log_mu = log_decay + 2 * shift - math.log(num_classes) - 2 * log_radius
    log_x = _log_minimizer(shift, log_mu)
    return log1p_exp(shift - torch.exp(log_x)) + torch.exp(log_mu + 2 * log_x)


def _log_minimizer(shift: float, log_mu: Tensor) -> Tensor:
    r"""Return the u at which :math:`\log \sigma(c - e^u) - \log 2\mu - u`, concave and falling, is zero.

    Newton's method goes down to the root of such a function without ever passing it, from any start to the right.
    """

    def step(log_x: Tensor) -> Tensor:
        x = torch.exp(log_x)
        value = logsigmoid(shift - x) - log_2mu - log_x
        return log_x + value / (1 + x * torch.sigmoid(x - shift))

    log_2mu = log_mu + math.log(2)
    with torch.no_grad():
        # Right of the root, for sigma(t) is below both 1 and e^t.
        log_x = torch.minimum(-log_2mu, torch.log((shift - log_2mu).clamp_min(1.0)))
        for _ in range(_NEWTON_STEPS):
            log_x = step(log_x)
    return step(log_x)  # outside no_grad: this step carries the derivative of the root, for derivatives of any use
