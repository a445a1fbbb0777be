r"""PCE: the pairwise loss that Boudiaf et al. set beside cross-entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pml_proxyext.losses.pairwise_cross_entropy_terms import (
    absence_logits,
    class_indicators,
    one_hot_labels,
    pairwise_cross_entropy,
    self_consistent_assignments,
)
from pml_proxyext.losses.similarity_matrix_loss import SimilarityMatrixLoss
from pml_proxyext.utils.checks import check_integer, check_labels, check_number

__all__ = ["PairwiseCrossEntropyLoss"]


class PairwiseCrossEntropyLoss(SimilarityMatrixLoss):
    r"""Cross-entropy with its classifier replaced by means of the embeddings: a surrogate, not a bound.

    .. math::
        \ell_i = -\frac{1}{2 \lambda n} \sum_{j : y_j = y_i} z_i^\top z_j
            + \log \sum_k \exp\Big(\frac{1}{\lambda n} \sum_j p_{jk} z_i^\top z_j\Big)
            - \frac{1}{2 \lambda} \sum_k p_{ik} z_i^\top c_k, \qquad c_k = \frac1n \sum_j p_{jk} z_j

    over the :math:`n` samples of the batch, :math:`j = i` included. The first term is tightness, the others are
    contrast. The soft assignments :math:`p_{ik}` are those of a classifier, or are found by the loss itself: from the
    class means on, a classifier :math:`\theta` is replaced by :math:`c(\theta) / \lambda`, with :math:`c` the soft
    means under its own softmax, until it no longer changes. They count as constants in gradients.

    The paper calls cross-entropy an upper bound of this loss. For a classifier as it comes in training that is false;
    what holds is under Relations. So watch it, or train with it, as a *surrogate*.

    Args:
        lambda_: :math:`\lambda > 0`. A choice of this package: the paper ties it to eigenvalues of a matrix that change
            with the classifier, and at those values the loss grows without limit. Small values give hard assignments,
            large ones uniform assignments, with a sudden change between the two.
        classifier: returns logits ``(N, K)`` of embeddings ``(N, D)``; labels must then lie in ``[0, K)``. A module or
            any callable, such as the ``get_logits`` of a loss with proxies. It stays yours: it is asked without
            gradients, and the loss neither trains nor moves nor saves it. None for the self-consistent assignments.
        max_iterations: at most so many steps towards the self-consistent assignments. They end earlier when no
            probability changes by more than rounding, but not in a compiled graph.
        **kwargs: ``distance``, ``reducer``, ``embedding_regularizer`` and its weight. The distance must be a
            similarity; the default is the plain dot product. Relations hold for inner products.

    Shapes:
        embeddings ``(N, D)`` floating point, labels ``(N,)`` integers, any without ``classifier`` -> a scalar, in
        float32 for half precision. Memory: :math:`N^2` numbers. A compiled graph without ``classifier`` computes with N
        columns for the classes.

    Raises:
        ValueError: for invalid hyper-parameters or labels, a distance that is no similarity, logits of another shape,
            and for ``ref_emb``.

    Reducer input:
        **loss**: one value per sample, type ``"element"``. Default reducer: mean. A miner's tuples weight the samples,
        as in classification losses: every pair is in the softmax, so there is no choosing among pairs.

    Recorded with PML's ``collect_stats``:
        **assignment_change**: the largest change of a probability in the last step; if it is not tiny,
        ``max_iterations`` are too few.

    Recommendations:
        Self-consistent assignments know the labels only by where they start, and may leave them: if all embeddings
        share a large mean, all can end in one class. Trained with them, networks did worse than untrained ones in the
        benchmark of this package. ``max_iterations=1``, the softmax of the hard means, stays nearer to the labels.

    Relations:
        With :math:`\theta` a classifier, without bias, whose softmax is :math:`p`, CE its cross-entropy, and
        :math:`\theta^{(1)}` and :math:`\theta^{(2)}` the hard means (those under the labels) and the soft means over
        :math:`\lambda`:

        - :math:`\mathrm{CE}(\theta) - \mathrm{PCE} \le \frac\lambda2 \big(|\theta - \theta^{(1)}|^2 - |\theta -
          \theta^{(2)}|^2\big)`, which is negative at :math:`\theta = \theta^{(1)}`: there the paper's bound fails;
        - :math:`\mathrm{CE}(\theta^{(2)}) = \mathrm{PCE} + \frac\lambda2 |\theta^{(2)} - \theta^{(1)}|^2`, so
          cross-entropy does bound it at the classifier of its own soft means. A self-consistent one is
          :math:`\theta = \theta^{(2)}`, and :math:`p` is stationary there, so nothing is lost by holding it constant;
        - ``max_iterations=0`` gives :class:`~pml_proxyext.losses.SimplifiedPairwiseCrossEntropyLoss`, and the value
          never falls as they grow.

    Departs from the paper or the release:
        the formula follows from the paper's derivation; its text was not at hand, and the authors' code has no such
        loss. The self-consistent assignments are this package's.

    Reference:
        Boudiaf, Rony, Ziko, Granger, Pedersoli, Piantanida, Ben Ayed, "A Unifying Mutual Information View of Metric
        Learning: Cross-Entropy vs. Pairwise Losses", ECCV 2020, arXiv:2003.08983.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> head = torch.nn.Linear(4, 3, bias=False)
        >>> loss_func = PairwiseCrossEntropyLoss(lambda_=0.1, classifier=head)
        >>> loss_func(torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2])).shape
        torch.Size([])
    """

    def __init__(
        self,
        lambda_: float = 1.0,
        classifier: Callable[[Tensor], Tensor] | None = None,
        max_iterations: int = 100,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.lambda_ = check_number("lambda_", lambda_, low=0.0, open_low=True)
        if classifier is not None and not callable(classifier):
            raise ValueError(f"classifier must be None or a callable from embeddings to logits, got {classifier!r}")
        # In a tuple, a module is not registered: its parameters are not this loss's to train, move or save.
        self._classifiers: tuple[Callable[[Tensor], Tensor], ...] = () if classifier is None else (classifier,)
        self.max_iterations = check_integer("max_iterations", max_iterations, low=0)
        self.add_to_recordable_attributes(list_of_names=["lambda_", "max_iterations"])
        self.add_to_recordable_attributes(name="assignment_change", is_stat=True)

    def sample_losses(self, embeddings: Tensor, similarities: Tensor, labels: Tensor) -> Tensor:
        if self._classifiers:
            assignments = self._classify(embeddings).to(similarities)
            indicators = one_hot_labels(labels, assignments.shape[1], assignments.dtype)
            check_labels(labels, assignments.shape[1])
            return pairwise_cross_entropy(similarities, indicators, assignments, self.lambda_)
        indicators = class_indicators(labels, similarities.dtype)
        absence = absence_logits(indicators)
        assignments, change = self_consistent_assignments(
            similarities, indicators, self.lambda_, self.max_iterations, absence
        )
        if self.collect_stats:
            self.assignment_change = change.item()
        return pairwise_cross_entropy(similarities, indicators, assignments, self.lambda_, absence)

    @torch.no_grad()
    def _classify(self, embeddings: Tensor) -> Tensor:
        logits = self._classifiers[0](embeddings)
        if logits.ndim != 2 or len(logits) != len(embeddings):
            raise ValueError(
                f"classifier must return logits (N, K) of embeddings {tuple(embeddings.shape)}, "
                f"got shape {tuple(logits.shape)}"
            )
        return logits.softmax(1)
