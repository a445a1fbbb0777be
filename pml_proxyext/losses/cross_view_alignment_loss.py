r"""Alignment of the latents of two views: by pairs, or of their distributions."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

from pytorch_metric_learning.utils import common_functions as c_f
from torch import Tensor

from pml_proxyext.losses.alignment_terms import covariance_gap, kernel_gap, mean_gap, paired_gaps
from pml_proxyext.losses.cross_modal_samples import check_same_ids
from pml_proxyext.losses.proxy_loss import element_loss
from pml_proxyext.losses.two_view_loss import TwoViewLoss
from pml_proxyext.utils.checks import check_choice, check_number

__all__ = ["AlignmentKind", "CrossViewAlignmentLoss"]

AlignmentKind = Literal["paired", "mean", "moment", "mmd"]


class CrossViewAlignmentLoss(TwoViewLoss):
    r"""Bring the latents of two views together; the alignment of Cross-GAN, in four readings.

    With :math:`a_i, b_i` the rows of both views, :math:`\bar a, \bar b` their means, :math:`C_a, C_b` their unbiased
    covariances and :math:`k(x, y) = \exp(-|x - y|^2 / 2 \sigma^2)`:

    ============  ================================================================================================
    ``"paired"``  :math:`\frac1N \sum_i |a_i - b_i|^2`, which needs to know the pairs
    ``"mean"``    :math:`|\bar a - \bar b|^2`
    ``"moment"``  :math:`|C_a - C_b|_F^2 / (4 D^2)`, the CORAL loss of Sun and Saenko
    ``"mmd"``     :math:`\frac1{N^2} \sum_{ij} [k(a_i, a_j) + k(b_i, b_j) - 2 k(a_i, b_j)]`, the squared maximum mean
                  discrepancy of Gretton et al., biased
    ============  ================================================================================================

    The last three compare distributions: no order of the rows of either view changes them, so they need no pairs, and
    say nothing of pairs either.

    None has negatives. All are smallest when the latents of both views are one point; reconstruction and
    :class:`~pml_proxyext.regularizers.GaussianKLRegularizer`, or another loss, have to keep them apart.

    Args:
        kind: which of the four; ``"paired"`` by default.
        bandwidth: :math:`\sigma > 0` of ``"mmd"``; :math:`\sqrt D` if None, a choice of ours: samples of a standard
            normal law then have :math:`k` of about :math:`e^{-1}`.
        **kwargs: ``reducer``, ``embedding_regularizer`` and its weight. A ``distance`` is not supported.

    Shapes:
        embeddings, ref_emb ``(N, D)`` floating point, row i of both one sample; labels ``(N,)`` integers, which only
        reducers look at -> a scalar, in float32 for half precision.

    Raises:
        ValueError: for an unknown kind, a bandwidth without ``"mmd"`` or not positive, rows or widths that do not fit,
            a missing second view, labels of the second view that are not those of the first, and for
            ``indices_tuple`` and ``distance``.

    Reducer input:
        **loss**: for ``"paired"`` one value per row, type ``"element"``; for the others one value, type
        ``"already_reduced"``. Default reducer: mean.

    Relations:
        - ``"mean"`` is at most ``"paired"``, by Jensen's inequality.
        - All are symmetric, at least 0, and 0 for two equal views; ``"mmd"`` is at most 2.
        - A single row has no covariance: ``"moment"`` is 0 then.

    Departs from the paper or the release:
        no release is known, and of the paper only the abstract and the first lines were at hand. They say that a
        cross-view alignment reduces the disparity between the views, and not how. All four readings are
        reconstructions from what is usual.

    Reference:
        Zhang, Wu, Wang, "Crossing Generative Adversarial Networks for Cross-View Person Re-identification",
        arXiv:1801.01760; Sun, Saenko, "Deep CORAL", ECCV 2016 Workshops; Gretton et al., "A Kernel Two-Sample Test",
        JMLR 2012.

    Example:
        >>> import torch
        >>> a, b = torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.tensor([[0.0, 0.0], [2.0, 3.0]])
        >>> CrossViewAlignmentLoss()(a, ref_emb=b), CrossViewAlignmentLoss("mean")(a, ref_emb=b)
        (tensor(5.), tensor(1.))
    """

    def __init__(self, kind: AlignmentKind = "paired", bandwidth: float | None = None, **kwargs: Any) -> None:
        if "distance" in kwargs:
            raise ValueError("distance is not supported: each kind of alignment has its own")
        super().__init__(**kwargs)
        self.kind: AlignmentKind = check_choice("kind", kind, get_args(AlignmentKind))
        if bandwidth is not None:
            check_number("bandwidth", bandwidth, low=0.0, open_low=True)
            if kind != "mmd":
                raise ValueError(f"bandwidth must be None for kind {kind!r}, which has no kernel, got {bandwidth}")
        self.bandwidth = bandwidth

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
        if self.kind == "paired":
            return {"loss": element_loss(paired_gaps(embeddings, ref_emb))}
        if self.kind == "mean":
            gap = mean_gap(embeddings, ref_emb)
        elif self.kind == "moment":
            gap = covariance_gap(embeddings, ref_emb)
        else:
            bandwidth = math.sqrt(embeddings.shape[1]) if self.bandwidth is None else self.bandwidth
            gap = kernel_gap(embeddings, ref_emb, bandwidth)
        return {"loss": {"losses": gap, "indices": None, "reduction_type": "already_reduced", "divisor": 1}}

    def extra_repr(self) -> str:
        return f"kind={self.kind!r}" + ("" if self.bandwidth is None else f", bandwidth={self.bandwidth}")
