r"""CrossCLR's pruning as a miner: samples that are like many others are no negatives."""

from __future__ import annotations

from typing import Any

from pytorch_metric_learning.miners import BaseMiner
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from torch import Tensor

from pml_proxyext.utils.checks import check_choice, check_embeddings, check_labels, check_number, check_rows
from pml_proxyext.utils.connectivity import Score, connectivity, influential

__all__ = ["InfluentialNegativeMiner"]


class InfluentialNegativeMiner(BaseMiner):
    r"""Choose all positive pairs, and the negative pairs whose negative is not influential.

    The connectivity of sample k is its mean cosine to the batch, :math:`C_k = \frac1N \sum_j \cos(x_k, x_j)`. It is
    influential if :math:`C_k / \max_j C_j > \gamma`: it would be a negative of many samples that are semantically near.
    CrossCLR takes :math:`x` to be features of frozen networks. Give the miner these, and the loss the embeddings:
    ``loss_func(embeddings, labels, miner(features, labels))``. Given embeddings, as by PML's trainers, it judges by
    what the network takes for near.

    With a second view, row k of ``ref_emb`` belongs to row k of ``embeddings``, whose connectivity decides, as in
    :class:`~pml_proxyext.losses.CrossCLRLoss` from A to B. ``ref_emb`` itself is not looked at.

    Args:
        threshold: :math:`\gamma` (0.9 in the paper, Section 4.3); from 1 on, nothing is left out.
        score: what is compared with the threshold: ``"max"`` as above (nothing is influential where no connectivity is
            positive), ``"raw"`` for :math:`C_k` itself.
        **kwargs: of PML's miners.

    Shapes:
        embeddings ``(N, E)`` floating point, labels ``(N,)`` integers, ref_emb ``(N, F)``, ref_labels ``(N,)``, the
        labels if not given -> indices of anchors, positives, anchors, negatives.

    Raises:
        ValueError: for invalid hyper-parameters, labels that are missing or no integers, and a second view of another
            number of rows.

    Recorded with PML's ``collect_stats``:
        **num_influential**: samples that are no negatives.

    Relations:
        NTXentLoss with these pairs is one direction of ``CrossCLRLoss(weighting="none", intra_modality=False)`` on
        labels that are all different.

    Reference:
        Zolfaghari, Zhu, Gehler, Brox, "CrossCLR: Cross-modal Contrastive Learning for Multi-modal Video
        Representations", ICCV 2021, arXiv:2109.14910.

    Example:
        >>> import torch
        >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
        >>> miner = InfluentialNegativeMiner()
        >>> anchors, positives, anchors_of_negatives, negatives = miner(features, torch.arange(3))
        >>> list(zip(anchors_of_negatives.tolist(), negatives.tolist()))  # rows 0 and 1 are near to each other
        [(0, 2), (1, 2)]
    """

    def __init__(self, threshold: float = 0.9, score: Score = "max", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = check_number("threshold", threshold)
        self.score: Score = check_choice("score", score, ["max", "raw"])
        self.num_influential = 0
        self.add_to_recordable_attributes(name="threshold")
        self.add_to_recordable_attributes(name="num_influential", is_stat=True)

    def forward(
        self, embeddings: Tensor, labels: Tensor, ref_emb: Tensor | None = None, ref_labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if labels is None:
            raise ValueError("labels are required, got None")
        return super().forward(embeddings, labels, ref_emb, ref_labels)

    def mine(
        self, embeddings: Tensor, labels: Tensor, ref_emb: Tensor, ref_labels: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        check_embeddings(embeddings)
        check_rows(ref_emb, embeddings, "ref_emb")
        check_labels(labels)
        if ref_emb is not embeddings and (ref_labels is None or ref_labels is labels):
            # One tensor object means a batch against itself to PML: it would drop the pairs (i, i), real ones here.
            ref_labels = labels.clone()
        anchors, positives, others, negatives = lmu.get_all_pairs_indices(labels, ref_labels)
        if len(embeddings) == 0:
            return anchors, positives, others, negatives
        is_influential = influential(connectivity(embeddings), self.threshold, self.score)
        if self.collect_stats:
            self.num_influential = int(is_influential.sum())
        kept = ~is_influential[negatives]
        return anchors, positives, others[kept], negatives[kept]

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, score={self.score}"
