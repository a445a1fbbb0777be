r"""The loss of ABE: a contrastive loss for each learner of an ensemble, and a divergence between the learners."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning.utils import common_functions as c_f
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from torch import Tensor
from torch.nn.functional import normalize, relu

from pml_proxyext.losses.pair_loss import PairLoss
from pml_proxyext.losses.proxy_loss import element_loss
from pml_proxyext.regularizers.learner_divergence_regularizer import LearnerDivergenceRegularizer, split_learners
from pml_proxyext.utils.checks import check_integer, check_number

__all__ = ["ABELoss"]


class ABELoss(PairLoss):
    r"""Each learner of an ensemble gathers classes by itself, and every two learners differ on each image.

    An embedding is the concatenation of :math:`M` parts :math:`b_1, \dots, b_M`, one from each learner, which are
    normalised here. With :math:`P` the pairs :math:`i \ne j` of the batch, or those that a miner chose,

    .. math::
        L = \sum_{m=1}^{M} \frac{1}{|P|} \sum_{(i, j) \in P} \begin{cases} d_m(i, j)^2 & y_i = y_j \\
            [m_c - d_m(i, j)^2]_+ & y_i \ne y_j \end{cases} \;+\; \lambda\, L_\mathrm{div}, \qquad
        d_m(i, j) = |b_m(x_i) - b_m(x_j)|

    and :math:`L_\mathrm{div}` the mean of
    :class:`~pml_proxyext.regularizers.LearnerDivergenceRegularizer`.

    Args:
        num_learners: :math:`M`; 8 in the paper. The width of the embeddings must be a multiple of it.
        neg_margin: :math:`m_c > 0`, of squared distances between unit vectors.
        div_margin: :math:`m` of the divergence.
        div_weight: :math:`\lambda \ge 0`.
        **kwargs: ``reducer``, ``embedding_regularizer`` and its weight.

    Shapes:
        embeddings ``(N, M k)`` floating point, labels ``(N,)`` integers, ref_emb ``(R, M k)``, ref_labels ``(R,)`` -> a
        scalar, in float32 for half precision. Memory: :math:`M N R` numbers.

    Raises:
        ValueError: for invalid hyper-parameters or labels, embeddings of another width, and for ``distance``.

    Reducer input:
        **metric_loss**: one value per sample of ``embeddings``, the sum of its terms times :math:`N / |P|`, type
        ``"element"``. **divergence_loss**: one value per sample, type ``"element"``. Default reducer: mean.

    Relations:
        With ``div_weight=0`` it is the sum over learners of PML's ``ContrastiveLoss(0, neg_margin,
        distance=LpDistance(power=2))`` on their parts, if that takes one mean over all pairs. PML's own reducers do
        not: they add a mean over positive pairs to one over negative pairs, and its default counts only pairs with a
        loss. For those, use :class:`~pml_proxyext.losses.LearnerwiseLoss` with the regularizer above.

    Departs from the paper or the release:
        no official code is known, and of the paper only the abstract and the introduction were at hand: the formula is
        a reconstruction, checked against public re-implementations. All three defaults of 1 are from memory; both
        margins stand in one of those. The divergence is a mean over samples and pairs of learners, not a sum, so
        :math:`\lambda` does not depend on their numbers.

    Reference:
        Kim, Goyal, Chawla, Lee, Kwon, "Attention-based Ensemble for Deep Metric Learning", ECCV 2018,
        arXiv:1804.00382.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> loss_func = ABELoss(num_learners=4)
        >>> loss_func(torch.randn(6, 32), torch.tensor([0, 0, 1, 1, 2, 2])).shape
        torch.Size([])
    """

    supports_ref_emb = True

    def __init__(
        self,
        num_learners: int,
        neg_margin: float = 1.0,
        div_margin: float = 1.0,
        div_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        if "distance" in kwargs:
            raise ValueError("distance is not supported: the loss is defined by squared Euclidean distances")
        super().__init__(**kwargs)
        self.num_learners = check_integer("num_learners", num_learners)
        self.neg_margin = check_number("neg_margin", neg_margin, low=0.0, open_low=True)
        self.div_margin = check_number("div_margin", div_margin, low=0.0, open_low=True)
        self.div_weight = check_number("div_weight", div_weight, low=0.0)
        self.divergence = LearnerDivergenceRegularizer(num_learners, div_margin)
        self.add_to_recordable_attributes(list_of_names=["num_learners", "neg_margin", "div_margin", "div_weight"])

    def pair_losses(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: Any,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> dict[str, dict[str, Any]]:
        c_f.labels_or_indices_tuple_required(labels, indices_tuple)
        learners = normalize(split_learners(embeddings, self.num_learners), dim=-1).transpose(0, 1)  # (M, N, k)
        references = learners
        if ref_emb is not embeddings:
            references = normalize(split_learners(ref_emb, self.num_learners, "ref_emb"), dim=-1).transpose(0, 1)
        if indices_tuple is None:
            positives, negatives = lmu.get_matches_and_diffs(labels, labels if ref_emb is embeddings else ref_labels)
        else:
            positives, negatives = _count_pairs(indices_tuple, embeddings, ref_emb)
        squared = 2 - 2 * learners @ references.mT  # (M, N, R)
        terms = positives * squared + negatives * relu(self.neg_margin - squared)
        pairs = (positives.sum() + negatives.sum()).clamp(min=1)
        return {
            "metric_loss": element_loss(terms.sum((0, 2)) * len(embeddings) / pairs),
            "divergence_loss": element_loss(self.div_weight * self.divergence.sample_losses(embeddings)),
        }

    def _sub_loss_names(self) -> list[str]:
        return ["metric_loss", "divergence_loss"]


def _count_pairs(indices_tuple: Any, embeddings: Tensor, ref_emb: Tensor) -> tuple[Tensor, Tensor]:
    """Return how often a miner's tuples name each positive and each negative pair, ``(N, R)`` both."""
    rows, columns = len(embeddings), len(ref_emb)
    a1, p, a2, n = (index.to(embeddings.device) for index in lmu.convert_to_pairs(indices_tuple, None))
    return (
        torch.bincount(a1 * columns + p, minlength=rows * columns).view(rows, columns),
        torch.bincount(a2 * columns + n, minlength=rows * columns).view(rows, columns),
    )
