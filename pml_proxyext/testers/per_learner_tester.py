"""PML's tester, for each learner of an ensemble as well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from torch import Tensor

from pml_proxyext.regularizers.learner_divergence_regularizer import LearnerDivergenceRegularizer, split_learners
from pml_proxyext.utils.checks import check_integer

__all__ = ["PerLearnerTester"]


class PerLearnerTester(GlobalEmbeddingSpaceTester):
    r"""PML's ``GlobalEmbeddingSpaceTester``, which also scores each learner of an ensemble by itself.

    An embedding is the concatenation of :math:`M` equal parts, one from each learner, as
    :class:`~pml_proxyext.models.AttentionEnsemble` makes it. ``test`` adds to ``all_accuracies[split]``, for each
    ``metric`` of the calculator, with the ending of PML's names:

    ==================================  =============================================================================
    ``learner0_metric_level0``          the metric on the part of the first learner alone; so on for the others
    ``learner_mean_metric_level0``      the mean over learners
    ``self_pair_cosine``                mean cosine of two learners on the same query; near 1, they have collapsed
    ==================================  =============================================================================

    The last is NaN for a single learner. If embeddings are not finite, all scores are NaN. To choose a model by what
    its learners are worth alone, give PML's hooks ``primary_metric="learner_mean_precision_at_1"``.

    Args:
        num_learners: :math:`M`; the width of the embeddings must be a multiple of it.
        *args: as PML's tester takes them.
        **kwargs: as PML's tester takes them, without ``pca``. ``normalize_embeddings`` is about the whole and about
            each part.

    Raises:
        ValueError: for ``pca``, which would mix the learners, an invalid ``num_learners``, and embeddings of another
            width.

    Reference:
        the evaluation of one learner and of all in Kim, Goyal, Chawla, Lee, Kwon, "Attention-based Ensemble for Deep
        Metric Learning", ECCV 2018, arXiv:1804.00382, as far as we know it.

    Example:
        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
        >>> sees, blind = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]]), torch.eye(2)[[0, 1, 0, 1]]
        >>> data = TensorDataset(torch.cat([sees, blind], dim=1), torch.tensor([0, 0, 1, 1]))
        >>> cpu = torch.device("cpu")
        >>> calculator = AccuracyCalculator(include=("precision_at_1",), device=cpu)
        >>> tester = PerLearnerTester(2, accuracy_calculator=calculator, dataloader_num_workers=0, data_device=cpu)
        >>> scores = tester.test({"val": data}, 1, torch.nn.Identity())["val"]
        >>> scores["learner0_precision_at_1_level0"], scores["learner1_precision_at_1_level0"]
        (1.0, 0.0)
    """

    def __init__(self, num_learners: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.num_learners = check_integer("num_learners", num_learners)
        if self.pca:
            raise ValueError("pca is not supported: it mixes the learners")

    def do_knn_and_accuracies(
        self,
        accuracies: dict[str, float],
        embeddings_and_labels: Mapping[str, tuple[Tensor, Tensor]],
        query_split_name: str,
        reference_split_names: Sequence[str],
    ) -> None:
        """Add PML's scores and then those of the learners."""
        splits = {query_split_name, *reference_split_names}
        whole = {split: embeddings_and_labels[split] for split in splits}
        parts = {split: split_learners(embeddings, self.num_learners) for split, (embeddings, _) in whole.items()}
        accuracies |= self._scores(whole, query_split_name, reference_split_names)
        learners = []
        for m in range(self.num_learners):
            alone = {
                split: (self.maybe_normalize(part[:, m].contiguous()), whole[split][1]) for split, part in parts.items()
            }
            learners.append(self._scores(alone, query_split_name, reference_split_names))
            accuracies |= {f"learner{m}_{name}": score for name, score in learners[-1].items()}
        for name in learners[0]:
            accuracies[f"learner_mean_{name}"] = sum(scores[name] for scores in learners) / self.num_learners
        cosines = LearnerDivergenceRegularizer(self.num_learners).learner_cosines(whole[query_split_name][0])
        accuracies["self_pair_cosine"] = cosines.mean().item()

    def _scores(
        self,
        embeddings_and_labels: Mapping[str, tuple[Tensor, Tensor]],
        query_split_name: str,
        reference_split_names: Sequence[str],
    ) -> dict[str, float]:
        """Return PML's scores; NaN where its calculator would end in an error about something else."""
        found: dict[str, float] = {}
        if all(embeddings.isfinite().all() for embeddings, _ in embeddings_and_labels.values()):
            super().do_knn_and_accuracies(found, embeddings_and_labels, query_split_name, reference_split_names)
            return found
        self.label_levels = self.label_levels_to_evaluate(embeddings_and_labels[query_split_name][1])
        metrics = self.accuracy_calculator.get_curr_metrics()
        found = {self.accuracies_keyname(name, level): math.nan for name in metrics for level in self.label_levels}
        if len(self.label_levels) > 1:
            self.calculate_average_accuracies(found, metrics, self.label_levels)
        return found
