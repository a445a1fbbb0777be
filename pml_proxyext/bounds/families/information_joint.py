"""Small joint distributions of x, a subview x' and y, and expectations over contrasts on them, as exact sums.

The first rows and proxies of a batch define a joint distribution of x and y, as in
:mod:`~pml_proxyext.bounds.families.mutual_information`; the subview x' tells which half of the rows x is in. A row of
scores is a positive and two negatives: the expectation is a sum over all that these three can be.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.mutual_information import COLUMNS, ROWS, small_joint
from pml_proxyext.information import MutualInformationEstimator

__all__ = [
    "Contrasts",
    "best_critics",
    "conditional_information",
    "critic",
    "expected",
    "given_half",
    "marginal",
    "mean_of_halves",
    "sum_of_best",
    "table",
]


def _halves(log_p: Tensor) -> Tensor:
    """Return which half of the rows each row is in."""
    return torch.arange(len(log_p)) // 2


def given_half(log_p: Tensor) -> Tensor:
    """Return log p(y | x') for each row x, of the shape of the joint distribution."""
    halves = _halves(log_p)
    same = halves[:, None] == halves
    of_half = torch.where(same[:, :, None], log_p, -torch.inf).logsumexp(1)
    return of_half.log_softmax(1)


def marginal(log_p: Tensor) -> Tensor:
    """Return log p(y) for each row, of the shape of the joint distribution."""
    return log_p.logsumexp(0).expand_as(log_p)


def conditional_information(batch: BoundBatch) -> Tensor:
    """Return I(x; y | x')."""
    log_p = small_joint(batch)
    return (log_p.exp() * (log_p.log_softmax(1) - given_half(log_p))).sum()


def critic(batch: BoundBatch, factor: float) -> Tensor:
    """Return a critic that is not the best one, but akin to it."""
    return factor * batch.embeddings[:ROWS] @ batch.classifier[:COLUMNS].t()


def mean_of_halves(batch: BoundBatch, factor: float) -> Tensor:
    """Return such a critic of x' and y, for each row x."""
    scores = critic(batch, factor)
    halves = _halves(scores)
    same = (halves[:, None] == halves).to(scores)
    return same @ scores / same.sum(1, keepdim=True)


@dataclass(frozen=True)
class Contrasts:
    """All that a row, its positive and two negatives can be, with the logarithms of their probabilities."""

    row: Tensor
    positive: Tensor
    negatives: Tensor
    log_probability: Tensor

    @classmethod
    def of(cls, log_p: Tensor, log_negatives: Tensor) -> Contrasts:
        """Draw row and positive from ``log_p``, and negatives from the distribution that the row has in the other."""
        rows, columns = torch.arange(log_p.shape[0]), torch.arange(log_p.shape[1])
        row, positive, first, second = torch.cartesian_prod(rows, columns, columns, columns).unbind(1)
        log_probability = log_p[row, positive] + log_negatives[row, first] + log_negatives[row, second]
        return cls(row, positive, torch.stack([first, second], dim=1), log_probability)

    def scores(self, critic: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the critic ``(x, y)`` gives to positives and negatives."""
        return critic[self.row, self.positive], critic[self.row[:, None], self.negatives]

    def mean(self, per_row: Tensor) -> Tensor:
        return (self.log_probability.exp() * per_row).sum()


def expected(batch: BoundBatch, estimator: MutualInformationEstimator, *critics: Tensor) -> Tensor:
    """Return the expectation of an estimator with two negatives that are independent of the row."""
    log_p = small_joint(batch)
    contrasts = Contrasts.of(log_p, marginal(log_p))
    return contrasts.mean(estimator.per_row(*map(contrasts.scores, critics)))


def best_critics(batch: BoundBatch) -> tuple[Tensor, Tensor]:
    """Return the best critics of the subview and of the rest: logarithms of ratios of densities."""
    log_p = small_joint(batch)
    of_half = given_half(log_p)
    return of_half - marginal(log_p), log_p.log_softmax(1) - of_half


def sum_of_best(batch: BoundBatch) -> Tensor:
    """Return the best critic of the whole."""
    psi, phi = best_critics(batch)
    return psi + phi


def table(*rows: list[float], **hyper: float) -> BoundBatch:
    """Return a batch that defines the joint distribution with these logarithms, up to a constant."""
    return BoundBatch(
        torch.tensor(rows, dtype=torch.float64), torch.arange(len(rows)) % 3, torch.eye(3), hyper, "witness"
    )
