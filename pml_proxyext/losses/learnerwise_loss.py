"""Any PML loss, applied to each learner of an ensemble by itself."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.losses.mixins import WeightMixin
from torch import Tensor, nn

from pml_proxyext.losses.pair_loss import PairLoss
from pml_proxyext.losses.proxy_access import full_precision_loss
from pml_proxyext.regularizers.learner_divergence_regularizer import split_learners
from pml_proxyext.utils.checks import check_integer
from pml_proxyext.utils.parameter_groups import parameter_groups

__all__ = ["LearnerwiseLoss"]


class LearnerwiseLoss(PairLoss):
    r"""Sum over the learners of an ensemble of a loss that sees one learner only.

    .. math::
        L = \sum_{m=1}^{M} L_m\big(b_m(x_1), \dots, b_m(x_N)\big)

    with :math:`b_m(x)` the :math:`m`-th of :math:`M` equal parts of an embedding, as it comes: the losses normalise it
    or not, as they do otherwise. The miner's tuples, labels and ``ref_emb`` go to every learner's loss.

    Args:
        loss: any loss of PML or this package, for embeddings of the width :math:`k` of one part. It is copied for the
            learners from the second on, so those with parameters start alike but learn apart. Or one loss for each
            learner.
        num_learners: :math:`M`; the width of the embeddings must be a multiple of it.
        **kwargs: ``embedding_regularizer`` and its weight: see
            :class:`~pml_proxyext.regularizers.LearnerDivergenceRegularizer`. Reducers and distances belong to ``loss``.

    Shapes:
        embeddings ``(N, M k)`` floating point, labels ``(N,)`` integers, ref_emb ``(R, M k)``, ref_labels ``(R,)`` -> a
        scalar, in float32 for half precision.

    Raises:
        ValueError: for a number of losses other than ``num_learners``, embeddings of another width, ``distance``, and
            what ``loss`` refuses.

    Requires an optimizer:
        if ``loss`` has parameters; ``param_groups(lr)`` has those of all learners.

    Reducer input:
        **loss**: the sum of the reduced losses, type ``"already_reduced"``.

    Departs from the paper or the release:
        a tool, found in no paper; ABE's loss is :class:`~pml_proxyext.losses.ABELoss`.

    Reference:
        Kim, Goyal, Chawla, Lee, Kwon, "Attention-based Ensemble for Deep Metric Learning", ECCV 2018,
        arXiv:1804.00382.

    Example:
        >>> from pytorch_metric_learning.losses import MultiSimilarityLoss
        >>> loss_func = LearnerwiseLoss(MultiSimilarityLoss(), num_learners=4)
        >>> loss_func(torch.randn(6, 32), torch.tensor([0, 0, 1, 1, 2, 2])).shape
        torch.Size([])
    """

    def __init__(
        self, loss: BaseMetricLossFunction | Sequence[BaseMetricLossFunction], num_learners: int, **kwargs: Any
    ) -> None:
        if "distance" in kwargs:
            raise ValueError("distance is not supported: set it on loss")
        super().__init__(**kwargs)
        self.num_learners = check_integer("num_learners", num_learners)
        if isinstance(loss, BaseMetricLossFunction):
            losses = [loss, *(copy.deepcopy(loss) for _ in range(num_learners - 1))]
        else:
            losses = list(loss)
        if len(losses) != num_learners:
            raise ValueError(f"loss must be one loss or num_learners {num_learners} of them, got {len(losses)}")
        self.losses = nn.ModuleList(losses)
        self.add_to_recordable_attributes(name="num_learners")

    @property
    def supports_ref_emb(self) -> bool:
        """Whether every learner's loss does, as far as it says; one with class weights does not."""
        return all(getattr(loss, "supports_ref_emb", not isinstance(loss, WeightMixin)) for loss in self.losses)

    def pair_losses(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: Any,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> dict[str, dict[str, Any]]:
        parts = split_learners(embeddings, self.num_learners).unbind(1)
        references: Sequence[Tensor | None] = [None] * self.num_learners
        if ref_emb is not embeddings:
            references = split_learners(ref_emb, self.num_learners, "ref_emb").unbind(1)
        values = [
            full_precision_loss(loss, part, labels, indices_tuple, reference, ref_labels)
            for loss, part, reference in zip(self.losses, parts, references, strict=True)
        ]
        return {"loss": {"losses": torch.stack(values).sum(), "indices": None, "reduction_type": "already_reduced"}}

    def param_groups(self, lr: float, **multipliers: float) -> list[dict[str, Any]]:
        """Return the optimizer groups of all learners' losses; those of PML's get 100 times ``lr``, as proxies do.

        Args:
            lr: the learning rate of the network.
            **multipliers: other factors than the defaults, by the parameters' names in ``loss``.
        """
        groups: list[dict[str, Any]] = []
        for loss in self.losses:
            if hasattr(loss, "param_groups"):
                groups += loss.param_groups(lr, **multipliers)  # type: ignore[operator]
            else:
                groups += parameter_groups(loss, lr, multipliers, {"": 100.0})
        return groups
