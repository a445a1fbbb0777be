r"""PML's scores of retrieval for samples of several labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from pytorch_metric_learning.utils import common_functions as c_f
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator, try_getting_not_lone_labels
from torch import Tensor

from pml_proxyext.utils.checks import check_multi_hot

__all__ = ["MultiLabelAccuracyCalculator"]

_CLUSTERING = ("AMI", "NMI")


class MultiLabelAccuracyCalculator(AccuracyCalculator):
    r"""PML's ``AccuracyCalculator`` for multi-hot labels: relevant is what shares a label with the query.

    With :math:`r_j \in \{0, 1\}` the relevance of neighbour :math:`j` and :math:`R` the number of relevant references,
    average precision among the nearest :math:`k` is counted in two ways:

    ===================================  =========================================================================
    ``mean_average_precision``           :math:`\frac1R \sum_{j \le k} r_j \frac{r_1 + \dots + r_j}{j}`, PML's
    ``mean_average_precision_of_found``  the same sum over :math:`r_1 + \dots + r_k`, usual in papers on hashing
    ===================================  =========================================================================

    They agree where all references are ranked (``k=None``). Else the second is larger: it does not mind what was not
    found, and one relevant neighbour at the top and none after it score 1. A query that found nothing counts 0 in both.
    Queries without any relevant reference are left out, as PML does. ``precision_at_1``, ``r_precision``,
    ``mean_average_precision_at_r`` and ``mean_reciprocal_rank`` are PML's.

    Args:
        include, exclude: names of scores; all but PML's two of clustering by default.
        k: how many neighbours; all references by default, ``"max_bin_count"`` for the largest :math:`R`.
        device: where to compute.
        knn_func: finds the neighbours; PML's default or a :class:`~pml_proxyext.testers.HammingKNN` for codes.

    Shapes:
        :meth:`get_accuracy`: query ``(N, D)``, query_labels ``(N, C)``, reference ``(M, D)``, reference_labels
        ``(M, C)``, labels of zeros and ones -> a dictionary of numbers. Without a reference, every row is a query
        among the others. Given to PML's calculator as they are, labels of all neighbours would take N M C numbers;
        here equal rows of labels share one id, and N M are enough.

    Raises:
        ValueError: for labels that are not multi-hot or of unequal widths, and for ``NMI`` and ``AMI``.

    Example:
        >>> codes = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
        >>> labels = torch.tensor([[1, 1, 0], [0, 0, 1], [1, 0, 0]])
        >>> names = ("mean_average_precision", "mean_average_precision_of_found")
        >>> calculator = MultiLabelAccuracyCalculator(include=names, device=torch.device("cpu"))
        >>> calculator.get_accuracy(codes, labels)
        {'mean_average_precision': 0.5, 'mean_average_precision_of_found': 0.5}
    """

    def __init__(
        self,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        k: int | Literal["max_bin_count"] | None = None,
        device: torch.device | None = None,
        knn_func: Callable[..., tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        for name in _CLUSTERING:
            if name in include:
                raise ValueError(f"include must be scores of neighbours, got {name!r}, which is not supported")
        super().__init__(
            include=tuple(include),
            exclude=(*exclude, *_CLUSTERING),
            k=k,
            label_comparison_fn=self._are_relevant,
            device=device,
            knn_func=knn_func,
        )
        self._relevant = torch.empty(0, 0, dtype=torch.bool)

    def get_accuracy(
        self,
        query: Tensor,
        query_labels: Tensor,
        reference: Tensor | None = None,
        reference_labels: Tensor | None = None,
        ref_includes_query: bool = False,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> dict[str, float]:
        """Return the scores by name; see PML for the arguments."""
        if reference is None:
            reference, reference_labels, ref_includes_query = query, query_labels, True
        labels = check_multi_hot(c_f.numpy_to_torch(query_labels), name="query_labels")
        others = check_multi_hot(c_f.numpy_to_torch(reference_labels), labels.shape[1], name="reference_labels")
        rows = torch.cat([labels.to(self.device).float(), others.to(self.device).float()])
        kinds, ids = rows.unique(dim=0, return_inverse=True)
        self._relevant = kinds @ kinds.T > 0
        # PML makes floats of labels, in which numbers up to 16 million are exact.
        ids, reference_ids = ids.split([len(labels), len(others)])
        arguments = query, ids, reference, reference_ids, ref_includes_query, tuple(include), tuple(exclude)
        scores: dict[str, float] = super().get_accuracy(*arguments)
        return scores

    def calculate_mean_average_precision_of_found(
        self, knn_labels: Tensor, query_labels: Tensor, not_lone_query_mask: Tensor, **kwargs: Any
    ) -> float:
        """Return the mean over queries of the precision at each relevant neighbour, averaged over those."""
        knn_labels, query_labels = try_getting_not_lone_labels(knn_labels, query_labels, not_lone_query_mask)
        if knn_labels is None:
            return float("nan")
        hits = self._are_relevant(query_labels[:, None], knn_labels).double()
        ranks = torch.arange(1, hits.shape[1] + 1, device=hits.device)
        sums = (hits * hits.cumsum(1) / ranks).sum(1)
        return (sums / hits.sum(1).clamp_min(1)).mean().item()

    def requires_knn(self) -> list[str]:
        return [*super().requires_knn(), "mean_reciprocal_rank", "mean_average_precision_of_found"]

    def _are_relevant(self, ids: Tensor, other_ids: Tensor) -> Tensor:
        """Return whether rows of labels with these ids share a label, for shapes that broadcast."""
        return self._relevant[ids.long(), other_ids.long()]
