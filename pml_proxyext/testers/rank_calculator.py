r"""Where the relevant references stand among all: exact ranks, a few queries at a time, fair to ties."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import tqdm
from pytorch_metric_learning.distances import BaseDistance, CosineSimilarity
from pytorch_metric_learning.utils import common_functions as c_f
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor

from pml_proxyext.utils.checks import check_integer, check_rows

__all__ = ["RankCalculator"]


@dataclass(frozen=True)
class _Found:
    """For each query, what its first relevant reference meets: those before it, and those level with it."""

    before: Tensor
    level: Tensor
    level_relevant: Tensor  # itself among them
    average_precision: Tensor


class RankCalculator(AccuracyCalculator):
    r"""PML's calculator with the scores of retrieval between modalities, from the ranks among all references.

    ==========================  =====================================================================================
    ``recall_at_1``, ...        share of queries with a relevant reference among their first 1, ...
    ``median_rank``             median over queries of the rank of the first relevant reference, 1 being the best
    ``mean_average_precision``  mean over queries of the average precision over all references
    ==========================  =====================================================================================

    References at the same distance from a query are in random order, and all scores are expectations over that order
    (for the median rank: the median of the expected ranks). So embeddings that are all alike score by chance, and codes
    of few bits are judged neither by luck nor by the order of the data. With :math:`b` references before the first
    relevant one, and :math:`t` relevant ones level with :math:`m` others,

    .. math::
        P(\mathrm{rank} \le k) = 1 - \binom{m}{k - b} \Big/ \binom{m + t}{k - b}, \qquad
        E[\mathrm{rank}] = b + \frac{m + t + 1}{t + 1}.

    In the average precision, a group of :math:`n` references, :math:`r` of them relevant, that comes after :math:`b`
    references with :math:`a` relevant ones, adds :math:`\frac rn \sum_{i=1}^n \frac{a + 1 + (i - 1)(r - 1) / (n - 1)}
    {b + i}`, all divided by the number of relevant references.

    Distances are computed in float64 and rounded to float32, so that references that are alike are level whatever
    the order in which their products were summed. Memory holds :math:`\max(\mathrm{pairs\_at\_once}, M)` distances
    to :math:`M` references at a time.

    As in PML's other metrics, queries without any relevant reference do not count. The scores are NaN if no query
    counts, or if a distance is NaN.

    Args:
        recall_at: the ranks at which recall is told.
        distance: of PML, or a similarity; cosine by default.
        pairs_at_once: how many distances to compute at a time, at least those of one query.
        device: where to compute; the GPU by default, if there is one.

    Shapes:
        ``get_accuracy`` takes embeddings ``(N, D)`` and ``(M, D)``, and of both either labels ``(N,)`` and ``(M,)``,
        relevant if equal, or multi-hot labels ``(N, C)`` and ``(M, C)``, relevant if a class is common.

    Raises:
        ValueError: for invalid arguments, and for embeddings and labels that do not fit.

    Reference:
        McSherry and Najork, "Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied
        Scores", ECIR 2008, for the average precision.

    Example:
        >>> calculator = RankCalculator(recall_at=[1, 2], device=torch.device("cpu"))
        >>> images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> texts = torch.tensor([[1.0, 0.1], [1.0, 0.0]])
        >>> calculator.get_accuracy(images, torch.arange(2), texts, torch.arange(2))
        {'mean_average_precision': 0.5, 'median_rank': 2.0, 'recall_at_1': 0.0, 'recall_at_2': 1.0}
    """

    def __init__(
        self,
        recall_at: Sequence[int] = (1, 5, 10),
        distance: BaseDistance | None = None,
        pairs_at_once: int = 2**22,
        device: torch.device | None = None,
    ) -> None:
        names = [f"recall_at_{check_integer('recall_at', k)}" for k in recall_at]
        for name, k in zip(names, recall_at, strict=True):
            setattr(self, f"calculate_{name}", partial(_recall, k))  # PML finds metrics by the names of methods
        super().__init__(include=("mean_average_precision", "median_rank", *names), device=device)
        self.distance = CosineSimilarity() if distance is None else distance
        self.pairs_at_once = check_integer("pairs_at_once", pairs_at_once)

    def calculate_median_rank(self, found: _Found) -> float:
        return float(np.median((found.before + (found.level + 1) / (found.level_relevant + 1)).cpu().numpy()))

    def calculate_mean_average_precision(self, found: _Found) -> float:
        return found.average_precision.mean().item()

    def get_accuracy(
        self,
        query: Any,
        query_labels: Any,
        reference: Any = None,
        reference_labels: Any = None,
        ref_includes_query: bool = False,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> dict[str, float]:
        if reference is None:
            reference, reference_labels, ref_includes_query = query, query_labels, True
        query, query_labels, reference, reference_labels = (
            c_f.numpy_to_torch(part).to(self.device) for part in (query, query_labels, reference, reference_labels)
        )
        check_rows(query_labels, query, "query_labels", "query")
        check_rows(reference_labels, reference, "reference_labels", "reference")
        if query_labels.shape[1:] != reference_labels.shape[1:] or query_labels.ndim > 2:
            raise ValueError(
                "query_labels and reference_labels must have shapes (N,) and (M,), or (N, C) and (M, C), got "
                f"{tuple(query_labels.shape)} and {tuple(reference_labels.shape)}"
            )
        found = [
            _found(scores, relevant)
            for scores, relevant in self._chunks(query, query_labels, reference, reference_labels, ref_includes_query)
        ]
        self.curr_function_dict: dict[str, Callable[[_Found], float]] = self.get_function_dict(include, exclude)
        if not sum(len(part.before) for part in found) or any(part.average_precision.isnan().any() for part in found):
            return dict.fromkeys(self.curr_function_dict, math.nan)
        columns = ([getattr(part, name) for part in found] for name in _Found.__dataclass_fields__)
        everything = _Found(*(torch.cat(column) for column in columns))
        return {name: function(everything) for name, function in self.curr_function_dict.items()}

    @torch.no_grad()
    def _chunks(
        self, query: Tensor, query_labels: Tensor, reference: Tensor, reference_labels: Tensor, ref_includes_query: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the similarities ``(n, M)`` of some queries and which of the references are relevant."""
        reference = reference.double()
        size = max(1, self.pairs_at_once // max(len(reference), 1))
        for start in tqdm.tqdm(range(0, len(query), size), desc="ranks", leave=False):
            some = slice(start, start + size)
            mat = self.distance(query[some].double(), reference).float()
            scores = mat if self.distance.is_inverted else -mat
            relevant, absent = self.compare_labels(query_labels[some], reference_labels)
            if ref_includes_query:  # reference i is query i
                absent = absent.expand(scores.shape).clone()
                rows = torch.arange(len(scores), device=scores.device)
                absent[rows, rows + start] = True
            # What is absent comes last and is not relevant, as if it were not there.
            yield scores.masked_fill(absent & ~scores.isnan(), -math.inf), relevant & ~absent

    def compare_labels(self, labels: Tensor, reference_labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return which references are relevant to some queries, ``(n, M)``, and which are not there for them.

        The second may be of any shape that expands to ``(n, M)``; here it is False.
        """
        return _relevant(labels, reference_labels), labels.new_zeros((1, 1), dtype=torch.bool)


def _relevant(labels: Tensor, reference_labels: Tensor) -> Tensor:
    if labels.ndim == 1:
        return labels[:, None] == reference_labels
    return (labels != 0).float() @ (reference_labels != 0).float().T > 0


def _found(scores: Tensor, relevant: Tensor) -> _Found:
    """Count, for each relevant reference of the queries that have one, what is before it and what is level with it."""
    counts = relevant.sum(1)
    is_counted = counts > 0
    scores, relevant, counts = scores[is_counted], relevant[is_counted], counts[is_counted].double()
    if not len(scores):
        none = scores.new_zeros(0, dtype=torch.float64)
        return _Found(none, none, none, none)
    most = int(counts.max())
    # Rows of relevant scores, the best one last; shorter ones begin with fillers, which are never counted.
    wanted = scores.masked_fill(~relevant, -math.inf).topk(most).values.flip(1).contiguous()
    is_filler = torch.arange(most, device=scores.device) < most - counts[:, None]
    before, level = _before_and_level(scores.sort(1).values, wanted)
    relevant_before, relevant_level = _before_and_level(wanted, wanted)
    # The expected precision at the i-th place of a group is linear in i, over before + i: a sum of harmonic numbers.
    slope = (relevant_level - 1) / (level - 1).clamp(min=1)
    harmonic = torch.arange(scores.shape[1] + 1, device=scores.device, dtype=torch.float64).reciprocal()
    harmonic[0] = 0
    harmonic = harmonic.cumsum(0)
    reciprocals = harmonic[(before + level).long()] - harmonic[before.long()]
    precision = ((relevant_before + 1 - slope * (before + 1)) * reciprocals + slope * level) / level
    average_precision = precision.masked_fill(is_filler, 0.0).sum(1) / counts
    average_precision = average_precision.masked_fill(scores.isnan().any(1), math.nan)
    return _Found(before[:, -1], level[:, -1], relevant_level[:, -1], average_precision)


def _before_and_level(ascending: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many of each row of ``ascending`` are above each of the row's ``values``, and how many equal it."""
    first, end = (torch.searchsorted(ascending, values, right=right) for right in (False, True))
    return (ascending.shape[1] - end).double(), (end - first).double()


def _recall(k: int, found: _Found) -> float:
    """Return the mean probability that one of the first ``k`` is relevant: one minus that of k - b wrong draws."""
    places = (k - found.before).clamp(min=0)
    wrong = found.level - found.level_relevant
    left = (wrong - places).clamp(min=0)
    log_missed = (
        torch.lgamma(wrong + 1)
        - torch.lgamma(left + 1)
        - torch.lgamma(found.level + 1)
        + torch.lgamma((found.level - places).clamp(min=0) + 1)
    )
    missed = torch.where(places > wrong, 0.0, log_missed.exp())
    return (1 - missed).mean().item()
