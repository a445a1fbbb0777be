"""A queue of past samples of two modalities, with their raw features."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning.utils import common_functions as c_f
from torch import Tensor, nn

from pml_proxyext.losses.cross_modal_samples import CrossModalSamples, check_same_ids
from pml_proxyext.utils.checks import check_embeddings, check_integer, check_labels, check_rows

__all__ = ["CrossModalMemory"]


class CrossModalMemory(nn.Module):
    r"""The queue of CrossCLR: connectivity and intra-modality negatives come from past batches, too.

    A batch enters the queue first, in the place of the oldest rows, and the loss then compares it with all rows that
    are filled. What is queued gets no gradient. A queued row with the label of an anchor, the anchor's own row among
    them, is never its negative; so samples that come back before they have left the queue do no harm.

    Args:
        loss: a loss that takes ``pool``, as :class:`~pml_proxyext.losses.CrossCLRLoss` does; another one says so by the
            class attribute ``supports_pool = True``.
        embedding_size: width :math:`D` of the embeddings of both modalities.
        input_size_a, input_size_b: widths of the raw features.
        memory_size: number of samples kept, at least the size of a batch (3000 for YouCook2 and 5000 for LSMDC in the
            paper's text, Section 4.3; its Table 7 has them the other way round).

    Shapes:
        embeddings, ref_emb ``(N, D)``, labels ``(N,)`` integers, the instance ids, input_emb ``(N, input_size_a)``,
        ref_input_emb ``(N, input_size_b)`` -> what ``loss`` returns. Without raw features of their own, pass detached
        embeddings.

    Raises:
        ValueError: for a loss that takes no ``pool``, for input that is missing or does not fit, and for more rows
            than the memory holds.

    State:
        all of it is in ``state_dict()``, in float32: a resumed run has the queue it had.

    Reference:
        Zolfaghari, Zhu, Gehler, Brox, "CrossCLR: Cross-modal Contrastive Learning for Multi-modal Video
        Representations", ICCV 2021, arXiv:2109.14910.

    Example:
        >>> from pml_proxyext.losses import CrossCLRLoss
        >>> memory = CrossModalMemory(CrossCLRLoss(), embedding_size=8, input_size_a=20, input_size_b=30)
        >>> features = {"input_emb": torch.rand(4, 20), "ref_input_emb": torch.rand(4, 30)}
        >>> memory(torch.randn(4, 8), torch.arange(4), ref_emb=torch.randn(4, 8), **features).shape, len(memory)
        (torch.Size([]), 4)
    """

    embedding_memory: Tensor
    ref_embedding_memory: Tensor
    input_memory: Tensor
    ref_input_memory: Tensor
    label_memory: Tensor
    queue_position: Tensor
    num_filled: Tensor

    def __init__(
        self, loss: nn.Module, embedding_size: int, input_size_a: int, input_size_b: int, memory_size: int = 3000
    ) -> None:
        super().__init__()
        if not getattr(loss, "supports_pool", False):
            raise ValueError(
                f"CrossModalMemory is not supported for loss={type(loss).__name__}: it needs a loss that takes pool, "
                "as CrossCLRLoss does, and says so by the class attribute supports_pool = True"
            )
        self.loss = loss
        self.embedding_size = check_integer("embedding_size", embedding_size)
        self.input_size_a = check_integer("input_size_a", input_size_a)
        self.input_size_b = check_integer("input_size_b", input_size_b)
        self.memory_size = check_integer("memory_size", memory_size)
        for name, width in (
            ("embedding_memory", embedding_size),
            ("ref_embedding_memory", embedding_size),
            ("input_memory", input_size_a),
            ("ref_input_memory", input_size_b),
        ):
            self.register_buffer(name, torch.zeros(memory_size, width))
        self.register_buffer("label_memory", torch.zeros(memory_size, dtype=torch.long))
        self.register_buffer("queue_position", torch.zeros((), dtype=torch.long))
        self.register_buffer("num_filled", torch.zeros((), dtype=torch.long))

    def reset_queue(self) -> None:
        """Empty the memory."""
        for buffer in self.buffers(recurse=False):
            buffer.zero_()

    def __len__(self) -> int:
        return int(self.num_filled)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        input_emb: Tensor | None = None,
        ref_input_emb: Tensor | None = None,
    ) -> Tensor:
        # All checks come before the queue changes: who catches the error goes on with the queue that was.
        c_f.indices_tuple_not_supported(indices_tuple)
        if labels is None:
            raise ValueError("labels are required, to know the rows of one instance in the memory; got None")
        c_f.check_shapes(embeddings, labels)
        check_same_ids(labels, ref_labels)
        rows = {
            "embedding_memory": self._checked("embeddings", embeddings, embeddings, self.embedding_size),
            "ref_embedding_memory": self._checked("ref_emb", ref_emb, embeddings, self.embedding_size),
            "input_memory": self._checked("input_emb", input_emb, embeddings, self.input_size_a),
            "ref_input_memory": self._checked("ref_input_emb", ref_input_emb, embeddings, self.input_size_b),
            "label_memory": check_labels(labels),
        }
        self._enqueue(rows, len(embeddings))
        return self.loss(
            embeddings,
            labels,
            ref_emb=ref_emb,
            ref_labels=ref_labels,
            input_emb=input_emb,
            ref_input_emb=ref_input_emb,
            pool=self._pool(),
        )

    def _checked(self, name: str, rows: Tensor | None, embeddings: Tensor, width: int) -> Tensor:
        if rows is None:
            raise ValueError(f"{name} must be a tensor of width {width}, got None")
        check_embeddings(rows, width, name=name)
        if len(rows) > self.memory_size:
            raise ValueError(f"{name} must fit into memory_size {self.memory_size}, got {len(rows)} rows")
        return check_rows(rows, embeddings, name)

    def _enqueue(self, rows: dict[str, Tensor], count: int) -> None:
        steps = torch.arange(count, device=self.queue_position.device)
        slots = (self.queue_position + steps) % self.memory_size
        for name, new in rows.items():
            memory = getattr(self, name)
            memory[slots] = new.detach().to(memory)
        self.queue_position.copy_((self.queue_position + count) % self.memory_size)
        self.num_filled.copy_((self.num_filled + count).clamp(max=self.memory_size))

    def _pool(self) -> CrossModalSamples:
        return CrossModalSamples(
            # Copies: the next batch overwrites rows that the backward pass of this one may still need.
            self.embedding_memory.clone(),
            self.ref_embedding_memory.clone(),
            self.input_memory,
            self.ref_input_memory,
            self.label_memory,
            torch.arange(self.memory_size, device=self.num_filled.device) < self.num_filled,
        )
