r"""SPCE: cross-entropy whose classifier is made of the batch itself, from pairwise similarities alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pml_proxyext.losses.pairwise_cross_entropy_terms import absence_logits, class_indicators, similarity_logits
from pml_proxyext.losses.similarity_matrix_loss import SimilarityMatrixLoss
from pml_proxyext.utils.checks import check_number

__all__ = ["SimplifiedPairwiseCrossEntropyLoss"]


class SimplifiedPairwiseCrossEntropyLoss(SimilarityMatrixLoss):
    r"""Draw a sample to those of its class, and away from all classes of the batch by a softmax: a reconstruction.

    .. math::
        \ell_i = -\frac{1}{\lambda n} \sum_{j : y_j = y_i} z_i^\top z_j
            + \log \sum_k \exp\Big(\frac{1}{\lambda n} \sum_{j : y_j = k} z_i^\top z_j\Big)

    over the :math:`n` samples of the batch, :math:`j = i` included, and the classes :math:`k` that are in it. The
    embeddings are taken as they come, with their norms. The loss is never negative.

    The paper's own formula could not be looked up: this is a reconstruction, and no claim to be a bound of anything
    comes with it.

    Args:
        lambda_: :math:`\lambda > 0`, the temperature. A choice of this package; the paper's value is not known to it.
            What suits depends on the norms and on the share of the batch that one class has.
        **kwargs: ``distance``, ``reducer``, ``embedding_regularizer`` and its weight. The distance must be a
            similarity; the default is the plain dot product.

    Shapes:
        embeddings ``(N, D)`` floating point, labels ``(N,)`` any integers -> a scalar, in float32 for half precision.
        Memory: :math:`N^2` numbers. A compiled graph computes with N columns for the classes, so it takes time
        :math:`N^3`.

    Raises:
        ValueError: for invalid hyper-parameters or labels, a distance that is no similarity, and for ``ref_emb``.

    Reducer input:
        **loss**: one value per sample, type ``"element"``. Default reducer: mean. A miner's tuples weight the samples,
        as in classification losses: every pair is in the softmax, so there is no choosing among pairs.

    Relations:
        It is the cross-entropy of the linear classifier without bias whose weights are the scaled means of the classes,
        :math:`\theta_k = \frac{1}{\lambda n} \sum_{j : y_j = k} z_j`, gradients through :math:`\theta` included. It is
        also :class:`~pml_proxyext.losses.PairwiseCrossEntropyLoss` with labels in the place of its soft assignments
        (``max_iterations=0``).

    Departs from the paper or the release:
        not known: see above; the authors' code has no such loss. With labels for assignments the last term of the
        pairwise cross-entropy equals half of the first sum, and is folded into it here. A form that drops it instead
        would have :math:`1 / (2 \lambda n)` before the first sum.

    Reference:
        Boudiaf, Rony, Ziko, Granger, Pedersoli, Piantanida, Ben Ayed, "A Unifying Mutual Information View of Metric
        Learning: Cross-Entropy vs. Pairwise Losses", ECCV 2020, arXiv:2003.08983.

    Example:
        >>> import torch
        >>> loss_func = SimplifiedPairwiseCrossEntropyLoss(lambda_=0.1)
        >>> value = loss_func(torch.eye(3), torch.tensor([7, 8, 9]))  # logits of 1 / 0.3 and 0
        >>> round(value.item(), 4)
        0.0689
    """

    def __init__(self, lambda_: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lambda_ = check_number("lambda_", lambda_, low=0.0, open_low=True)
        self.add_to_recordable_attributes(name="lambda_")

    def sample_losses(self, embeddings: Tensor, similarities: Tensor, labels: Tensor) -> Tensor:
        indicators = class_indicators(labels, similarities.dtype)
        logits = similarity_logits(similarities, indicators, self.lambda_)
        return (logits + absence_logits(indicators)).logsumexp(1) - (indicators * logits).sum(1)
