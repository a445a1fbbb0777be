"""Losses that CrossCLR is compared with, as far as neither PML nor this package has them."""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_metric_learning.distances import CosineSimilarity
from torch import Tensor, nn
from torch.nn.functional import relu

from pml_proxyext.losses.proxy_loss import element_loss
from pml_proxyext.losses.two_view_loss import TwoViewLoss
from pml_proxyext.utils.precision import log1p_exp

__all__ = ["BothDirections", "DebiasedLoss", "LearnedScale", "MaxMarginLoss"]


class BothDirections(nn.Module):
    """The mean of a loss from A to B and of the same from B to A, called as CrossCLRLoss is.

    Args:
        loss: takes embeddings, labels, ``ref_emb`` and ``ref_labels``.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, embeddings: Tensor, labels: Tensor, *, ref_emb: Tensor, **features: Tensor) -> Tensor:
        """Return the loss; raw features are not looked at."""
        partners = labels.clone()  # one tensor in both places would be one batch against itself to PML
        a_to_b = self.loss(embeddings, labels, ref_emb=ref_emb, ref_labels=partners)
        b_to_a = self.loss(ref_emb, labels, ref_emb=embeddings, ref_labels=partners)
        return (a_to_b + b_to_a) / 2


class LearnedScale(CosineSimilarity):
    r"""Cosine over a temperature that is learned, as CLIP's: :math:`s / \tau`, at most :math:`100 s`.

    Args:
        temperature: what :math:`\tau` is at first.

    Reference:
        Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def compute_mat(self, query_emb: Tensor, ref_emb: Tensor | None) -> Tensor:
        return super().compute_mat(query_emb, ref_emb) * self.log_scale.clamp(max=math.log(100)).exp()


class MaxMarginLoss(TwoViewLoss):
    r"""Hinge on all negatives of an anchor: :math:`\frac{1}{K_i} \sum_k \max(0, m + s(a_i, b_k) - s(a_i, b_i))`.

    Rows with the label of the anchor are no negatives.

    Args:
        margin: :math:`m`.

    Reference:
        Karpathy and Fei-Fei, "Deep Visual-Semantic Alignments for Generating Image Descriptions", CVPR 2015.
    """

    def __init__(self, margin: float) -> None:
        super().__init__(distance=CosineSimilarity())
        self.margin = margin

    def pair_losses(
        self, embeddings: Tensor, labels: Tensor | None, indices_tuple: Any, ref_emb: Tensor, ref_labels: Tensor | None
    ) -> dict[str, dict[str, Any]]:
        scores, is_negative = self.distance(embeddings, ref_emb), _negatives(labels, ref_labels)
        hinges = relu(self.margin + scores - scores.diagonal()[:, None]) * is_negative
        return {"loss": element_loss(hinges.sum(1) / is_negative.sum(1).clamp(min=1))}


class DebiasedLoss(TwoViewLoss):
    r"""InfoNCE that takes a share of the negatives for positives unknown, and subtracts it.

    .. math::
        -\log \frac{e^{p_i}}{e^{p_i} + K_i g_i}, \qquad
        g_i = \max\Big(\frac{1}{1 - \tau^+}\Big(\frac{1}{K_i} \sum_k e^{n_{ik}} - \tau^+ e^{p_i}\Big),
            e^{-1/\tau}\Big)

    with :math:`p_i, n_{ik}` the cosines to the partner and to the negatives over :math:`\tau`. Rows with the label of
    the anchor are no negatives; each anchor must have one.

    Args:
        temperature: :math:`\tau`.
        positive_share: :math:`\tau^+` in [0, 1); 0 is InfoNCE.

    Reference:
        Chuang, Robinson, Lin, Torralba, Jegelka, "Debiased Contrastive Learning", NeurIPS 2020.
    """

    def __init__(self, temperature: float, positive_share: float) -> None:
        super().__init__(distance=CosineSimilarity())
        self.temperature, self.positive_share = temperature, positive_share

    def pair_losses(
        self, embeddings: Tensor, labels: Tensor | None, indices_tuple: Any, ref_emb: Tensor, ref_labels: Tensor | None
    ) -> dict[str, dict[str, Any]]:
        logits, is_negative = self.distance(embeddings, ref_emb) / self.temperature, _negatives(labels, ref_labels)
        positive, log_count = logits.diagonal(), is_negative.sum(1).to(logits).log()
        log_mean = logits.masked_fill(~is_negative, -math.inf).logsumexp(1) - log_count
        if self.positive_share:
            # log(e^m - e^q) = m + log(1 - e^(q - m)); where q >= m there is no such logarithm, and the bound holds.
            excess = math.log(self.positive_share) + positive - log_mean
            is_left = excess < 0
            left = log_mean + torch.log(-torch.expm1(torch.where(is_left, excess, -1.0)))
            log_mean = torch.where(is_left, left - math.log1p(-self.positive_share), -math.inf)
        bounded = log_mean.clamp(min=-1 / self.temperature)
        return {"loss": element_loss(log1p_exp(log_count + bounded - positive))}


def _negatives(labels: Tensor | None, ref_labels: Tensor | None) -> Tensor:
    """Return which pairs ``(N, N)`` are of different labels."""
    if labels is None or ref_labels is None:
        raise ValueError("labels are required, got None")
    return labels[:, None] != ref_labels
