"""Triplet losses of PML: the hinge, the smooth loss and batch-hard, against NT-Xent and the simplex."""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_metric_learning import losses
from pytorch_metric_learning.distances import CosineSimilarity, DotProductSimilarity
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor
from torch.nn.functional import softplus

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.hyper import MARGIN, TEMPERATURE
from pml_proxyext.bounds.pml_losses import euclidean, ntxent
from pml_proxyext.bounds.relation import Kind, Relation, Side

__all__ = ["RELATIONS", "batch_hard", "euclidean_hinge"]


def euclidean_hinge(batch: BoundBatch, margin: float, indices_tuple: Any = None, **arguments: Any) -> Tensor:
    """Return the triplet hinge on Euclidean distances of the sphere, averaged over all triplets or those given."""
    arguments = {"reducer": MeanReducer(), **arguments}
    loss = losses.TripletMarginLoss(margin=margin, distance=euclidean(), **arguments)
    value: Tensor = loss(batch.embeddings, batch.labels, indices_tuple)
    return value


def _on_cosines(batch: BoundBatch, margin: float, **arguments: Any) -> Tensor:
    arguments = {"reducer": MeanReducer(), **arguments}
    loss = losses.TripletMarginLoss(margin=margin, distance=CosineSimilarity(), **arguments)
    value: Tensor = loss(batch.embeddings, batch.labels)
    return value


def _hinge(batch: BoundBatch, **arguments: Any) -> Tensor:
    return _on_cosines(batch, batch["margin"], **arguments)


def _smooth(batch: BoundBatch, **arguments: Any) -> Tensor:
    return _on_cosines(batch, batch["margin"], smooth_loss=True, **arguments)


def _smooth_without_margin(batch: BoundBatch) -> Tensor:
    return _on_cosines(batch, 0, smooth_loss=True)


def _smooth_by_formula(batch: BoundBatch) -> Tensor:
    anchors, positives, negatives = torch.where(batch.same[:, :, None] & batch.different[:, None])
    return softplus(batch.cosines[anchors, negatives] - batch.cosines[anchors, positives]).mean()


def _smooth_at_temperature(batch: BoundBatch) -> Tensor:
    """Return the mean of softplus((s_n - s_p) / tau): PML's class on inner products of embeddings over sqrt(tau)."""
    inner = DotProductSimilarity(normalize_embeddings=False)
    loss = losses.TripletMarginLoss(margin=0, smooth_loss=True, distance=inner, reducer=MeanReducer())
    value: Tensor = loss(batch.unit / math.sqrt(batch["temperature"]), batch.labels)
    return value


def _times_negatives(batch: BoundBatch) -> Tensor:
    return (len(batch) - int(batch.counts[0])) * _smooth_at_temperature(batch)


def _smooth_at_simplex(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    classes = len(batch.counts)
    gap = -factor * classes / (classes - 1)
    return softplus(batch.embeddings.new_tensor(gap / batch["temperature"]))


def _hinge_plus_log2(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    return _hinge(batch) + factor * math.log(2)


def batch_hard(batch: BoundBatch) -> Tensor:
    """Return the triplet hinge of each anchor's farthest positive and nearest negative, averaged over anchors."""
    with torch.no_grad():
        hardest = BatchHardMiner(distance=euclidean())(batch.embeddings, batch.labels)
    return euclidean_hinge(batch, batch["margin"], hardest)


def _intruder() -> BoundBatch:
    """Return four samples of two classes, one of which lies near the other class and far from its own."""
    places = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.8, 0.6], [-1.0, 0.0]])
    return BoundBatch(places, torch.tensor([0, 0, 1, 1]), hyper={"margin": 0.05}, origin="witness")


COSINE_HINGE = Side("triplet hinge on cosines", _hinge)
SMOOTH = Side("smooth triplet on cosines", _smooth)
SMOOTH_AT_TEMPERATURE = Side("smooth triplet on cosines over tau", _smooth_at_temperature)
NTXENT = Side("NT-Xent", ntxent)
AT_TEMPERATURE = {"temperature": TEMPERATURE}
WITH_MARGIN = {"margin": MARGIN}

RELATIONS = (
    Relation(
        id="triplet.softplus_pml",
        title="PML's smooth triplet loss at margin 0 is the mean softplus of cosine gaps",
        statement=r"L_{\mathrm{smooth}}^{m=0} = \overline{\mathrm{softplus}(s_n - s_p)}",
        source="check of PML against the formula",
        proof="with cosines PML takes the negative minus the positive as the margin between them",
        labels=Labels.ANY,
        lhs=Side("smooth triplet on cosines at margin 0", _smooth_without_margin),
        rhs=Side("mean softplus of cosine gaps", _smooth_by_formula),
        kind=Kind.EQUAL,
        witness=lambda: witnesses.axes([2, 1]),
    ),
    Relation(
        id="triplet.softplus_le_ntxent",
        title="The smooth triplet loss is at most NT-Xent",
        statement=r"\overline{\mathrm{softplus}((s_n - s_p)/\tau)} \le L_{\mathrm{NTX}}",
        source="Sohn 2016 (N-pairs with two pairs); derived",
        proof="log(1 + sum of e^x) is at least each softplus(x), so at least their mean",
        labels=Labels.BALANCED,
        lhs=SMOOTH_AT_TEMPERATURE,
        rhs=NTXENT,
        hyper=AT_TEMPERATURE,
    ),
    Relation(
        id="triplet.ntxent_le_sum_softplus",
        title="NT-Xent is at most the number of negatives times the smooth triplet loss",
        statement=r"L_{\mathrm{NTX}} \le N\,\overline{\mathrm{softplus}((s_n - s_p)/\tau)}",
        source="derived",
        proof="1 plus a sum is at most the product of 1 plus each term; tight where all terms are small",
        labels=Labels.BALANCED,
        lhs=NTXENT,
        rhs=Side("smooth triplet on cosines over tau", _times_negatives, "times the number of negatives"),
        hyper=AT_TEMPERATURE,
        witness=lambda: witnesses.poles([2, 2], temperature=0.16),
        constant="the number of negatives",
    ),
    Relation(
        id="triplet.simplex_floor",
        title="The smooth triplet loss has the regular simplex as its minimum",
        statement=r"\mathrm{softplus}\bigl(-\tfrac{K}{(K - 1)\tau}\bigr) \le"
        r" \overline{\mathrm{softplus}((s_n - s_p)/\tau)}",
        source="ours, by the argument of Graf et al. 2021 for SupCon",
        proof="Jensen over triplets; the mean gap of a balanced batch is at least -K/(K - 1)",
        labels=Labels.BALANCED,
        lhs=Side("simplex floor of the smooth triplet", _smooth_at_simplex),
        rhs=SMOOTH_AT_TEMPERATURE,
        hyper=AT_TEMPERATURE,
        witness=lambda: witnesses.simplex(3, 2, temperature=0.5),
        constant="K/(K - 1)",
        mutated=lambda batch: (_smooth_at_simplex(batch, 0.99), _smooth_at_temperature(batch)),
    ),
    Relation(
        id="triplet.hinge_le_softplus",
        title="The triplet hinge is at most the smooth triplet loss",
        statement=r"\overline{[x]_+} \le \overline{\mathrm{softplus}(x)}",
        source="elementary",
        proof="softplus lies above the hinge; on the sphere never by nothing",
        labels=Labels.ANY,
        lhs=COSINE_HINGE,
        rhs=SMOOTH,
        hyper=WITH_MARGIN,
    ),
    Relation(
        id="triplet.softplus_le_hinge_log2",
        title="The smooth triplet loss exceeds the triplet hinge by at most log 2",
        statement=r"\overline{\mathrm{softplus}(x)} \le \overline{[x]_+} + \log 2",
        source="elementary",
        proof="the difference is largest where all gaps are 0",
        labels=Labels.ANY,
        lhs=SMOOTH,
        rhs=Side("triplet hinge on cosines", _hinge_plus_log2, "+ log 2"),
        hyper=WITH_MARGIN,
        witness=lambda: BoundBatch(torch.eye(3), torch.tensor([0, 0, 1]), hyper={"margin": 0.0}, origin="witness"),
        constant="log 2",
        mutated=lambda batch: (_smooth(batch), _hinge_plus_log2(batch, 0.99)),
    ),
    Relation(
        id="triplet.hinge_default_claim",
        title="Claim: the triplet hinge is at most the smooth triplet loss with PML's default reducers",
        statement=r"\mathrm{AvgNonZero}([x]_+) \le \mathrm{AvgNonZero}(\mathrm{softplus}(x))",
        source="not in a paper; what comparing PML's default values suggests",
        proof="false: the hinges are averaged over the active triplets only, the softplus over all, since none is zero;"
        " one active triplet among many that are not is enough",
        labels=Labels.ANY,
        lhs=Side("triplet hinge on cosines, default reducer", lambda batch: _hinge(batch, reducer=None)),
        rhs=Side(
            "smooth triplet on cosines, default reducer",
            lambda batch: _smooth(batch, reducer=None),
        ),
        kind=Kind.REFUTED,
        hyper=WITH_MARGIN,
        witness=_intruder,
    ),
    Relation(
        id="triplet.le_batch_hard",
        title="The mean triplet hinge is at most the hinge of each anchor's hardest triplet",
        statement=r"\overline{[d_p - d_n + m]_+} \le \overline{[\max_P d - \min_N d + m]_+}",
        source="Hermans et al. 2017; elementary",
        proof="a mean is at most a maximum, anchor by anchor; all anchors have equally many triplets",
        labels=Labels.BALANCED,
        lhs=Side("triplet hinge", lambda batch: euclidean_hinge(batch, batch["margin"])),
        rhs=Side("batch-hard triplet", batch_hard),
        hyper=WITH_MARGIN,
        witness=lambda: BoundBatch(torch.eye(4), torch.tensor([0, 0, 1, 1]), hyper={"margin": 1.0}, origin="witness"),
    ),
)
