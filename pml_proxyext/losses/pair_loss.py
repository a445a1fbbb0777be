"""What the losses that compare a batch with itself, or with a second one, share."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning.losses import BaseMetricLossFunction
from torch import Tensor

from pml_proxyext.utils.checks import check_embeddings, check_labels
from pml_proxyext.utils.precision import upcast

__all__ = ["PairLoss"]


class PairLoss(BaseMetricLossFunction):
    """Base of the losses on pairs: inputs are checked, and half precision ends, before :meth:`pair_losses`."""

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        # PML adds sub-losses in the dtype of the embeddings, so half precision has to end before it does.
        full = upcast(embeddings)
        if ref_emb is not None:
            ref_emb = full if ref_emb is embeddings else upcast(ref_emb)
        with torch.autocast(full.device.type, enabled=False):
            return super().forward(full, labels, indices_tuple, ref_emb, ref_labels)

    def compute_loss(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: Any,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> dict[str, dict[str, Any]]:
        check_embeddings(embeddings)
        check_embeddings(ref_emb, embeddings.shape[1], name="ref_emb")
        if labels is not None:
            check_labels(labels)
            if ref_labels is None:
                raise ValueError("ref_labels are required together with ref_emb and labels, got None")
            check_labels(ref_labels, name="ref_labels")
            if ref_labels is labels and ref_emb is not embeddings:
                # One tensor object means a batch against itself to PML: it would drop the pairs (i, i), real ones here.
                ref_labels = labels.clone()
        if len(embeddings) == 0:
            return self.zero_losses()
        return self.pair_losses(embeddings, labels, indices_tuple, ref_emb, ref_labels)

    def pair_losses(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: Any,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> dict[str, dict[str, Any]]:
        """Return what ``compute_loss`` returns; ``ref_emb`` is ``embeddings`` itself if there is no second batch."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in getattr(self, "_record_these", ()))
