"""What the losses share whose second view belongs to the first, row by row."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pml_proxyext.losses.pair_loss import PairLoss
from pml_proxyext.utils.checks import check_rows

__all__ = ["TwoViewLoss"]


class TwoViewLoss(PairLoss):
    """Base of the losses on pairs of views: row i of ``ref_emb`` belongs to row i of ``embeddings``.

    Without ``ref_labels`` the second view has the labels of the first.
    """

    supports_ref_emb = True

    #: Whether rows must be partners, so that ``ref_emb`` cannot have others as well; wrappers ask for it.
    pairs_rows = True

    def compute_loss(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: Any,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> dict[str, dict[str, Any]]:
        if ref_emb is embeddings:
            raise ValueError("ref_emb must be the second view, whose row i belongs to row i of embeddings, got none")
        check_rows(ref_emb, embeddings, "ref_emb")
        if ref_labels is None:
            ref_labels = labels
        return super().compute_loss(embeddings, labels, indices_tuple, ref_emb, ref_labels)
