"""Losses of PML that smooth the hardest pairs of an anchor: multi-similarity, circle, and tuplet margin."""

from __future__ import annotations

import math

import torch
from pytorch_metric_learning import losses
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor

from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.masked import highest, lowest
from pml_proxyext.bounds.pml_losses import ntxent
from pml_proxyext.bounds.relation import Kind, Relation, Side

__all__ = ["RELATIONS"]

MULTI_SIMILARITY = {"alpha": Hyper(2.0, 0.5, 20.0), "beta": Hyper(50.0, 1.0, 60.0), "base": Hyper(0.5, -1.0, 1.0)}
CIRCLE = {"m": Hyper(0.4, 0.0, 0.9), "gamma": Hyper(80.0, 0.5, 256.0)}


def _counts(batch: BoundBatch) -> tuple[int, int]:
    """Return how many positives and negatives each sample of a balanced batch has."""
    per_class = int(batch.counts[0])
    return per_class - 1, len(batch) - per_class


def _multi_similarity(batch: BoundBatch) -> Tensor:
    scales = {"alpha": batch["alpha"], "beta": batch["beta"], "base": batch["base"]}
    value: Tensor = losses.MultiSimilarityLoss(**scales, reducer=MeanReducer())(batch.embeddings, batch.labels)
    return value


def _cosine_contrastive(batch: BoundBatch) -> Tensor:
    margins = {"pos_margin": batch["base"], "neg_margin": batch["base"]}
    loss = losses.ContrastiveLoss(**margins, distance=CosineSimilarity(), reducer=MeanReducer())
    value: Tensor = loss(batch.embeddings, batch.labels)
    return value


def _hardest_hinges(batch: BoundBatch) -> Tensor:
    """Return how far the farthest positive and the nearest negative are on the wrong side of base, over all samples."""
    # A sample without positives has infinity for its lowest cosine, and so a hinge of 0, as in PML.
    positive = (batch["base"] - lowest(batch.cosines, batch.same)).relu()
    negative = (highest(batch.cosines, batch.different) - batch["base"]).relu()
    return (positive + negative).mean()


def _hardest_hinges_plus_logs(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    positives, negatives = _counts(batch)
    logs = math.log1p(positives) / batch["alpha"] + math.log1p(negatives) / batch["beta"]
    return _hardest_hinges(batch) + factor * logs


def _circle(batch: BoundBatch) -> Tensor:
    loss = losses.CircleLoss(m=batch["m"], gamma=batch["gamma"], reducer=MeanReducer())
    value: Tensor = loss(batch.embeddings, batch.labels)
    return value


def _hardest_weighted(batch: BoundBatch) -> Tensor:
    """Return the hinge of the hardest positive and negative after circle's weighting, over all samples."""
    m, gamma, cosines = batch["m"], batch["gamma"], batch.cosines
    positive = -gamma * (1 + m - cosines).relu() * (cosines - (1 - m))
    negative = gamma * (cosines + m).relu() * (cosines - m)
    return (highest(positive, batch.same) + highest(negative, batch.different)).relu().mean()


def _hardest_weighted_plus_log2(batch: BoundBatch) -> Tensor:
    positives, negatives = _counts(batch)
    return _hardest_weighted(batch) + math.log(positives * negatives) + math.log(2)


def _hardest_weighted_plus_log(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    positives, negatives = _counts(batch)
    return _hardest_weighted(batch) + factor * math.log1p(positives * negatives)


def _tuplet_without_margin(batch: BoundBatch) -> Tensor:
    loss = losses.TupletMarginLoss(margin=0, scale=batch["scale"], reducer=MeanReducer())
    value: Tensor = loss(batch.embeddings, batch.labels)
    return value


def _ntxent_at_scale(batch: BoundBatch) -> Tensor:
    return ntxent(batch.given(temperature=1 / batch["scale"]))


def _at_equal_cosines(cosine: float, **hyper: float) -> BoundBatch:
    """Return four samples of two classes, each two of which have the same cosine."""
    gram = torch.full((4, 4), cosine, dtype=torch.float64).fill_diagonal_(1)
    return BoundBatch(torch.linalg.cholesky(gram), torch.tensor([0, 0, 1, 1]), hyper=hyper, origin="witness")


def _skew_poles(**hyper: float) -> BoundBatch:
    """Return two classes, each at both ends of an axis; of an anchor's negatives one is near and one is far."""
    angles = torch.tensor([0.0, 1.0, 0.25, 1.25], dtype=torch.float64) * torch.pi
    places = torch.stack([angles.cos(), angles.sin()], dim=1)
    return BoundBatch(places, torch.tensor([0, 0, 1, 1]), hyper=hyper, origin="witness")


MS = Side("multi-similarity", _multi_similarity)
CIRCLE_LOSS = Side("circle", _circle)

RELATIONS = (
    Relation(
        id="ms.ge_contrastive",
        title="The contrastive loss on cosines is at most multi-similarity",
        statement=r"\overline{[\lambda - s_p]_+} + \overline{[s_n - \lambda]_+} \le L_{\mathrm{MS}}",
        source="link of Boudiaf et al. 2020, table 2; derived",
        proof="log(1 + sum of e^(a x)) / a is at least the largest hinge, so at least the mean of the hinges",
        labels=Labels.BALANCED,
        lhs=Side("contrastive on cosines", _cosine_contrastive),
        rhs=MS,
        hyper=MULTI_SIMILARITY,
    ),
    Relation(
        id="ms.sandwich_lo",
        title="The hinges of the hardest pairs are at most multi-similarity",
        statement=r"\overline{[\lambda - \min_P s]_+ + [\max_N s - \lambda]_+} \le L_{\mathrm{MS}}",
        source="derived",
        proof="log-sum-exp is at least the maximum; tight where one pair is much harder than all others",
        labels=Labels.ANY,
        lhs=Side("hinges of the hardest pairs", _hardest_hinges),
        rhs=MS,
        hyper=MULTI_SIMILARITY,
        witness=lambda: _skew_poles(alpha=20.0, beta=60.0, base=0.0),
    ),
    Relation(
        id="ms.sandwich_hi",
        title="Multi-similarity exceeds the hinges of the hardest pairs by at most logs of counts",
        statement=r"L_{\mathrm{MS}} \le \overline{[\lambda - \min_P s]_+ + [\max_N s - \lambda]_+}"
        r" + \tfrac{\log(1 + |P|)}{\alpha} + \tfrac{\log(1 + |N|)}{\beta}",
        source="derived",
        proof="log-sum-exp is at most the maximum plus the log of the count; tight where all cosines are lambda",
        labels=Labels.BALANCED,
        lhs=MS,
        rhs=Side("hinges of the hardest pairs", _hardest_hinges_plus_logs, "+ logs of counts"),
        hyper=MULTI_SIMILARITY,
        witness=lambda: _at_equal_cosines(0.5, base=0.5),
        constant="the logs of the counts",
        mutated=lambda batch: (_multi_similarity(batch), _hardest_hinges_plus_logs(batch, 0.99)),
    ),
    Relation(
        id="circle.ge_hardest",
        title="The hinge of the hardest weighted pairs is at most the circle loss",
        statement=r"\overline{[\max_N \ell_n + \max_P \ell_p]_+} \le L_{\mathrm{circle}}",
        source="derived",
        proof="softplus is at least the hinge, and log-sum-exp at least the maximum",
        labels=Labels.BALANCED,
        lhs=Side("hinge of the hardest weighted pairs", _hardest_weighted),
        rhs=CIRCLE_LOSS,
        hyper=CIRCLE,
        witness=lambda: _skew_poles(m=0.4, gamma=80.0),
    ),
    Relation(
        id="circle.le_hardest",
        title="The circle loss exceeds the hinge of the hardest weighted pairs by at most logs of counts and log 2",
        statement=r"L_{\mathrm{circle}} \le \overline{[\max_N \ell_n + \max_P \ell_p]_+} + \log|P||N| + \log 2",
        source="derived",
        proof="log-sum-exp is at most the maximum plus the log of the count, and softplus at most the hinge plus log 2",
        labels=Labels.BALANCED,
        lhs=CIRCLE_LOSS,
        rhs=Side("hinge of the hardest weighted pairs", _hardest_weighted_plus_log2, "+ log 2 + log of the count"),
        hyper=CIRCLE,
    ),
    Relation(
        id="circle.le_hardest_sharp",
        title="The circle loss exceeds the hinge of the hardest weighted pairs by at most one log of a count",
        statement=r"L_{\mathrm{circle}} \le \overline{[\max_N \ell_n + \max_P \ell_p]_+} + \log(1 + |P||N|)",
        source="ours",
        proof="the loss of an anchor is log(1 + a sum over |P||N| pairs); tight where every pair has weight 0",
        labels=Labels.BALANCED,
        lhs=CIRCLE_LOSS,
        rhs=Side("hinge of the hardest weighted pairs", _hardest_weighted_plus_log, "+ log(1 + count)"),
        hyper=CIRCLE,
        witness=lambda: _at_equal_cosines(0.5, m=0.5),
        constant="log(1 + count)",
        mutated=lambda batch: (_circle(batch), _hardest_weighted_plus_log(batch, 0.99)),
    ),
    Relation(
        id="tuplet.eq_ntxent_m0",
        title="The tuplet margin loss at margin 0 is NT-Xent",
        statement=r"L_{\mathrm{tuplet}}^{m=0,\,s} = L_{\mathrm{NTX}}^{\tau = 1/s}",
        source="derived",
        proof="the same log-sum-exp over the negatives of each positive pair",
        labels=Labels.ANY,
        lhs=Side("tuplet margin at margin 0", _tuplet_without_margin),
        rhs=Side("NT-Xent", _ntxent_at_scale),
        kind=Kind.EQUAL,
        hyper={"scale": Hyper(64.0, 0.2, 64.0)},
        witness=lambda: _skew_poles(scale=2.0),
        nan_because="PML takes the arcus cosine of cosines that rounding can lift above 1",
    ),
)
