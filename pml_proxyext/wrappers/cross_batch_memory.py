"""A queue of past embeddings that survives a checkpoint."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning import losses as pml_losses
from torch import Tensor, nn

from pml_proxyext.utils.checks import check_embeddings, check_integer, check_labels
from pml_proxyext.wrappers.capability import check_supports_ref_emb

__all__ = ["CrossBatchMemory"]


class CrossBatchMemory(pml_losses.CrossBatchMemory):
    r"""PML's cross-batch memory for any loss that supports ``ref_emb``; all of its state is in ``state_dict()``.

    Args:
        loss: a loss for which :func:`~pml_proxyext.wrappers.supports_ref_emb` holds.
        embedding_size: width :math:`D` of the embeddings.
        memory_size: number of embeddings kept, at least the size of a batch. PML's default is 1024.
        miner: a PML miner to choose tuples between batch and memory; all pairs by default.

    Shapes:
        embeddings ``(N, D)`` floating point, labels ``(N,)`` integers, enqueue_mask ``(N,)`` bool: the rows that only
        enter the memory -> what ``loss`` returns.

    Raises:
        ValueError: for a loss that cannot compare with ``ref_emb``, and for embeddings or labels that are no such
            tensors, or more of them than the memory holds.

    Departs from PML:
        PML keeps the place in the queue outside of ``state_dict()``, so that a resumed run forgets its memory; takes
        a mask that chooses no row for a full memory, and from then on compares with rows of zeros; fails on an empty
        batch, which is a zero loss here; and admits losses by their class name.

    Reference:
        Wang, Zhang, Huang, Scott, "Cross-Batch Memory for Embedding Learning", CVPR 2020, arXiv:1912.06798.

    Example:
        >>> memory = CrossBatchMemory(pml_losses.SupConLoss(), embedding_size=8, memory_size=32)
        >>> memory(torch.randn(4, 8), torch.tensor([0, 0, 1, 1])).shape, memory.queue_idx
        (torch.Size([]), 4)
    """

    queue_position: Tensor
    queue_is_full: Tensor

    def __init__(self, loss: nn.Module, embedding_size: int, memory_size: int = 1024, miner: Any = None) -> None:
        check_supports_ref_emb("CrossBatchMemory", loss)
        check_integer("embedding_size", embedding_size)
        check_integer("memory_size", memory_size)
        super().__init__(loss, embedding_size, memory_size=memory_size, miner=miner)

    @classmethod
    def check_loss_support(cls, loss_name: str) -> None:
        """Do nothing: the loss has been asked already, its name says nothing."""

    def forward(
        self, embeddings: Tensor, labels: Tensor, indices_tuple: Any = None, enqueue_mask: Tensor | None = None
    ) -> Tensor:
        check_embeddings(embeddings, self.embedding_size)
        check_labels(labels)
        enqueued = len(embeddings) if enqueue_mask is None else int(enqueue_mask.sum())
        if enqueued > self.memory_size:
            raise ValueError(f"embeddings must fit into memory_size {self.memory_size}, got {enqueued} rows")
        if len(embeddings) == 0:
            return (embeddings * 0).sum()
        return super().forward(embeddings, labels, indices_tuple, enqueue_mask)

    def add_to_memory(self, embeddings: Tensor, labels: Tensor, batch_size: int) -> None:
        """Write the rows at the place in the queue; no rows leave the queue as it is."""
        if batch_size:
            super().add_to_memory(embeddings, labels, batch_size)
        else:
            self.curr_batch_idx = torch.empty(0, dtype=torch.long, device=embeddings.device)

    def reset_queue(self) -> None:
        """Empty the memory."""
        self.register_buffer("queue_position", torch.zeros((), dtype=torch.long))
        self.register_buffer("queue_is_full", torch.zeros((), dtype=torch.bool))
        super().reset_queue()

    @property
    def queue_idx(self) -> int:
        """The row of the memory that is written next."""
        return int(self.queue_position)

    @queue_idx.setter
    def queue_idx(self, position: int) -> None:
        self.queue_position.fill_(position)

    @property
    def has_been_filled(self) -> bool:
        """Whether every row of the memory has been written."""
        return bool(self.queue_is_full)

    @has_been_filled.setter
    def has_been_filled(self, is_full: bool) -> None:
        self.queue_is_full.fill_(is_full)
