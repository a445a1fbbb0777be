r"""CrossCLR: contrast across two modalities and within each, less against samples that are like many others."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pytorch_metric_learning.distances import BaseDistance, CosineSimilarity
from pytorch_metric_learning.utils import common_functions as c_f
from torch import Tensor

from pml_proxyext.losses.cross_modal_samples import CrossModalSamples, Modality, check_same_ids
from pml_proxyext.losses.proxy_loss import element_loss
from pml_proxyext.losses.two_view_loss import TwoViewLoss
from pml_proxyext.utils.checks import check_choice, check_number
from pml_proxyext.utils.connectivity import Score, Weighting, connectivity, influential, proximity_weights
from pml_proxyext.utils.precision import log1p_exp

__all__ = ["CrossCLRLoss"]


class CrossCLRLoss(TwoViewLoss):
    r"""Draw partners of two modalities together, away from others in the other modality and in their own.

    With :math:`s` the cosine, :math:`x_i` a raw feature of modality A and :math:`a_i, b_i` the embeddings of sample i,

    .. math::
        L_a = -\frac1N \sum_i \frac{w_i}{|P_i|} \sum_{p \in P_i}
            \log \frac{e^{s(a_i, b_p) / \tau}}{e^{s(a_i, b_p) / \tau}
            + \sum_{k \in N_i} e^{s(a_i, b_k) / \tau} + \lambda \sum_{k \in N_i} e^{s(a_i, a_k) / \tau}}, \qquad
        L = \tfrac12 (L_a + L_b),

    and :math:`L_b` with the modalities exchanged. What a raw feature says is its connectivity, the mean cosine
    :math:`C_i = \frac1N \sum_j \cos(x_i, x_j)` to its modality. Samples with :math:`C_i / \max_j C_j > \gamma` are
    influential: semantically near to many, so poor negatives; they leave the negatives :math:`N_i` of every anchor. As
    anchors they weigh more, by :math:`w_i = N \mathrm{softmax}_i(C_i / (\kappa \sum_j C_j))`.

    Rows whose label is that of the anchor are the same instance, as captions of one clip. In the other modality they
    are the anchor's positives :math:`P_i`, its partner among them; each competes with the negatives alone, and the
    anchor's loss is the mean over them. They are never its negatives, in neither modality. Where no id repeats,
    :math:`P_i` is the partner alone.

    Args:
        temperature: :math:`\tau > 0` (0.03 in the paper, Section 4.3).
        negative_weight: :math:`\lambda \ge 0` (0.8 for YouCook2, 0.65 for LSMDC in the paper, Section 4.3).
        weight_scale: :math:`\kappa > 0` (0.0035 for YouCook2, 0.0055 for LSMDC in the paper, Section 4.3).
        prune_threshold: :math:`\gamma` (0.9 in the paper, Section 4.3); 1 or None for no pruning.
        weighting: ``"normalized"`` as above; ``"eq5"`` for :math:`w_i = e^{C_i / \kappa}`, the paper's Equation 5,
            which overflows at the paper's own :math:`\kappa`; ``"none"`` for :math:`w_i = 1`.
        weight_on: ``"exp"`` as above; ``"logit"`` for :math:`e^{\lambda s / \tau}` inside the last sum, as released.
        self_logit: ``"drop"`` as above; ``"one"`` adds 1 to the denominator, as released: there an anchor's comparison
            with itself is set to zero and then exponentiated.
        score: what is compared with :math:`\gamma`: ``"max"`` as above, ``"raw"`` for :math:`C_i` itself.
        self_term: whether :math:`C_i` has the cosine 1 of a feature with itself: ``"include"`` as above and in the
            paper's Equation 4; ``"zero"`` as in its Algorithm 2, where the sum is divided by :math:`N` all the same.
        intra_modality: whether there is the last sum.
        **kwargs: ``distance`` (default: cosine; of a distance that is no similarity the negative is taken),
            ``reducer``, ``embedding_regularizer`` and its weight.

    Shapes:
        embeddings, ref_emb ``(N, D)`` floating point, row i of both one sample; labels ``(N,)`` integers, the instance
        ids, all different if not given; input_emb ``(N, E_a)``, ref_input_emb ``(N, E_b)``, the raw features, both or
        none; pool: samples that stand in for the batch in connectivity and in intra-modality negatives, those of the
        batch among them -> a scalar, in float32 for half precision.

        Without raw features the detached embeddings stand in for them. Relatedness is then what the network takes for
        related so far, and embeddings that are alike weigh more.

    Raises:
        ValueError: for invalid hyper-parameters, rows or widths that do not fit, a missing second view, labels of the
            second view that are not those of the first, one of the two raw features alone, and for ``indices_tuple``.

    Reducer input:
        **a_to_b**, **b_to_a**: :math:`\frac12 w_i` times one value per row, type ``"element"``. Default reducer: mean.

    Relations:
        - Without intra-modality terms, pruning and weights it is the mean of NTXentLoss from A to B and from B to A, if
          all ids stand equally often (NTXentLoss takes its mean over pairs, this loss over anchors).
        - Each of intra-modality terms, more of :math:`\lambda`, less pruning, and ``self_logit="one"`` only adds to it.
        - A single pair, or nothing but influential samples, costs exactly zero.

    Departs from the paper or the release:
        of the full loss there is no release; :meth:`as_released` is the class that there is, with intra-modality
        terms alone. The paper's Equation 5 is normalised by the sum of the batch, as in its Algorithm 2: else, one
        weight is :math:`e^{200}`. Where that sum is not positive, weights are uniform, and where no connectivity is
        positive, nothing is pruned. Algorithm 2 deletes the columns of influential samples and with them partners;
        here partners stay. Repeated ids are ours: the paper has one partner for each sample. Its several positives
        (Appendix C.1) are other instances, near by their features; they are not built.

    Reference:
        Zolfaghari, Zhu, Gehler, Brox, "CrossCLR: Cross-modal Contrastive Learning for Multi-modal Video
        Representations", ICCV 2021, arXiv:2109.14910.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> loss_func = CrossCLRLoss()
        >>> video, text = torch.randn(4, 8), torch.randn(4, 8)
        >>> video_features, text_features = torch.rand(4, 20), torch.rand(4, 30)
        >>> loss_func(video, ref_emb=text, input_emb=video_features, ref_input_emb=text_features).shape
        torch.Size([])
    """

    #: Whether a :class:`CrossModalSamples` is taken as the keyword ``pool``; asked by ``CrossModalMemory``.
    supports_pool = True

    def __init__(
        self,
        temperature: float = 0.03,
        negative_weight: float = 0.8,
        weight_scale: float = 0.0035,
        prune_threshold: float | None = 0.9,
        weighting: Weighting = "normalized",
        weight_on: Literal["exp", "logit"] = "exp",
        self_logit: Literal["drop", "one"] = "drop",
        score: Score = "max",
        self_term: Literal["include", "zero"] = "include",
        intra_modality: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.temperature = check_number("temperature", temperature, low=0.0, open_low=True)
        self.negative_weight = check_number("negative_weight", negative_weight, low=0.0)
        self.weight_scale = check_number("weight_scale", weight_scale, low=0.0, open_low=True)
        self.prune_threshold = None if prune_threshold is None else check_number("prune_threshold", prune_threshold)
        self.weighting: Weighting = check_choice("weighting", weighting, ["normalized", "eq5", "none"])
        self.weight_on = check_choice("weight_on", weight_on, ["exp", "logit"])
        self.self_logit = check_choice("self_logit", self_logit, ["drop", "one"])
        self.score: Score = check_choice("score", score, ["max", "raw"])
        self.self_term = check_choice("self_term", self_term, ["include", "zero"])
        self.intra_modality = intra_modality
        self.add_to_recordable_attributes(
            list_of_names=["temperature", "negative_weight", "weight_scale", "prune_threshold"]
        )

    @classmethod
    def as_released(cls, temperature: float = 0.03, negative_weight: float = 0.8, **kwargs: Any) -> CrossCLRLoss:
        r"""Return the class of the authors' release, ``CrossCLR_onlyIntraModality``, with its defaults.

        It neither weights nor prunes, multiplies the intra-modality logits by :math:`\lambda`, and leaves 1 in each
        denominator, so that a single pair has a loss.
        """
        released = {"prune_threshold": None, "weighting": "none", "weight_on": "logit", "self_logit": "one"}
        return cls(temperature, negative_weight, **(released | kwargs))

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        input_emb: Tensor | None = None,
        ref_input_emb: Tensor | None = None,
        pool: CrossModalSamples | None = None,
    ) -> Tensor:
        c_f.indices_tuple_not_supported(indices_tuple)
        check_same_ids(labels, ref_labels)
        # Of what it is given, PML hands compute_loss nothing else but indices_tuple, whose place is free in this loss.
        return super().forward(embeddings, labels, (input_emb, ref_input_emb, pool), ref_emb, ref_labels)

    def pair_losses(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: Any,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> dict[str, dict[str, Any]]:
        input_emb, ref_input_emb, pool = (None, None, None) if indices_tuple is None else indices_tuple
        if pool is not None and (labels is None or input_emb is None):
            raise ValueError("labels, input_emb and ref_input_emb are required together with pool, got None")
        batch = CrossModalSamples.of_batch(embeddings, ref_emb, input_emb, ref_input_emb, labels)
        pool = batch if pool is None else pool.fitted_to(batch)
        a, b = batch.modalities
        pool_a, pool_b = pool.modalities
        same = batch.labels[:, None] == batch.labels
        same_in_pool = batch.labels[:, None] == pool.labels
        if pool.is_filled is not None:
            same_in_pool = same_in_pool | ~pool.is_filled
        a_to_b = self._row_losses(a, b.embeddings, pool_a, same, same_in_pool, pool.is_filled)
        b_to_a = self._row_losses(b, a.embeddings, pool_b, same, same_in_pool, pool.is_filled)
        return {"a_to_b": element_loss(a_to_b / 2), "b_to_a": element_loss(b_to_a / 2)}

    def _row_losses(
        self,
        anchors: Modality,
        partners: Tensor,
        pool: Modality,
        same: Tensor,
        not_intra: Tensor,
        is_filled: Tensor | None,
    ) -> Tensor:
        """Return the weighted losses ``(N,)`` of one direction; the masks tell which pairs are never negative."""
        scores = self._connectivity(anchors.inputs, pool.inputs, is_filled)
        inter = self._logits(anchors.embeddings, partners)
        negatives = [inter.masked_fill(same | influential(scores, self.prune_threshold, self.score), -math.inf)]
        if self.intra_modality:
            is_batch = pool.inputs is anchors.inputs
            scores_in_pool = scores if is_batch else self._connectivity(pool.inputs, pool.inputs, is_filled)
            pruned = influential(scores_in_pool, self.prune_threshold, self.score, is_filled)
            intra = self._weighted(self._logits(anchors.embeddings, pool.embeddings))
            negatives.append(intra.masked_fill(not_intra | pruned, -math.inf))
        if self.self_logit == "one":
            negatives.append(torch.zeros_like(inter[:, :1]))
        weights = proximity_weights(scores, self.weight_scale, self.weighting)
        return weights.to(inter) * _mean_over_positives(inter, _log_sum(torch.cat(negatives, dim=1)), same)

    def _connectivity(self, inputs: Tensor, pool: Tensor, is_filled: Tensor | None) -> Tensor:
        return connectivity(inputs, pool, is_filled, include_self=self.self_term == "include")

    def _logits(self, anchors: Tensor, others: Tensor) -> Tensor:
        mat = self.distance(anchors, others)
        return (mat if self.distance.is_inverted else -mat) / self.temperature

    def _weighted(self, logits: Tensor) -> Tensor:
        if self.weight_on == "logit":
            return self.negative_weight * logits
        return logits + (math.log(self.negative_weight) if self.negative_weight else -math.inf)

    def _sub_loss_names(self) -> list[str]:
        return ["a_to_b", "b_to_a"]

    def get_default_distance(self) -> BaseDistance:
        return CosineSimilarity()

    def extra_repr(self) -> str:
        switches = ("weighting", "weight_on", "self_logit", "score", "self_term", "intra_modality")
        return ", ".join([super().extra_repr(), *(f"{name}={getattr(self, name)}" for name in switches)])


def _log_sum(logits: Tensor) -> Tensor:
    """Return the logsumexp of each row; of a row without an entry it is -inf, and its gradient zero instead of NaN."""
    is_empty = (logits == -math.inf).all(dim=1)
    return logits.masked_fill(is_empty[:, None], 0.0).logsumexp(1).masked_fill(is_empty, -math.inf)


def _mean_over_positives(logits: Tensor, negatives: Tensor, is_positive: Tensor) -> Tensor:
    """Return for each row the mean over its positives p of log(e^p + e^negatives) - p, in the log domain."""
    losses = log1p_exp(negatives[:, None] - logits)
    return torch.where(is_positive, losses, 0.0).sum(1) / is_positive.sum(1)
