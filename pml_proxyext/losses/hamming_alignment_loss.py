r"""Alignment of two views of binary codes by their expected Hamming distance."""

from __future__ import annotations

from typing import Any

from pytorch_metric_learning.distances import BaseDistance
from pytorch_metric_learning.utils import common_functions as c_f
from torch import Tensor

from pml_proxyext.distances import SoftHammingDistance
from pml_proxyext.distances.soft_hamming_distance import soft_hamming
from pml_proxyext.losses.cross_modal_samples import check_same_ids
from pml_proxyext.losses.proxy_loss import element_loss
from pml_proxyext.losses.two_view_loss import TwoViewLoss
from pml_proxyext.utils.checks import check_unit_interval

__all__ = ["HammingAlignmentLoss"]


class HammingAlignmentLoss(TwoViewLoss):
    r"""Draw the codes of partners in two views together, bit by bit.

    .. math::
        L = \frac1N \sum_{i=1}^{N} \frac{1}{|P_i|} \sum_{j \in P_i} \frac1K \sum_{k=1}^{K} \mathrm{xor}(a_{ik}, b_{jk}),
        \qquad \mathrm{xor}(x, y) = x (1 - y) + (1 - x) y

    with :math:`a_i, b_i` the codes of sample i in both views, in [0, 1], and :math:`P_i` the rows of the second view
    that have the label of row i. Without repeated labels that is row i alone. On bits the loss is the mean Hamming
    distance of partners over :math:`K`; in between, see :class:`~pml_proxyext.distances.SoftHammingDistance`. The
    gradient for :math:`a_{ik}` is :math:`(1 - 2 b_{ik}) / (N K)`: a bit is pushed to where its partner leans, and so
    out of the middle.

    The loss has no negatives, and codes that are all zero cost nothing. Something else has to keep codes apart, as
    :class:`~pml_proxyext.losses.JointCrossEntropyLoss` does:

    .. math:: L_{\mathrm{DCVH}} = L_{\mathrm{JCE}}(a) + L_{\mathrm{JCE}}(b) + \lambda L

    Args:
        **kwargs: ``reducer``, ``embedding_regularizer`` and its weight. A ``distance`` is not supported.

    Shapes:
        embeddings, ref_emb ``(N, K)`` with values in [0, 1], row i of both one sample; labels ``(N,)`` integers, the
        instance ids, all different if not given -> a scalar, in float32 for half precision. With class labels in their
        place every sample is aligned to the mean code of its class.

    Raises:
        ValueError: for values outside [0, 1] (a compiled graph does not look), rows or widths that do not fit, a
            missing second view, labels of the second view that are not those of the first, and for ``indices_tuple``
            and ``distance``.

    Recommendations:
        :math:`\lambda` of 1 to 4. The paper's is not known to us; much larger ones empty the codes.

    Reducer input:
        **loss**: one value per row, type ``"element"``. Default reducer: mean.

    Relations:
        - It lies in [0, 1], and is 0 only where all partners have the same binary code.
        - The mean Hamming distance of binarized partners over :math:`K` is at most :math:`2 L`.
        - It is linear in each view, and flipping or permuting bits in both views changes nothing.

    Departs from the paper or the release:
        no release is known, and of the paper only abstract and introduction were at hand. That alignment is an xor is
        said there; the polynomial, the mean over bits and :math:`\lambda` are a reconstruction. Several partners are
        ours.

    Reference:
        Liu, Qi, "Discriminative Cross-View Hashing", WACV 2018, arXiv:1804.01233.

    Example:
        >>> import torch
        >>> image_codes = torch.tensor([[0.0, 0.9, 0.5, 0.0], [1.0, 0.0, 0.0, 1.0]])
        >>> text_codes = torch.tensor([[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0]])
        >>> HammingAlignmentLoss()(image_codes, ref_emb=text_codes)
        tensor(0.0750)
    """

    def __init__(self, **kwargs: Any) -> None:
        if "distance" in kwargs:
            raise ValueError("distance is not supported: the loss is the mean of one distance, SoftHammingDistance")
        super().__init__(**kwargs)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        c_f.indices_tuple_not_supported(indices_tuple)
        check_same_ids(labels, ref_labels)
        return super().forward(embeddings, labels, None, ref_emb, ref_labels)

    def pair_losses(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: Any,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> dict[str, dict[str, Any]]:
        check_unit_interval(embeddings)
        partners = check_unit_interval(ref_emb, "ref_emb")
        if labels is not None:
            # The distance is linear: its mean over partners is the distance from their mean, without a pair of rows.
            same = (labels[:, None] == labels).to(ref_emb)
            partners = same @ ref_emb / same.sum(1, keepdim=True)
        return {"loss": element_loss(soft_hamming(embeddings, partners))}

    def get_default_distance(self) -> BaseDistance:
        return SoftHammingDistance()
