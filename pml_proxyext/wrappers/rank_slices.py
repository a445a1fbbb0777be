"""The slice of the classes that one rank owns, and what it computes of a loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_metric_learning.losses import BaseMetricLossFunction
from torch import Tensor, nn
from torch.nn.functional import normalize

from pml_proxyext.losses.class_slices import SlicedLoss
from pml_proxyext.losses.nir_loss import NIRLoss
from pml_proxyext.losses.proxy_loss import element_loss
from pml_proxyext.losses.sliced_losses import sliced
from pml_proxyext.utils.ranks import from_first_rank, logsumexp_over_ranks, sum_over_ranks, to_parts, world
from pml_proxyext.wrappers.chunked_proxies import chunk_by_chunk
from pml_proxyext.wrappers.class_sampling import Piece

__all__ = ["RankSlice", "class_range", "own_random_numbers", "share_random_numbers"]

Choose = Callable[[list[Tensor], Tensor], list[Piece]]


def class_range(num_classes: int, rank: int, world_size: int) -> tuple[int, int]:
    """Return the first class of a rank and the one after its last; sizes differ by one at most.

    Example:
        >>> [class_range(10, rank, 4) for rank in range(4)]
        [(0, 2), (2, 5), (5, 7), (7, 10)]
    """
    return rank * num_classes // world_size, (rank + 1) * num_classes // world_size


class RankSlice:
    """A rank's part of a loss, and what comes out of the parts of all ranks.

    Args:
        loss: the loss of the rank's own classes.
        first: the number of the first of them.
        num_classes: of all ranks together.
    """

    def __init__(self, loss: BaseMetricLossFunction, first: int, num_classes: int) -> None:
        self.loss, self.first, self.num_classes = loss, first, num_classes
        #: The dimension of the classes in each parameter that has one, by the parameter's name in the loss.
        self.class_axes = {
            name: 0 if (rows.shape, rows.stride()) == (parameter.shape, parameter.stride()) else 1
            for name, parameter in loss.named_parameters()
            for rows in self.sliced.class_tensors
            if rows.data_ptr() == parameter.data_ptr()
        }

    @property
    def base(self) -> BaseMetricLossFunction:
        """The loss that compares embeddings with proxies: of NIR, its ``proxy_loss``."""
        return self.loss.proxy_loss if isinstance(self.loss, NIRLoss) else self.loss

    @property
    def sliced(self) -> SlicedLoss:
        """That loss, as what it computes of slices of its classes."""
        return sliced(self.base)

    def shared_parameters(self) -> dict[str, Tensor]:
        """Return the parameters that are the same on all ranks, as a temperature, by their names in the loss."""
        return {name: tensor for name, tensor in self.loss.named_parameters() if name not in self.class_axes}

    def losses(
        self, embeddings: Tensor, labels: Tensor, weights: Tensor, choose: Choose, chunk_size: int | None
    ) -> dict[str, dict[str, Any]]:
        """Return what PML's reducers take, replicated, from replicated embeddings, labels and weights."""
        losses = element_loss(self.sample_losses(embeddings, labels, weights, choose, chunk_size))
        if not isinstance(self.loss, NIRLoss):
            return {"loss": losses}
        if not self.loss.is_default_base:
            own = {"loss": losses}
            self.base.add_embedding_regularization_to_loss_dict(own, embeddings)
            value = self.base.reducer(own, embeddings, labels)
            losses = {"losses": value, "indices": None, "reduction_type": "already_reduced"}
        likelihood = self.loss.likelihood_given(normalize(embeddings), self.own_directions(labels, embeddings.dtype))
        return self.loss.weighted(losses, likelihood, weights)

    def sample_losses(
        self, embeddings: Tensor, labels: Tensor, weights: Tensor, choose: Choose, chunk_size: int | None
    ) -> Tensor:
        """Return the base's losses ``(N,)``, replicated."""
        loss = self.sliced
        # What has no gradient is not made of the embeddings alone: it may differ between ranks, and must not.
        rows = tuple(to_parts(t) if t.requires_grad else from_first_rank(t) for t in loss.rows(embeddings))
        parts = []
        for reduction, (reduced, own) in zip(
            [objective.reduction for objective in loss.objectives],
            self._of_own_classes(loss, rows, labels, weights, choose, chunk_size),
            strict=True,
        ):
            over_ranks = logsumexp_over_ranks if reduction == "logsumexp" else sum_over_ranks
            parts.append((over_ranks(reduced), sum_over_ranks(own)))
        return loss.of_all(parts, labels, weights, self.num_classes)

    def _of_own_classes(
        self,
        loss: SlicedLoss,
        rows: tuple[Tensor, ...],
        labels: Tensor,
        weights: Tensor,
        choose: Choose,
        chunk_size: int | None,
    ) -> list[tuple[Tensor, Tensor]]:
        """Return what the own classes add to each objective: ``(N,)`` to be reduced, and the own logits ``(N,)``."""
        pieces = choose(list(loss.class_tensors), labels - self.first)
        found = []
        for columns, tensors, _ in pieces:
            if chunk_size is None:
                found.append(loss.of_slice(rows, columns, weights, 0, tensors, self.num_classes))
            else:
                found.append(chunk_by_chunk(loss, rows, columns, weights, tensors, self.num_classes, chunk_size))
        of_classes = rows[0].new_tensor([piece.weight for piece in pieces])[:, None]
        whole = []
        for objective, of_pieces in zip(loss.objectives, zip(*found, strict=True), strict=True):
            reduced, own = (torch.stack(part) for part in zip(*of_pieces, strict=True))  # (pieces, N)
            if objective.reduction == "logsumexp":
                reduced = (reduced + of_classes.log()).logsumexp(0)
            else:
                reduced = (reduced * of_classes).sum(0)
            whole.append((reduced, own.sum(0)))
        return whole

    def own_directions(self, labels: Tensor, dtype: torch.dtype) -> Tensor:
        """Return, normalized, the proxy ``(N, D)`` of each sample's class, replicated."""
        proxies = self.sliced.class_tensors[0]
        column = labels - self.first
        is_here = (column >= 0) & (column < len(proxies))
        rows = proxies[column.clamp(0, len(proxies) - 1).to(proxies.device)].to(labels.device, dtype)
        return sum_over_ranks(torch.where(is_here[:, None], normalize(rows), 0.0))


@contextmanager
def own_random_numbers() -> Iterator[None]:
    """Give each rank random numbers of its own inside the block: equal seeds would make equal slices.

    Alone, a process goes on with the generator that it has, as a loss does that is not in parts.
    """
    rank, world_size = world()
    if world_size == 1:
        yield
        return
    seed = int(from_first_rank(torch.randint(2**62, ())))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + rank)
        yield


@torch.no_grad()
def share_random_numbers(loss: nn.Module) -> None:
    """Make the generators of a loss and its parts those of rank 0: what is drawn for the batch must be the same."""
    if world()[1] == 1:
        return
    for module in loss.modules():
        if hasattr(module, "generator"):
            source: Any = module.generator
            if source is None:
                source = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
            shared = torch.Generator()
            shared.set_state(from_first_rank(source.get_state()))
            vars(module)["generator"] = shared
