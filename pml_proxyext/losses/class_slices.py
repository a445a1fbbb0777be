r"""What a loss with proxies needs of a slice of its classes, so that no N x C matrix has to exist at one time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from pml_proxyext.losses.log_partition import log_partition

__all__ = ["Margin", "OwnClass", "SliceObjective", "SlicedLoss", "SoftmaxObjective"]

Margin = Callable[[Tensor], Tensor]


class OwnClass(NamedTuple):
    """Where the samples' own classes lie in a slice: the column, and whether the class is in the slice at all.

    Example:
        >>> OwnClass.of(torch.tensor([0, 4, 7]), first=3, width=3)
        OwnClass(column=tensor([0, 1, 2]), is_inside=tensor([False,  True, False]))
    """

    column: Tensor  # (N,), in the slice for all, so that it can be used as an index
    is_inside: Tensor  # (N,)

    @classmethod
    def of(cls, labels: Tensor, first: int, width: int) -> OwnClass:
        column = labels - first
        return cls(column.clamp(0, width - 1), (column >= 0) & (column < width))

    def pick(self, matrix: Tensor) -> Tensor:
        """Return each row's entry at its own class, ``(N,)``, and zero where that is not in the slice."""
        return torch.where(self.is_inside, self._at(matrix), 0.0)

    def replace(self, matrix: Tensor, values: Tensor | float) -> Tensor:
        """Return the matrix ``(N, slice)`` with other values at the own classes that are in the slice."""
        return matrix.scatter(1, self.column[:, None], torch.where(self.is_inside, values, self._at(matrix))[:, None])

    def _at(self, matrix: Tensor) -> Tensor:
        return matrix.gather(1, self.column[:, None]).squeeze(1)


@runtime_checkable
class SliceObjective(Protocol):
    """What makes losses out of logits, in two steps: of every slice of the classes, and of all slices together."""

    @property
    def reduction(self) -> Literal["logsumexp", "sum"]:
        """How what :meth:`of_slice` returns first is joined over the slices."""

    def of_slice(self, logits: Tensor, own: OwnClass, weights: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """Return ``(N,)`` to be reduced over slices, and ``(N,)``, the logit of the own class, or zero elsewhere."""

    def of_all(self, reduced: Tensor, own: Tensor, labels: Tensor, weights: Tensor, num_classes: int) -> Tensor:
        """Return the losses ``(N,)`` from what came out of all slices, the own logits added up."""


@dataclass(frozen=True)
class SoftmaxObjective:
    """Cross-entropy, in two steps: the log-partition of each slice, and the difference to the own logit.

    Args:
        margin: what becomes of the logit of the own class; None leaves it as it is.
    """

    margin: Margin | None = None
    reduction: Literal["logsumexp", "sum"] = "logsumexp"

    def of_slice(self, logits: Tensor, own: OwnClass, weights: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        if self.margin is not None:
            logits = own.replace(logits, self.margin(own.pick(logits)))
        return log_partition(logits, own.column, own.is_inside)

    def of_all(self, reduced: Tensor, own: Tensor, labels: Tensor, weights: Tensor, num_classes: int) -> Tensor:
        return (reduced - own) * weights


@dataclass(frozen=True)
class SlicedLoss:
    """A loss with proxies, as what it computes of a slice of its classes.

    Args:
        objectives: what makes losses out of the logits; the losses are added up.
        class_tensors: the parameters with one row per class, the proxies first: what is sliced.
        rows: returns all tensors with gradients that the slices need besides ``class_tensors``, the embeddings first,
            which come in full precision; random draws happen here.
        logits: from these and from rows of the class tensors in the dtype of the embeddings to a matrix ``(N, slice)``
            for each objective; larger means nearer.
        factors: of each objective's losses in the sum.
    """

    objectives: Sequence[SliceObjective]
    class_tensors: Sequence[Tensor]
    rows: Callable[[Tensor], tuple[Tensor, ...]]
    logits: Callable[[tuple[Tensor, ...], Sequence[Tensor]], Sequence[Tensor]]
    factors: Sequence[float] = (1.0,)

    @property
    def num_classes(self) -> int:
        return self.class_tensors[0].shape[0]

    def of_slice(
        self,
        rows: tuple[Tensor, ...],
        labels: Tensor,
        weights: Tensor,
        first: int,
        class_tensors: Sequence[Tensor],
        num_classes: int,
    ) -> list[tuple[Tensor, Tensor]]:
        """Return what :meth:`SliceObjective.of_slice` returns, for each objective.

        Args:
            rows: from :attr:`rows`.
            labels: ``(N,)``, counted from the first of all classes.
            weights: ``(N,)``.
            first: the first class of the slice.
            class_tensors: rows of :attr:`class_tensors`.
            num_classes: of all slices together.
        """
        logits = self.logits(rows, [tensor.to(rows[0]) for tensor in class_tensors])
        own = OwnClass.of(labels, first, len(class_tensors[0]))
        return [
            objective.of_slice(matrix, own, weights, num_classes)
            for objective, matrix in zip(self.objectives, logits, strict=True)
        ]

    def of_all(
        self, parts: Sequence[tuple[Tensor, Tensor]], labels: Tensor, weights: Tensor, num_classes: int
    ) -> Tensor:
        """Return the losses ``(N,)`` from what came out of all slices, reduced, for each objective."""
        losses = [
            factor * objective.of_all(*part, labels, weights, num_classes)
            for factor, objective, part in zip(self.factors, self.objectives, parts, strict=True)
        ]
        return torch.stack(losses).sum(0)
