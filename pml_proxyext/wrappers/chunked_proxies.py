"""Losses with many proxies on one machine: class by class in chunks, each computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.losses.mixins import WeightRegularizerMixin
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from torch import Tensor

from pml_proxyext.losses.class_slices import SlicedLoss
from pml_proxyext.losses.proxy_access import similarity_logits
from pml_proxyext.losses.proxy_loss import check_proxy_batch, element_loss
from pml_proxyext.losses.sliced_losses import sliced
from pml_proxyext.utils.checks import check_integer
from pml_proxyext.utils.parameter_groups import parameter_groups
from pml_proxyext.utils.precision import upcast
from pml_proxyext.utils.row_chunks import map_row_chunks

__all__ = ["ChunkedProxies", "chunk_by_chunk"]


class ChunkedProxies(WeightRegularizerMixin, BaseMetricLossFunction):
    r"""A loss with proxies that never holds all similarities of a batch at one time.

    The classes are gone through in chunks. Of each chunk two numbers per sample are kept, such as the log-partition
    function and the logit of the own class; everything else is thrown away and computed again in the backward pass:

    .. math::
        \log \sum_{c=1}^{C} e^{s_{ic}} = \log \sum_{\text{chunks } b} e^{\lambda_{ib}}, \qquad
        \lambda_{ib} = \log \sum_{c \in b} e^{s_{ic}}

    Memory is :math:`O(N \cdot \text{chunk\_size} + C D)` where it was :math:`O(N C + C D)`, value and gradients are
    those of the loss, and the time is about that of one more forward pass, less what smaller matrices gain by staying
    in the cache.

    Args:
        loss: PML's NormalizedSoftmaxLoss, ArcFaceLoss, CosFaceLoss or ProxyNCALoss, or ProxyAnchorLoss or NivMFLoss of
            this package. It keeps its parameters, for which an optimizer gets ``chunked.param_groups(lr)``. Its
            distance, reducer and regularizers are taken over.
        chunk_size: classes in a chunk. The default, 1024, is fast and small for batches of hundreds.

    Shapes:
        embeddings ``(N, D)`` floating point, labels ``(N,)`` integers -> a scalar, in float32 for half precision. All
        arithmetic is in float32 for half precision and under autocast.

    Raises:
        ValueError: for a loss that is not a function of slices of its classes, a ``chunk_size`` below 1, labels that
            are missing, not integers or out of range, embeddings of another width or dtype, and for ``ref_emb``.

    Reducer input:
        **loss**: one value per sample, type ``"element"``. Default reducer: that of ``loss``.

    Departs from PML:
        nothing in value and gradients, but ``ProxyNCALoss`` of PML leaves out samples whose probability underflows
        to zero, which count here; and parameters are never re-typed. Statistics of ``loss`` are not collected.

    Example:
        >>> from pml_proxyext.losses import ProxyAnchorLoss
        >>> loss_func = ChunkedProxies(ProxyAnchorLoss(num_classes=5, embedding_size=4), chunk_size=2)
        >>> loss_func(torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2])).shape
        torch.Size([])
    """

    def __init__(self, loss: BaseMetricLossFunction, chunk_size: int = 1024) -> None:
        check_integer("chunk_size", chunk_size)
        num_classes, embedding_size = sliced(loss).class_tensors[0].shape
        super().__init__(
            distance=loss.distance,
            reducer=loss.reducer,
            embedding_regularizer=loss.embedding_regularizer,
            embedding_reg_weight=loss.embedding_reg_weight,
            weight_regularizer=loss.weight_regularizer,
            weight_reg_weight=loss.weight_reg_weight,
            weight_init_func=loss.weight_init_func,
        )
        self.loss = loss
        self.num_classes, self.embedding_size, self.chunk_size = num_classes, embedding_size, chunk_size
        self.add_to_recordable_attributes(list_of_names=["num_classes", "embedding_size", "chunk_size"])

    def compute_loss(
        self, embeddings: Tensor, labels: Tensor, indices_tuple: Any, ref_emb: Tensor, ref_labels: Tensor
    ) -> dict[str, dict[str, Any]]:
        loss = sliced(self.loss)
        labels = check_proxy_batch(embeddings, labels, ref_emb, ref_labels, self.num_classes, self.embedding_size)
        if len(embeddings) == 0:
            return self.zero_losses()
        full = upcast(embeddings)
        weights = lmu.convert_to_weights(indices_tuple, labels, dtype=full.dtype)
        with torch.autocast(full.device.type, enabled=False):
            rows, tensors = loss.rows(full), loss.class_tensors
            parts = chunk_by_chunk(loss, rows, labels, weights, tensors, self.num_classes, self.chunk_size)
            losses = {"loss": element_loss(loss.of_all(parts, labels, weights, self.num_classes))}
        self.add_weight_regularization_to_loss_dict(losses, loss.class_tensors[0])
        return losses

    @property
    def proxies(self) -> Tensor:
        """The proxies of the loss, ``(C, D)``."""
        return sliced(self.loss).class_tensors[0]

    def get_logits(self, embeddings: Tensor) -> Tensor:
        """Return ``(N, num_classes)`` similarities to the proxies, not in chunks: larger means nearer."""
        return similarity_logits(self.loss, embeddings)

    def param_groups(self, lr: float, **multipliers: float) -> list[dict[str, Any]]:
        """Return the optimizer groups of the loss; the parameters of PML's losses get 100 times ``lr`` by default."""
        return parameter_groups(self.loss, lr, multipliers, getattr(self.loss, "lr_multipliers", {"": 100.0}))

    def extra_repr(self) -> str:
        return f"chunk_size={self.chunk_size}, num_classes={self.num_classes}, embedding_size={self.embedding_size}"


def chunk_by_chunk(
    loss: SlicedLoss,
    rows: tuple[Tensor, ...],
    labels: Tensor,
    weights: Tensor,
    class_tensors: Sequence[Tensor],
    num_classes: int,
    chunk_size: int,
) -> list[tuple[Tensor, Tensor]]:
    """Return what :meth:`SlicedLoss.of_slice` does of all the class tensors, from one chunk of them after another.

    Their first row is class 0, and ``num_classes`` the number of classes, of which there may be others elsewhere.
    """

    def of_chunk(first: int, shared: Sequence[Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
        with torch.autocast(rows[0].device.type, enabled=False):  # the backward pass may be run inside of one
            parts = loss.of_slice(tuple(shared), labels, weights, first, tensors, num_classes)
        return [tensor for part in parts for tensor in part]

    found = map_row_chunks(of_chunk, rows, class_tensors, chunk_size)  # (chunks, N) each
    return [
        (reduced.logsumexp(0) if objective.reduction == "logsumexp" else reduced.sum(0), own.sum(0))
        for objective, reduced, own in zip(loss.objectives, found[::2], found[1::2], strict=True)
    ]
