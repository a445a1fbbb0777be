"""Lifted structure losses of PML against the hardest triplet of an anchor or of a pair."""

from __future__ import annotations

import math

import torch
from pytorch_metric_learning import losses
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor

from pml_proxyext.bounds.assumptions import Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.hyper import MARGIN
from pml_proxyext.bounds.families.triplets import batch_hard
from pml_proxyext.bounds.masked import lowest
from pml_proxyext.bounds.pml_losses import euclidean
from pml_proxyext.bounds.relation import Relation, Side

__all__ = ["RELATIONS"]


def _generalized(batch: BoundBatch) -> Tensor:
    loss = losses.GeneralizedLiftedStructureLoss(
        neg_margin=batch["margin"], pos_margin=0, distance=euclidean(), reducer=MeanReducer()
    )
    value: Tensor = loss(batch.embeddings, batch.labels)
    return value


def _lifted(batch: BoundBatch) -> Tensor:
    loss = losses.LiftedStructureLoss(
        neg_margin=batch["margin"], pos_margin=0, distance=euclidean(), reducer=MeanReducer()
    )
    value: Tensor = loss(batch.embeddings, batch.labels)
    return value


def _plus_log_counts(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    per_class = int(batch.counts[0])
    return batch_hard(batch) + factor * math.log((per_class - 1) * (len(batch) - per_class))


def _half_squared_hardest(batch: BoundBatch) -> Tensor:
    """Return half the squared hinge of each positive pair and the nearest negative of either end, over pairs."""
    # PML's own distances: for near embeddings they differ from ours in half of the digits.
    distances: Tensor = euclidean()(batch.embeddings)
    anchors, positives = torch.where(batch.same)
    nearest = lowest(distances, batch.different)
    hinge = distances[anchors, positives] - torch.minimum(nearest[anchors], nearest[positives]) + batch["margin"]
    return hinge.relu().square().mean() / 2


GENERALIZED = Side("generalized lifted structure", _generalized)
WITH_MARGIN = {"margin": MARGIN}

RELATIONS = (
    Relation(
        id="lifted.ge_batchhard",
        title="Batch-hard triplets are at most the generalized lifted structure loss",
        statement=r"\overline{[\max_P d - \min_N d + m]_+} \le L_{\mathrm{GLS}}",
        source="Hermans et al. 2017",
        proof="log-sum-exp is at least the maximum",
        labels=Labels.BALANCED,
        lhs=Side("batch-hard triplet", batch_hard),
        rhs=GENERALIZED,
        hyper=WITH_MARGIN,
    ),
    Relation(
        id="lifted.le_batchhard_log",
        title="The generalized lifted structure loss exceeds batch-hard triplets by at most logs of counts",
        statement=r"L_{\mathrm{GLS}} \le \overline{[\max_P d - \min_N d + m]_+} + \log|P| + \log|N|",
        source="derived",
        proof="log-sum-exp is at most the maximum plus the log of the count; tight where all distances are equal",
        labels=Labels.BALANCED,
        lhs=GENERALIZED,
        rhs=Side("batch-hard triplet", _plus_log_counts, "+ logs of counts"),
        hyper=WITH_MARGIN,
        witness=lambda: BoundBatch(torch.eye(4), torch.tensor([0, 0, 1, 1]), hyper={"margin": 1.0}, origin="witness"),
        constant="the logs of the counts",
        mutated=lambda batch: (_generalized(batch), _plus_log_counts(batch, 0.99)),
    ),
    Relation(
        id="lifted.ge_half_sq",
        title="Half the squared hinge of the hardest negative of a pair is at most the lifted structure loss",
        statement=r"\overline{\tfrac12 [d_{ap} - \min_{N_a \cup N_p} d + m]_+^2} \le L_{\mathrm{LS}}",
        source="Oh Song et al. 2016, in the form that PML has",
        proof="log-sum-exp is at least the maximum, and the squared hinge does not fall",
        labels=Labels.ANY,
        lhs=Side("half squared hinge of the hardest negative", _half_squared_hardest),
        rhs=Side("lifted structure", _lifted),
        hyper=WITH_MARGIN,
    ),
)
