"""What the terms of DEMILoss are made of: sums over negatives in the log domain, and scores of class labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pml_proxyext.losses.pair_candidates import Candidates, candidates_of_rows
from pml_proxyext.utils.precision import log1p_exp, upcast

__all__ = [
    "Negatives",
    "PairCritic",
    "Terms",
    "class_mean_scores",
    "critic_scores",
    "terms_of_labels",
    "terms_of_pairs",
]

#: From rows ``(N, ...)`` and ``(M, D)`` to the scores ``(N, M)`` of all pairs.
PairCritic = Callable[[Tensor, Tensor], Tensor]


class Negatives:
    r"""The negatives :math:`N(a)` of each row of a score matrix, and what is summed over them.

    All positive pairs of a row share its negatives, so a sum per row serves them all: memory is that of the matrix,
    however many pairs there are.

    Args:
        counts: ``(N, M)`` of the dtype of the scores; how often each entry is a negative of its row, 0 for never.

    Example:
        >>> negatives = Negatives(torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]))
        >>> negatives.log_sum(torch.zeros(2, 3))  # the second row has none, and its number means nothing
        tensor([0.6931, 1.0986])
        >>> pair = torch.tensor([0])
        >>> negatives.contrast(torch.tensor([0.6931, 1.0986]), torch.zeros(1), pair)  # one of three alike
        tensor([1.0986])
    """

    def __init__(self, counts: Tensor) -> None:
        #: ``(N,)``, how many negatives each row has.
        self.numbers = counts.sum(1)
        # Of a row without negatives all columns are taken: the logarithm of an empty sum has no gradient, not even 0.
        self._log_counts = counts.where(self.numbers[:, None] > 0, 1.0).log()

    def log_sum(self, scores: Tensor) -> Tensor:
        r"""Return :math:`\log \sum_{k \in N(a)} e^{S_{ak}}`, ``(N,)``: finite, but without meaning, where none is."""
        return (scores + self._log_counts).logsumexp(1)

    def contrast(self, log_sums: Tensor, positives: Tensor, rows: Tensor) -> Tensor:
        r"""Return :math:`-\log (e^{S_{ap}} / (e^{S_{ap}} + e^{L_a}))` of positive pairs, 0 where there is no negative.

        Args:
            log_sums: :math:`L_a`, ``(N,)``.
            positives: :math:`S_{ap}`, ``(P,)``.
            rows: ``(P,)``, the row of each pair.
        """
        return log1p_exp(torch.where(self.numbers > 0, log_sums, -torch.inf)[rows] - positives)

    @torch.no_grad()
    def effective_sample_size(self, scores: Tensor) -> Tensor:
        r"""Return :math:`1 / \sum_k w_{ak}^2`, ``(N,)``, for the weights :math:`w_a` = softmax over the negatives."""
        return torch.where(self.numbers > 0, (2 * self.log_sum(scores) - self.log_sum(2 * scores)).exp(), 0.0)


@dataclass(frozen=True)
class Terms:
    """Both terms of the loss, one value for each positive pair, and what their bounds are made of."""

    pairs: tuple[Tensor, Tensor]  #: rows and columns of the pairs, ``(P,)`` each
    sub_losses: Tensor  #: ``(P,)``
    cond_losses: Tensor  #: ``(P,)``
    sub_negatives: Negatives
    cond_negatives: Negatives
    log_weights: Tensor  #: of the conditional negatives, ``(N, M)`` or one number; up to a constant per row

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Return the logarithm of the number of candidates minus each term, ``(P,)``."""
        both = (self.sub_negatives, self.sub_losses), (self.cond_negatives, self.cond_losses)
        sub_bound, cond_bound = (negatives.numbers.log1p()[self.pairs[0]] - losses for negatives, losses in both)
        return sub_bound, cond_bound

    def effective_sample_sizes(self) -> Tensor:
        """Return how many equal weights would vary as those of each pair's conditional negatives do, ``(P,)``."""
        return self.cond_negatives.effective_sample_size(self.log_weights)[self.pairs[0]]


def terms_of_pairs(psi: Tensor, phi: Tensor, candidates: Candidates, boosted: bool, detach_sub: bool) -> Terms:
    """Return the terms whose conditional part is boosted, or else importance-sampled.

    Args:
        psi: scores of the subviews, ``(N, M)``.
        phi: scores of the views, ``(N, M)``.
        candidates: positive pairs, and counts of the negatives.
        boosted: see :class:`~pml_proxyext.losses.DEMILoss`.
        detach_sub: whether psi is constant in the conditional term.
    """
    rows, columns, counts = candidates
    negatives = Negatives(counts)
    log_sums = negatives.log_sum(psi)
    sub_losses = negatives.contrast(log_sums, psi[rows, columns], rows)
    if detach_sub:
        psi, log_sums = psi.detach(), log_sums.detach()
    both = psi + phi
    if boosted:
        cond_losses = negatives.contrast(negatives.log_sum(both), both[rows, columns], rows)
    else:
        # The mean over the negatives with softmaxes of psi as weights, times their number.
        weighted = negatives.log_sum(both) - log_sums + negatives.numbers.clamp(min=1).log()
        cond_losses = negatives.contrast(weighted, phi[rows, columns], rows)
    return Terms((rows, columns), sub_losses, cond_losses, negatives, negatives, psi)


def terms_of_labels(psi: Tensor, phi: Tensor, labels: Tensor) -> Terms:
    """Return the terms of rows of two views whose subview is the label.

    Args:
        psi: scores of each row's label and each sample, ``(N, N)``; all samples are candidates.
        phi: scores of the views, ``(N, N)``; the samples of the row's class are candidates.
        labels: ``(N,)``.
    """
    rows, columns, counts = candidates_of_rows(phi)
    everyone, classmates = Negatives(counts), Negatives(counts * (labels[:, None] == labels))
    sub_losses = everyone.contrast(everyone.log_sum(psi), psi.diagonal(), rows)
    cond_losses = classmates.contrast(classmates.log_sum(phi), phi.diagonal(), rows)
    return Terms((rows, columns), sub_losses, cond_losses, everyone, classmates, phi.new_zeros(()))


def critic_scores(critic: PairCritic, rows: Tensor, columns: Tensor) -> Tensor:
    """Return what a critic gives all pairs, ``(N, M)``, in float32 for half precision.

    Raises:
        ValueError: if that has another shape.
    """
    scores = critic(rows, columns)
    if scores.shape != (len(rows), len(columns)):
        raise ValueError(
            f"a critic must return the scores of all pairs, ({len(rows)}, {len(columns)}), "
            f"got shape {tuple(scores.shape)}"
        )
    return upcast(scores)


def class_mean_scores(score: PairCritic, labels: Tensor, samples: Tensor) -> Tensor:
    """Return how well each row's label fits each sample: the score of the label's mean sample.

    A sample is left out of the mean that it is compared with. So all samples of a class are scored alike, by what the
    others say; a class of one gets the score of the zero vector.

    Args:
        score: from rows ``(N, D)`` and ``(N, D)`` to the scores ``(N, N)`` of all pairs.
        labels: ``(N,)``.
        samples: ``(N, D)``, of the same labels.

    Shapes:
        -> ``(N, N)``, with equal rows for equal labels.

    Example:
        >>> samples = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> class_mean_scores(lambda a, b: a @ b.T, torch.tensor([0, 0, 1]), samples)
        tensor([[0., 0., 1.],
                [0., 0., 1.],
                [1., 1., 0.]])
    """
    same = labels[:, None] == labels
    numbers = same.sum(1, keepdim=True)
    totals = same.to(samples) @ samples
    others = torch.where(numbers > 1, (totals - samples) / (numbers - 1).clamp(min=1), 0.0)
    return torch.where(same, score(others, samples).diagonal(), score(totals / numbers, samples))
