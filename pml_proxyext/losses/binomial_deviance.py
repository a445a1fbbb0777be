r"""The log(1 + sum exp) objective that Proxy Anchor and its relatives build on similarities to proxies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pml_proxyext.losses.class_slices import OwnClass
from pml_proxyext.utils.checks import check_choice, check_number
from pml_proxyext.utils.precision import log1p_exp

__all__ = ["BinomialDeviance"]


@dataclass(frozen=True)
class BinomialDeviance:
    r"""Pull samples towards their own proxy and push them from all others, the hardest of a group most.

    With :math:`\mathrm{LSE}_0(x) = \log(1 + \sum_k e^{x_k})`, over the samples :math:`i` of one proxy :math:`c`
    (``over="samples"``):

    .. math::
        \frac{1}{Z} \sum_c \mathrm{LSE}_0\big\{-\alpha (s_{ic} - \delta^+) : y_i = c\big\}
        + \frac{1}{C} \sum_c \mathrm{LSE}_0\big\{\alpha (s_{ic} - \delta^-) : y_i \ne c\big\}

    or over the proxies of one sample (``over="proxies"``), each side then being a mean over the samples.

    Args:
        alpha: the scale :math:`\alpha > 0`.
        positive_margin: :math:`\delta^+`.
        negative_margin: :math:`\delta^-`.
        positives: what the positive side averages over: the classes ``"present"`` in the batch (Proxy Anchor), its
            ``"samples"`` (a class then counts once for each of its samples, as in the releases of NIR and nivMF), or
            all ``"classes"``, absent ones counting as zero.
        over: ``"samples"`` or ``"proxies"``. Over proxies a sample has one positive, which ``positives="samples"``
            counts once for each sample of its class in the batch.

    Called with similarities ``(N, C)``, labels ``(N,)`` and weights ``(N,)`` in [0, 1], it returns one loss per sample,
    whose mean over the batch is the value above. A weight :math:`w` enters the exponents as :math:`w - 1`, as in PML.
    A term that belongs to a proxy is shared among its samples in proportion to their part in the sum, so that class
    weights and other reductions per sample find the samples that caused it.

    Example:
        >>> objective = BinomialDeviance(alpha=32.0, positive_margin=0.1, negative_margin=-0.1)
        >>> objective(torch.eye(3), torch.arange(3), torch.ones(3)).shape
        torch.Size([3])
    """

    alpha: float
    positive_margin: float
    negative_margin: float
    positives: Literal["present", "samples", "classes"] = "present"
    over: Literal["samples", "proxies"] = "samples"

    def __post_init__(self) -> None:
        check_number("alpha", self.alpha, low=0.0, open_low=True)
        check_number("positive_margin", self.positive_margin)
        check_number("negative_margin", self.negative_margin)
        check_choice("positives", self.positives, ["present", "samples", "classes"])
        check_choice("over", self.over, ["samples", "proxies"])

    def __call__(self, similarities: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        num_classes = similarities.shape[1]
        whole = OwnClass.of(labels, first=0, width=num_classes)
        return self.of_all(*self.of_slice(similarities, whole, weights, num_classes), labels, weights, num_classes)

    @property
    def reduction(self) -> Literal["logsumexp", "sum"]:
        """How the negative sides of slices of the classes are joined."""
        return "sum" if self.over == "samples" else "logsumexp"

    def of_slice(self, similarities: Tensor, own: OwnClass, weights: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """Return the negative side of a slice of the classes and the own similarities, ``(N,)`` each."""
        push = self.alpha * (similarities - self.negative_margin) + (weights - 1)[:, None]
        push = own.replace(push, torch.finfo(push.dtype).min)  # (N, slice)
        if self.over == "proxies":
            return push.logsumexp(1), own.pick(similarities)
        column = push.logsumexp(0)  # (slice,)
        share = (push - column).exp().detach()  # (N, slice), columns sum to one
        return share @ log1p_exp(column) * (len(weights) / num_classes), own.pick(similarities)

    def of_all(self, reduced: Tensor, own: Tensor, labels: Tensor, weights: Tensor, num_classes: int) -> Tensor:
        """Return the losses ``(N,)`` from the negative side and the own similarities."""
        pull = -self.alpha * (own - self.positive_margin) + (weights - 1)  # (N,)
        same_class = labels[:, None] == labels[None, :]  # (N, N)
        class_count = same_class.sum(1).to(own.dtype)  # (N,)
        if self.over == "proxies":
            repeats = class_count.log() if self.positives == "samples" else 0.0
            return log1p_exp(pull + repeats) + log1p_exp(reduced)
        lowest = torch.finfo(own.dtype).min
        positive = log1p_exp(pull[None, :].masked_fill(~same_class, lowest).logsumexp(1))  # (N,), of its class
        return positive * self._positive_scale(class_count, num_classes) + reduced

    def _positive_scale(self, class_count: Tensor, num_classes: int) -> Tensor | float:
        """Return the factor that turns the mean over samples of a class's term into a mean over classes."""
        if self.positives == "samples":
            return 1.0
        classes = class_count.reciprocal().sum() if self.positives == "present" else num_classes
        return len(class_count) / (class_count * classes)
