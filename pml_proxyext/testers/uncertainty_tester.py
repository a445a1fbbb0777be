"""PML's tester, and what the embeddings know of its errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.utils.accuracy_calculator import get_label_match_counts, get_lone_query_labels
from torch import Tensor

from pml_proxyext.testers.rejection import Rejection
from pml_proxyext.utils.checks import check_number
from pml_proxyext.utils.precision import upcast

__all__ = ["UncertaintyTester", "embedding_norm"]


def embedding_norm(embeddings: Tensor) -> Tensor:
    """Return the Euclidean norm of each row, at least in float32.

    Example:
        >>> embedding_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        tensor([5., 1.])
    """
    return torch.linalg.vector_norm(upcast(embeddings), dim=1)


class UncertaintyTester(GlobalEmbeddingSpaceTester):
    r"""PML's ``GlobalEmbeddingSpaceTester``, which also says whether uncertain queries are the ones that go wrong.

    A query goes wrong if its nearest reference has another label. Its certainty comes from its embedding, before PML
    normalises it: the norm by default, which is the concentration of its distribution for
    :class:`~pml_proxyext.losses.NivMFLoss`. Losses that look at directions alone do not train the norm; it may tell
    something all the same. Give another ``certainty`` if you have one.

    ``test`` adds to ``all_accuracies[split]``, for each label level:

    =============================  ==================================================================================
    ``error_auroc``                probability that a wrong query is less certain than a right one
    ``rejection_area``             area under the error among the queries left, over the fraction turned away
    ``rejection_area_normalized``  the same, 0 for the best possible order and 1 for a random one
    ``error_rejecting_10``         the error when the least certain 10 % are turned away; so for each of ``rejected``
    =============================  ==================================================================================

    with the ending of PML's names (``error_auroc_level0``), and an average over several levels as PML has it. The
    first and the third are NaN where all queries are right, or all wrong. As in PML's precision at 1, a query counts
    only if there is another reference of its class, and is never its own neighbour; ``error_rejecting_0`` is one minus
    PML's ``precision_at_1`` (when the calculator averages over queries, as it does by default). The neighbours come
    from the calculator's ``knn_func`` and labels are compared by its ``label_comparison_fn``. If embeddings are not
    finite, all scores are NaN, the calculator's too.

    Args:
        *args: as PML's tester takes them.
        certainty: from embeddings ``(N, D)``, as the network returns them, to ``(N,)`` numbers, larger for more
            certain.
        rejected: fractions in [0, 1) of the queries to turn away, for ``error_rejecting_...``.
        **kwargs: as PML's tester takes them.

    Attributes:
        rejections: from the name of a query split to a dictionary, from a label level to a
            :class:`~pml_proxyext.testers.Rejection`, which has the whole curve; of the last ``test``.

    Raises:
        ValueError: for invalid arguments, and if ``certainty`` returns anything but one number per embedding.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
        >>> images = torch.tensor([[3.0, 0.0], [2.0, 0.1], [0.0, 2.0], [0.1, 3.0], [0.3, 0.2]])
        >>> data = TensorDataset(images, torch.tensor([0, 0, 1, 1, 1]))
        >>> calculator = AccuracyCalculator(include=("precision_at_1",), device=torch.device("cpu"))
        >>> tester = UncertaintyTester(
        ...     accuracy_calculator=calculator, dataloader_num_workers=0, data_device=torch.device("cpu")
        ... )
        >>> scores = tester.test({"val": data}, 1, torch.nn.Identity())["val"]
        >>> scores["error_auroc_level0"], scores["error_rejecting_0_level0"], scores["error_rejecting_10_level0"]
        (1.0, 0.2, 0.2)
        >>> tester.rejections["val"][0].error.tolist()
        [0.2, 0.0, 0.0, 0.0, 0.0]
    """

    def __init__(
        self,
        *args: Any,
        certainty: Callable[[Tensor], Tensor] = embedding_norm,
        rejected: Sequence[float] = (0.0, 0.1, 0.3, 0.5),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if not callable(certainty):
            raise ValueError(f"certainty must be a function of the embeddings, got {certainty!r}")
        for fraction in rejected:
            if check_number("rejected", fraction, low=0.0, high=1.0) == 1.0:
                raise ValueError("rejected must be fractions below 1, got 1: some query must stay")
        self.certainty, self.rejected = certainty, tuple(rejected)
        self.rejections: dict[str, dict[int, Rejection]] = {}
        self._certainties: dict[str, Tensor] = {}
        self._of_last_split = torch.empty(0)

    def compute_all_embeddings(self, *args: Any) -> tuple[Tensor, Tensor]:
        """Note the certainty of the embeddings before PML normalises them."""
        embeddings, labels = super().compute_all_embeddings(*args)
        with torch.no_grad():
            self._of_last_split = self.certainty(embeddings)
        if self._of_last_split.shape != (len(embeddings),):
            raise ValueError(
                f"certainty must return shape ({len(embeddings)},) for embeddings of shape {tuple(embeddings.shape)}, "
                f"got shape {tuple(self._of_last_split.shape)}"
            )
        return embeddings, labels

    def get_all_embeddings_for_all_splits(
        self, dataset_dict: Mapping[str, Any], trunk_model: Any, embedder_model: Any, splits: Sequence[str], *args: Any
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Embed one split after the other, to know which split a certainty belongs to."""
        self.rejections, self._certainties = {}, {}
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for split in splits:
            found |= super().get_all_embeddings_for_all_splits(
                dataset_dict, trunk_model, embedder_model, [split], *args
            )
            self._certainties[split] = self._of_last_split
        return found

    def do_knn_and_accuracies(
        self,
        accuracies: dict[str, float],
        embeddings_and_labels: Mapping[str, tuple[Tensor, Tensor]],
        query_split_name: str,
        reference_split_names: Sequence[str],
    ) -> None:
        """Add PML's scores and then those of the class."""
        where = embeddings_and_labels, query_split_name, reference_split_names
        query, labels, reference, reference_labels = self.set_reference_and_query(*where)
        self.label_levels = self.label_levels_to_evaluate(labels)
        if query.isfinite().all() and reference.isfinite().all():
            super().do_knn_and_accuracies(accuracies, *where)
            includes_query = self.ref_includes_query(query_split_name, reference_split_names)
            nearest = self._nearest(query, reference, includes_query)
            certainty = self._certainties[query_split_name]
            rejections = {
                level: self._rejection(certainty, labels[:, level], reference_labels[:, level], nearest, includes_query)
                for level in self.label_levels
            }
        else:  # PML would end in an error about something else, or take the last reference for the nearest
            unknown = dict.fromkeys(self.accuracy_calculator.get_curr_metrics(), math.nan)
            accuracies |= self._named(dict.fromkeys(self.label_levels, unknown))
            rejections = {level: Rejection([], []) for level in self.label_levels}
        self.rejections[query_split_name] = rejections
        accuracies |= self._named({level: self._scores(rejection) for level, rejection in rejections.items()})

    def _nearest(self, query: Tensor, reference: Tensor, includes_query: bool) -> Tensor:
        """Return the index ``(N,)`` of the nearest reference of each query, itself aside."""
        query, reference = (embeddings.to(self.accuracy_calculator.device).float() for embeddings in (query, reference))
        nearest: Tensor = self.accuracy_calculator.knn_func(query, 1, reference, includes_query)[1]
        return nearest.flatten()

    def _rejection(
        self, certainty: Tensor, labels: Tensor, reference_labels: Tensor, nearest: Tensor, includes_query: bool
    ) -> Rejection:
        """Compare labels as PML's calculator does, and leave out the queries that it leaves out."""
        compare = self.accuracy_calculator.label_comparison_fn
        labels, reference_labels = (part.to(nearest.device).float() for part in (labels, reference_labels))
        match_counts = get_label_match_counts(labels, reference_labels, compare)
        counts = get_lone_query_labels(labels, match_counts, includes_query, compare)[1]
        wrong = ~compare(labels[:, None], reference_labels[nearest][:, None]).flatten().bool()
        return Rejection(wrong[counts].cpu().numpy(), certainty.to(counts.device)[counts].double().cpu().numpy())

    def _scores(self, rejection: Rejection) -> dict[str, float]:
        errors = rejection.error_at(self.rejected)
        return {
            "error_auroc": rejection.auroc,
            "rejection_area": rejection.area,
            "rejection_area_normalized": rejection.normalized_area,
            **{_name_at(fraction): float(error) for fraction, error in zip(self.rejected, errors, strict=True)},
        }

    def _named(self, of_level: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
        """Return the scores of all levels by PML's names, with their averages if there are several levels."""
        named = {
            self.accuracies_keyname(name, label_hierarchy_level=level): score
            for level, scores in of_level.items()
            for name, score in scores.items()
        }
        if len(of_level) > 1:
            self.calculate_average_accuracies(named, list(next(iter(of_level.values()))), list(of_level))
        return named


def _name_at(fraction: float) -> str:
    """Return a name that a database takes for a column: percent, and no dot."""
    return f"error_rejecting_{100 * fraction:g}".replace(".", "_")
