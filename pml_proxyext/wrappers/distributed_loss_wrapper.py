"""One loss over the batches of all processes, with the value and the gradients of one process."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning.losses import CrossBatchMemory
from pytorch_metric_learning.utils import distributed as pml_distributed
from pytorch_metric_learning.utils.loss_and_miner_utils import get_all_pairs_indices
from torch import Tensor, nn

from pml_proxyext.utils.ranks import gather_rows, scale_gradient, world
from pml_proxyext.wrappers.cross_modal_memory import CrossModalMemory

__all__ = ["DistributedLossWrapper", "in_rank_order"]


def _gathered(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else gather_rows(tensor)


def in_rank_order(indices_tuple: Any, rows: int) -> Any:
    """Renumber tuples of PML's ``DistributedMinerWrapper``, which puts a process's own rows before all others."""
    rank, world_size = world()
    if indices_tuple is None or rank == 0:
        return indices_tuple
    own = torch.arange(rank * rows, (rank + 1) * rows)
    order = torch.cat([own, torch.arange(rank * rows), torch.arange((rank + 1) * rows, world_size * rows)])
    return tuple(order.to(indices.device)[indices] for indices in indices_tuple)


def _pairs_with_all(
    embeddings: Tensor, labels: Tensor | None, ref_emb: Tensor | None, ref_labels: Tensor | None
) -> Any:
    """Return the pairs of a process's own rows with all references, or None to leave them to PML.

    PML drops the pairs (i, i), as of a batch with itself. Row i of a second set is another sample.
    """
    if labels is None:
        raise ValueError("labels or indices_tuple are required with efficient=True, got neither")
    if ref_emb is None:
        return None
    ref_labels = labels if ref_labels is None else ref_labels
    own_first, *_ = pml_distributed.gather(ref_labels.to(embeddings.device), None)
    return get_all_pairs_indices(labels.to(embeddings.device), own_first)


class DistributedLossWrapper(pml_distributed.DistributedLossWrapper):
    r"""PML's wrapper of the same name, right for losses with parameters too.

    The embeddings (and ``ref_emb``) of all :math:`W` processes are gathered and every process evaluates the whole
    loss :math:`L`. Returned is :math:`L` itself, the value one process would find on the whole batch: log it as it is.

    - **The model's gradient.** A process differentiates only its own rows. Their gradient is multiplied by
      :math:`W`, so that the mean over the processes, which ``DistributedDataParallel`` takes, is the gradient of
      one process. Without it, average the gradients of the model yourself.
    - **The gradient of the loss's own parameters** is complete on every process and is not multiplied: it is that of
      one process, whether the wrapper stands inside ``DistributedDataParallel`` (a mean of equal gradients) or not.

    Args:
        loss: any PML loss, a ``CrossBatchMemory``, or a ``CrossModalMemory``.
        efficient: compare only a process's own rows with those of all (the loss must support ``ref_emb``). The value
            is then that of the own rows, and other processes' use of the own rows as references has no gradient.

    Shapes:
        as the loss, with the same number of rows on every process. Keywords of the loss that are not PML's, as the raw
        features of ``CrossCLRLoss``, must be tensors with one row for each embedding, and are gathered, too.

    Raises:
        ValueError: for ``efficient=True`` with a loss on two views, whose rows would no longer be partners, with a
            memory, and without both labels and tuples.

    Departs from PML:
        PML multiplies the loss by :math:`W`: the value grows with the number of processes, and the gradients of the
        loss's own parameters are :math:`W` times too large (Adam hides it, SGD does not). PML puts a process's own
        rows first, so that losses which depend on the order, or draw random numbers, differ between processes; here
        the rows stand in the order of the ranks on every process. With ``efficient=True``, PML leaves out the pairs
        of a row with its own row of ``ref_emb``; here they count. A loss that draws random numbers gives equal
        gradients on all processes if their generators are in the same state; otherwise wrap it in
        ``DistributedDataParallel``, which averages them.

    Example:
        >>> from pml_proxyext.losses import ProxyAnchorLoss
        >>> loss_func = DistributedLossWrapper(ProxyAnchorLoss(num_classes=3, embedding_size=4))
        >>> loss_func(torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2])).shape  # no process group: the loss itself
        torch.Size([])
    """

    def __init__(self, loss: nn.Module, efficient: bool = False) -> None:
        if efficient and (isinstance(loss, CrossModalMemory) or getattr(loss, "pairs_rows", False)):
            raise ValueError(
                f"efficient=True is not supported for loss={type(loss).__name__}, which pairs two views row by row: "
                "a process's own rows would meet the second views of all"
            )
        # PML admits by class what it is given; a memory of ours is called as a loss is.
        super().__init__(loss.loss if isinstance(loss, CrossModalMemory) else loss, efficient=efficient)
        self.loss = loss

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        enqueue_mask: Tensor | None = None,
        **row_tensors: Tensor | None,
    ) -> Tensor:
        world_size = world()[1]
        if self.efficient and world_size > 1:
            if row_tensors:
                raise ValueError(f"efficient=True is not supported together with {', '.join(row_tensors)}")
            if indices_tuple is None:
                indices_tuple = _pairs_with_all(embeddings, labels, ref_emb, ref_labels)
            scaled = [None if t is None else scale_gradient(t, world_size) for t in (embeddings, ref_emb)]
            return super().forward(scaled[0], labels, indices_tuple, scaled[1], ref_labels) / world_size
        indices_tuple = in_rank_order(indices_tuple, len(embeddings))
        labels, ref_labels = (None if t is None else t.to(embeddings.device) for t in (labels, ref_labels))
        batch = (_gathered(embeddings), _gathered(labels), indices_tuple)
        gathered = {name: _gathered(tensor) for name, tensor in row_tensors.items()}
        if not isinstance(self.loss, CrossBatchMemory):
            return self.loss(*batch, _gathered(ref_emb), _gathered(ref_labels), **gathered)
        if ref_emb is not None or ref_labels is not None:
            raise ValueError("ref_emb and ref_labels are not supported for CrossBatchMemory, which brings its own")
        return self.loss(*batch, _gathered(enqueue_mask), **gathered)
