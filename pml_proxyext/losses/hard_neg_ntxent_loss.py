r"""NT-Xent whose negatives weigh more the nearer they are."""

from __future__ import annotations

from typing import Any

from pytorch_metric_learning.distances import BaseDistance, CosineSimilarity
from torch import Tensor

from pml_proxyext.losses.pair_candidates import candidates_of_labels, candidates_of_tuples
from pml_proxyext.losses.pair_loss import PairLoss
from pml_proxyext.losses.weighted_negatives import negative_logits
from pml_proxyext.utils.checks import check_number
from pml_proxyext.utils.precision import log1p_exp

__all__ = ["HardNegNTXentLoss"]


class HardNegNTXentLoss(PairLoss):
    r"""Cross-entropy of each positive pair against the negatives of its anchor, hard ones weighted up.

    With :math:`s` the cosine, :math:`x_{ik} = s(z_i, z_k) / \tau`, and :math:`N(i)` the :math:`K_i` negatives of anchor
    i, a positive pair :math:`(i, p)` costs

    .. math::
        \ell_{ip} = -\log \frac{e^{x_{ip}}}{e^{x_{ip}} + \sum_{k \in N(i)} a_{ik} e^{x_{ik}}}, \qquad
        a_{ik} = \frac{e^{c x_{ik}}}{\frac{1}{K_i} \sum_{j \in N(i)} e^{c x_{ij}}} .

    The weights :math:`a_{ik}` of an anchor have mean 1. It is the instance discrimination of
    :class:`~pml_proxyext.losses.PairSupConLoss`, for any labels and miners; for pairs of sentences take labels from
    :func:`~pml_proxyext.utils.pair_labels`.

    Args:
        temperature: :math:`\tau > 0` (0.05 in the authors' training script; 0.07 is the default of their class).
        concentration: :math:`c \ge 0`, how much nearness weighs: 1 in the authors' code, where it is not a parameter;
            0 for uniform weights, which is PML's ``NTXentLoss``; infinity would count the nearest alone, K times.
        detach_weights: whether the weights count as constants in gradients. If not, as released, the gradient pushes
            the nearest negatives away the more, and lets easy ones come a little nearer.
        **kwargs: ``distance`` (default: cosine; of a distance that is no similarity the negative is taken),
            ``reducer``, ``embedding_regularizer`` and its weight.

    Shapes:
        embeddings ``(N, D)`` floating point, labels ``(N,)`` integers, ref_emb ``(M, D)``, ref_labels ``(M,)``, or a
        miner's tuples in place of labels -> a scalar, in float32 for half precision. Memory: a few times
        :math:`N M` numbers, however many pairs there are.

    Raises:
        ValueError: for invalid hyper-parameters, embeddings or labels, for ``ref_emb`` without ``ref_labels``, and if
            there are neither labels nor tuples.

    Reducer input:
        **loss**: one value per positive pair, type ``"pos_pair"``. Default reducer: mean. A tuple that occurs several
        times counts several times. Anchors without negatives have no loss; without any pair the loss is zero.

    Relations:
        - It never falls as c grows: from NT-Xent at :math:`c = 0`, to :math:`\log(1 + K_i e^{\max_k x_{ik} - x_{ip}})`.
        - With cosines, a pair costs from :math:`\log(1 + K_i e^{-2/\tau})` to :math:`\log(1 + K_i e^{2/\tau})`.

    Departs from the paper or the release:
        of the paper we had the introduction only; the formula is the release's, with c = 1. The release exponentiates
        before it divides, so that similar sentences overflow at low temperatures; and gives NaN where no pair has
        both positive and negative. PML's ``NTXentLoss`` counts pairs of anchors without negatives as zeros in the mean,
        and takes a single pair with a single negative for none.

    Reference:
        Zhang, Li, Xiao, Zhu, Nallapati, Arnold, Xiang, "Pairwise Supervised Contrastive Learning of Sentence
        Representations", EMNLP 2021, arXiv:2109.05424. The concentration: Robinson, Chuang, Sra, Jegelka, "Contrastive
        Learning with Hard Negative Samples", ICLR 2021, arXiv:2010.04592.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> loss_func = HardNegNTXentLoss()
        >>> loss_func(torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2])).shape
        torch.Size([])
    """

    supports_ref_emb = True

    def __init__(
        self, temperature: float = 0.05, concentration: float = 1.0, detach_weights: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.temperature = check_number("temperature", temperature, low=0.0, open_low=True)
        self.concentration = check_number("concentration", concentration, low=0.0)
        self.detach_weights = detach_weights
        self.add_to_recordable_attributes(list_of_names=["temperature", "concentration"])

    def pair_losses(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: Any,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> dict[str, dict[str, Any]]:
        mat = self.distance(embeddings, ref_emb)
        logits = (mat if self.distance.is_inverted else -mat) / self.temperature
        if indices_tuple is not None:
            anchors, positives, counts = candidates_of_tuples(indices_tuple, logits)
        elif labels is None or ref_labels is None:
            raise ValueError("labels or indices_tuple are required, got neither")
        else:
            anchors, positives, counts = candidates_of_labels(labels, ref_labels, logits, ref_emb is embeddings)
        has_negatives = counts.any(1)[anchors]
        anchors, positives = anchors[has_negatives], positives[has_negatives]
        if len(anchors) == 0:
            return self.zero_losses()
        negatives = negative_logits(logits, counts, self.concentration, self.detach_weights)
        losses = log1p_exp(negatives[anchors] - logits[anchors, positives])
        indices = (anchors, positives)
        return {"loss": {"losses": losses, "indices": indices, "reduction_type": "pos_pair", "divisor": len(losses)}}

    def get_default_distance(self) -> BaseDistance:
        return CosineSimilarity()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, detach_weights={self.detach_weights}"
