"""What the losses share that see a batch as one matrix of similarities, each sample with all others."""

from __future__ import annotations

from typing import Any

from pytorch_metric_learning.distances import BaseDistance, DotProductSimilarity
from pytorch_metric_learning.utils import common_functions as c_f
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from torch import Tensor

from pml_proxyext.losses.pair_loss import PairLoss
from pml_proxyext.losses.proxy_loss import element_loss

__all__ = ["SimilarityMatrixLoss"]


class SimilarityMatrixLoss(PairLoss):
    """Base of the losses in which all samples of the batch act on each, so that there is nothing to choose pairs from.

    A subclass implements :meth:`sample_losses`. Inputs are checked before; a miner's tuples weight the samples, as in
    classification losses.
    """

    supports_ref_emb = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not self.distance.is_inverted:
            raise ValueError(
                "distance must be a similarity (is_inverted=True), as DotProductSimilarity and CosineSimilarity are, "
                f"got {type(self.distance).__name__}"
            )

    def pair_losses(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: Any,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> dict[str, dict[str, Any]]:
        c_f.ref_not_supported(embeddings, labels, ref_emb, ref_labels)
        if labels is None:
            raise ValueError("labels are required, got None")
        losses = self.sample_losses(embeddings, self.distance(embeddings), labels.long())
        return {"loss": element_loss(losses * lmu.convert_to_weights(indices_tuple, labels, dtype=losses.dtype))}

    def sample_losses(self, embeddings: Tensor, similarities: Tensor, labels: Tensor) -> Tensor:
        """Return one loss per sample, ``(N,)``, from the similarities ``(N, N)`` of all pairs, ``i = j`` included."""
        raise NotImplementedError

    def get_default_distance(self) -> BaseDistance:
        return DotProductSimilarity(normalize_embeddings=False)
