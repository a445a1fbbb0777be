"""A relation between two quantities of a batch, as an object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

import torch
from torch import Tensor

from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch

__all__ = ["Evaluation", "Kind", "Relation", "Scope", "Side"]

Value = Callable[[BoundBatch], Tensor]


class Kind(Enum):
    """What is said of the two sides."""

    AT_MOST = "at most"
    EQUAL = "equal"
    REFUTED = "refuted"
    """Claimed to be at most, and false: the witness is a batch on which it fails."""


class Scope(Enum):
    """What the two sides are taken over."""

    BATCH = "per batch"
    EXPECTATION = "in expectation"
    """Over a distribution that the batch defines; the two sides are exact sums, nothing is sampled."""


@dataclass(frozen=True)
class Side:
    """One side of a relation.

    Args:
        name: the loss or the quantity; one node of the lattice of losses.
        value: computes it, as a float64 scalar through which gradients flow.
        change: what is done to the quantity, if anything: ``"+ log 2"``.
    """

    name: str
    value: Value
    change: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.change}".strip()


@dataclass(frozen=True)
class Evaluation:
    """A relation on one batch.

    Attributes:
        lhs: value of the left-hand side.
        rhs: value of the right-hand side.
        kind: of the relation.
        rtol: relative tolerance.
    """

    lhs: float
    rhs: float
    kind: Kind
    rtol: float

    @property
    def slack(self) -> float:
        """``rhs - lhs``, negative where an upper bound is violated."""
        return self.rhs - self.lhs

    @property
    def relative_slack(self) -> float:
        """``slack / (1 + |lhs| + |rhs|)``."""
        return self.slack / (1 + abs(self.lhs) + abs(self.rhs))

    @property
    def holds(self) -> bool:
        """Whether the statement is true here, up to the tolerance; never with NaN or infinity."""
        if self.kind is Kind.EQUAL:
            return abs(self.relative_slack) <= self.rtol
        return self.relative_slack >= -self.rtol


@dataclass(frozen=True)
class Relation:
    r"""A statement of the form ``lhs <= rhs`` or ``lhs = rhs`` about losses, with all that is needed to doubt it.

    Args:
        id: short name, ``family.what``.
        title: the statement in words.
        statement: the statement in LaTeX, without dollar signs.
        source: where it is from; ``"derived"`` and ``"ours"`` where no paper is known to us that has it.
        proof: the idea of the proof, or of the refutation.
        labels: structure of the labels that it needs.
        lhs: left-hand side.
        rhs: right-hand side.
        kind: at most, equal or refuted.
        scope: per batch or in expectation.
        hyper: the hyper-parameters that both sides read, with their ranges.
        assumptions: what else it needs, in words: everything here holds by construction for what the sides compute.
        witness: makes a batch on which both sides agree (:attr:`is_tight`), or, of a refuted claim, one on which it
            fails.
        constant: the constant of the statement that the mutation check makes one per cent too good.
        mutated: the two sides with that constant changed; None if the constant is the factor 1 of the right-hand side.
        rtol: tolerance of the comparison, relative to ``1 + |lhs| + |rhs|``; follows from float64 and from what the
            sides go through (arcus cosine and distances lose half of the digits).
        nan_because: why PML gives NaN on some batches that fulfil the assumptions; empty if it never does.
    """

    id: str
    title: str
    statement: str
    source: str
    proof: str
    labels: Labels
    lhs: Side
    rhs: Side
    kind: Kind = Kind.AT_MOST
    scope: Scope = Scope.BATCH
    hyper: Mapping[str, Hyper] = field(default_factory=dict)
    assumptions: str = ""
    witness: Callable[[], BoundBatch] | None = None
    constant: str = "the factor 1 of the right-hand side"
    mutated: Callable[[BoundBatch], tuple[Tensor, Tensor]] | None = None
    rtol: float = 1e-9
    nan_because: str = ""

    @property
    def is_tight(self) -> bool:
        """Whether a batch is known on which both sides agree, so that no constant can be improved."""
        return self.kind is not Kind.REFUTED and self.witness is not None

    def objections(self, batch: BoundBatch) -> list[str]:
        """Return why the relation says nothing about ``batch``; an empty list if it does."""
        found = [self.labels.objection(batch)]
        values = self._complete(batch)
        found += [hyper.objection(name, values[name]) for name, hyper in self.hyper.items()]
        return [reason for reason in found if reason is not None]

    def sides(self, batch: BoundBatch) -> tuple[Tensor, Tensor]:
        """Return both sides as float64 scalars that gradients flow through.

        Raises:
            ValueError: if the relation says nothing about ``batch``; the message tells why.
        """
        complete = self._checked(batch)
        return self.lhs.value(complete), self.rhs.value(complete)

    def mutated_sides(self, batch: BoundBatch) -> tuple[Tensor, Tensor]:
        """Return both sides of the statement with :attr:`constant` one per cent too good to be true."""
        complete = self._checked(batch)
        if self.mutated is not None:
            return self.mutated(complete)
        lhs, rhs = self.lhs.value(complete), self.rhs.value(complete)
        return lhs, rhs - 0.01 * rhs.abs()

    def evaluate(self, batch: BoundBatch, *, mutated: bool = False) -> Evaluation:
        """Return both sides as numbers, of the statement or of its mutation.

        Example:
            >>> from pml_proxyext.bounds import REGISTRY, BoundBatch
            >>> batch = BoundBatch(torch.eye(4), torch.tensor([0, 0, 1, 1]), hyper={"temperature": 0.5})
            >>> REGISTRY["graf.sc_balanced"].evaluate(batch).holds
            True
        """
        with torch.no_grad():
            lhs, rhs = self.mutated_sides(batch) if mutated else self.sides(batch)
        return Evaluation(float(lhs), float(rhs), self.kind, self.rtol)

    def _complete(self, batch: BoundBatch) -> dict[str, float]:
        return {name: batch.hyper.get(name, hyper.default) for name, hyper in self.hyper.items()}

    def _checked(self, batch: BoundBatch) -> BoundBatch:
        if objections := self.objections(batch):
            raise ValueError(f"{self.id} says nothing about this batch: {'; '.join(objections)}")
        return batch.given(**self._complete(batch))
