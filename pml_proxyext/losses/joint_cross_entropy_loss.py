r"""The loss of direct binary embedding: several labels per sample, told together and one by one."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pytorch_metric_learning.distances import BaseDistance, DotProductSimilarity
from pytorch_metric_learning.utils import common_functions as c_f
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from torch import Tensor
from torch.nn.functional import one_hot

from pml_proxyext.losses.proxy_loss import ProxyLoss, check_proxy_batch, element_loss
from pml_proxyext.utils.checks import check_embeddings, check_multi_hot, check_number, check_rows
from pml_proxyext.utils.precision import accumulation_dtype, log1p_exp

__all__ = ["JointCrossEntropyLoss"]


class JointCrossEntropyLoss(ProxyLoss):
    r"""Softmax cross-entropy plus weighted binary cross-entropy of a linear classifier, for samples of several labels.

    With logits :math:`\ell = z W^\top`, targets :math:`Y \in \{0, 1\}^{N \times C}` and :math:`c_i = \sum_c Y_{ic}`,

    .. math::
        L = -\frac1N \sum_i \sum_c \frac{Y_{ic}}{c_i} \log \mathrm{softmax}(\ell_i)_c
            + \frac{\nu}{N} \sum_i \sum_c \Big[\rho\, Y_{ic} \log(1 + e^{-\ell_{ic}})
            + (1 - Y_{ic}) \log(1 + e^{\ell_{ic}})\Big] .

    The first part lets labels compete, the second asks for each of them alone. A sample without any label has only the
    second. In DCVH :math:`z` is the output of a :class:`~pml_proxyext.models.DBELayer`, and there is such a loss for
    each view; one loss for both views is a classifier they share, and a strong baseline.

    Args:
        num_classes: number of labels :math:`C`.
        embedding_size: width :math:`D` of the embeddings; for codes, the number of bits.
        nu: :math:`\nu \ge 0`, weight of the binary part, which is a sum over classes. None, the default, for
            :math:`1 / C`; 0 for plain softmax cross-entropy. Ours: the paper's weight is not known to us.
        rho: :math:`\rho \ge 0`; above 1 it makes up for labels that are rare. Ours: 1.
        **kwargs: see :class:`~pml_proxyext.losses.proxy_loss.ProxyLoss`. The default ``weight_init_func`` is torch's
            for linear layers, the default ``distance`` the plain dot product. The rows of :math:`W` are ``proxies``.

    Shapes:
        embeddings ``(N, D)`` floating point; labels either multi-hot, ``(N, C)`` of zeros and ones in any dtype, or
        integers ``(N,)`` in ``[0, C)`` for one label each -> a scalar, in float32 for half precision.

    Raises:
        ValueError: for invalid hyper-parameters, embeddings or labels (a compiled graph does not look at the values of
            labels), and for ``ref_emb``.

    Requires an optimizer:
        ``param_groups(lr)`` trains the classifier at the learning rate of the network.

    Reducer input:
        **loss**: one value per sample, type ``"element"``. Default reducer: mean. Tuples weight the samples. Reducers
        that weight classes need labels of shape ``(N,)``.

    Relations:
        - Both parts are at least 0, and the first is at least the mean of :math:`\log c_i`, the entropy of its targets.
        - With one label each and ``nu=0`` it is :func:`torch.nn.functional.cross_entropy`.

    Departs from the paper or the release:
        no release is known, and of the papers only abstracts and an introduction were at hand. They name the two parts
        and what each is for; the formula is a reconstruction from memory, and both weights' values are ours.

    Reference:
        Liu, Rahimpour, Taalimi, Qi, "End-to-end Binary Representation Learning via Direct Binary Embedding", ICIP 2017,
        arXiv:1703.04960; Liu, Qi, "Discriminative Cross-View Hashing", WACV 2018, arXiv:1804.01233.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> loss_func = JointCrossEntropyLoss(num_classes=3, embedding_size=16)
        >>> loss_func(torch.rand(2, 16), torch.tensor([[1, 0, 1], [0, 1, 0]])).shape
        torch.Size([])
        >>> loss_func(torch.rand(2, 16), torch.tensor([2, 1])).shape
        torch.Size([])
    """

    lr_multipliers: ClassVar[dict[str, float]] = {"proxies": 1.0}

    def __init__(
        self, num_classes: int, embedding_size: int, nu: float | None = None, rho: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(num_classes, embedding_size, **kwargs)
        self.nu = check_number("nu", 1 / num_classes if nu is None else nu, low=0.0)
        self.rho = check_number("rho", rho, low=0.0)
        self.add_to_recordable_attributes(list_of_names=["nu", "rho"])

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        multi_hot = None
        if labels is not None and labels.ndim == 2:
            # PML refuses labels with columns. Of what it is given, it hands on nothing else unseen but indices_tuple.
            multi_hot, labels = check_rows(check_multi_hot(labels, self.num_classes), embeddings, "labels"), None
        return super().forward(embeddings, labels, (multi_hot, indices_tuple), ref_emb, ref_labels)

    def compute_loss(
        self, embeddings: Tensor, labels: Any, indices_tuple: Any, ref_emb: Tensor, ref_labels: Any
    ) -> dict[str, dict[str, Any]]:
        multi_hot, indices_tuple = indices_tuple
        if multi_hot is None:
            sizes = self.num_classes, self.embedding_size
            multi_hot = one_hot(check_proxy_batch(embeddings, labels, ref_emb, ref_labels, *sizes), self.num_classes)
        else:
            c_f.ref_not_supported(embeddings, labels, ref_emb, ref_labels)
            check_embeddings(embeddings, self.embedding_size)
        if len(embeddings) == 0:
            return self.zero_losses()
        targets = multi_hot.to(embeddings.device, accumulation_dtype(embeddings.dtype))
        weights = lmu.convert_to_weights(indices_tuple, targets, dtype=targets.dtype)
        losses = {"loss": element_loss(self.sample_losses(embeddings, targets, weights))}
        self.add_weight_regularization_to_loss_dict(losses, self.proxies)
        return losses

    def sample_losses(self, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Return one loss per sample, ``(N,)``; ``labels`` are multi-hot here."""
        logits = self.get_logits(embeddings)
        shares = labels / labels.sum(1, keepdim=True).clamp_min(1)
        together = -(shares * logits.log_softmax(1)).sum(1)
        alone = (self.rho * labels * log1p_exp(-logits) + (1 - labels) * log1p_exp(logits)).sum(1)
        return (together + self.nu * alone) * weights

    def get_default_distance(self) -> BaseDistance:
        return DotProductSimilarity(normalize_embeddings=False)

    def get_default_weight_init_func(self) -> c_f.TorchInitWrapper:
        return c_f.TorchInitWrapper(torch.nn.init.kaiming_uniform_, a=5**0.5)
