r"""Proxy Anchor, with the two relatives of it that the releases of NIR and nivMF compute."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pytorch_metric_learning.utils import common_functions as c_f
from torch import Tensor

from pml_proxyext.losses.binomial_deviance import BinomialDeviance
from pml_proxyext.losses.proxy_loss import ProxyLoss
from pml_proxyext.utils.checks import check_choice, check_number

__all__ = ["ProxyAnchorLoss", "ProxyAnchorVariant"]

ProxyAnchorVariant = Literal["class", "sample", "nca"]


class ProxyAnchorLoss(ProxyLoss):
    r"""Proxy Anchor: each proxy attracts its own class and repels all others, hard samples most.

    .. math::
        L = \frac{1}{|P^+|} \sum_{c \in P^+} \log\Big(1 + \sum_{i: y_i = c} e^{-\alpha (s(e_i, p_c) - \delta)}\Big)
          + \frac{1}{C} \sum_{c=1}^{C} \log\Big(1 + \sum_{i: y_i \ne c} e^{\alpha (s(e_i, p_c) + \delta)}\Big)

    with :math:`P^+` the classes present in the batch and :math:`s` the cosine. It has the value and the gradients of
    PML's class of the same name; beyond it, each loss belongs to a sample of the batch (so class weights work),
    parameters keep their dtype, odd labels are refused, and it compiles without graph breaks.

    Args:
        num_classes: number of training classes :math:`C`; labels must lie in ``[0, C)``.
        embedding_size: width :math:`D` of the embeddings.
        margin: :math:`\delta` (0.1 in the paper, Section 4.2).
        alpha: :math:`\alpha > 0` (32 in the paper, Section 4.2).
        variant: ``"class"`` as above. ``"sample"``: the positive term is averaged over the samples instead of the
            classes present, as in the releases of NIR and nivMF (equal when all counts are). ``"nca"``: both sums run
            over the proxies of one sample instead of the samples of one proxy, as those releases do for "ProxyNCA".
        **kwargs: see :class:`~pml_proxyext.losses.proxy_loss.ProxyLoss`.

    Shapes:
        embeddings ``(N, D)`` floating point, labels ``(N,)`` integers -> a scalar, in float32 for half precision.

    Raises:
        ValueError: for invalid hyper-parameters, labels or embeddings.

    Requires an optimizer:
        ``param_groups(lr)`` gives the proxies 100 times the learning rate of the network, as the authors' code does.

    Reducer input:
        **loss**: one value per sample, type ``"element"``. Default reducer: mean.

    Departs from the paper or the release:
        nothing for ``variant="class"``; the other two are what the releases of NIR and nivMF compute.

    Reference:
        Kim, Kim, Cho, Kwak, "Proxy Anchor Loss for Deep Metric Learning", CVPR 2020, arXiv:2003.13911.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> loss_func = ProxyAnchorLoss(num_classes=3, embedding_size=4)
        >>> loss_func(torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2])).shape
        torch.Size([])
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.1,
        alpha: float = 32.0,
        variant: ProxyAnchorVariant = "class",
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, embedding_size, **kwargs)
        self.margin = check_number("margin", margin)
        self.alpha = check_number("alpha", alpha, low=0.0, open_low=True)
        self.variant = check_choice("variant", variant, ["class", "sample", "nca"])
        self.objective = BinomialDeviance(
            self.alpha,
            positive_margin=self.margin,
            negative_margin=-self.margin,
            positives="present" if variant == "class" else "samples",
            over="proxies" if variant == "nca" else "samples",
        )
        self.add_to_recordable_attributes(list_of_names=["margin", "alpha"])

    def sample_losses(self, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        return self.objective(self.get_logits(embeddings), labels, weights)

    def get_default_weight_init_func(self) -> c_f.TorchInitWrapper:
        return c_f.TorchInitWrapper(torch.nn.init.kaiming_normal_, mode="fan_out")

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, variant={self.variant}"
