"""CrossCLR: what its terms add, and how low and high it can be. A batch of pairs is read as two views."""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_metric_learning.losses import NTXentLoss
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.hyper import TEMPERATURE
from pml_proxyext.bounds.relation import Kind, Relation, Side
from pml_proxyext.losses import CrossCLRLoss

__all__ = ["RELATIONS", "views"]


def views(batch: BoundBatch) -> tuple[Tensor, Tensor]:
    """Return the first and the second sample of each class, as two views whose rows belong together."""
    order = batch.labels.argsort(stable=True)
    return batch.embeddings[order[::2]], batch.embeddings[order[1::2]]


def _crossclr(batch: BoundBatch, **arguments: Any) -> Tensor:
    """Return CrossCLR without proximity weights, whose raw features are the embeddings themselves."""
    given = {"temperature": batch["temperature"], "negative_weight": batch.hyper.get("negative_weight", 0.8)}
    loss = CrossCLRLoss(**{**given, "prune_threshold": None, "weighting": "none", **arguments})
    first, second = views(batch)
    value: Tensor = loss(first, ref_emb=second)
    return value


def _ntxent_both_ways(batch: BoundBatch) -> Tensor:
    loss = NTXentLoss(temperature=batch["temperature"], reducer=MeanReducer())
    first, second = views(batch)
    ids = torch.arange(len(first), device=first.device)
    # The ids of the second view are a copy: PML takes one tensor for a batch against itself.
    value: Tensor = (loss(first, ids, None, second, ids.clone()) + loss(second, ids, None, first, ids.clone())) / 2
    return value


def _at_gap(batch: BoundBatch, gap: float) -> Tensor:
    """Return CrossCLR where each negative, inter or intra, has ``gap`` more cosine than the partner."""
    negatives = (1 + batch["negative_weight"]) * (len(batch) // 2 - 1)
    return batch.embeddings.new_tensor(math.log1p(negatives * math.exp(gap / batch["temperature"])))


CROSSCLR = Side("CrossCLR", _crossclr)
INTER_ONLY = Side("CrossCLR, inter-modality only", lambda batch: _crossclr(batch, intra_modality=False))
NEGATIVE_WEIGHT = Hyper(0.8, 0.0, 1.0)
BY_WEIGHT = {"temperature": TEMPERATURE, "negative_weight": NEGATIVE_WEIGHT}
TWO_VIEWS = "The first and the second sample of each class are the two views; no proximity weights, no pruning."

RELATIONS = (
    Relation(
        id="crossclr.eq_ntxent",
        title="CrossCLR without its additions is NT-Xent from view to view, both ways",
        statement=r"2 L_{\mathrm{CrossCLR}}^{\text{inter}} = L_{\mathrm{NTX}}^{a \to b} + L_{\mathrm{NTX}}^{b \to a}",
        source="derived",
        proof="the same softmax",
        labels=Labels.PAIRS,
        lhs=INTER_ONLY,
        rhs=Side("NT-Xent across views", _ntxent_both_ways),
        kind=Kind.EQUAL,
        hyper={"temperature": TEMPERATURE},
        assumptions=TWO_VIEWS,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="crossclr.intra_adds",
        title="Intra-modality terms only add to CrossCLR",
        statement=r"L_{\mathrm{CrossCLR}}^{\text{inter}} \le L_{\mathrm{CrossCLR}}^{\lambda}",
        source="derived from Zolfaghari et al. 2021, Eq. 2",
        proof="a larger denominator",
        labels=Labels.PAIRS,
        lhs=INTER_ONLY,
        rhs=CROSSCLR,
        hyper=BY_WEIGHT,
        assumptions=TWO_VIEWS,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5, negative_weight=0.0),
    ),
    Relation(
        id="crossclr.weight_monotone",
        title="CrossCLR grows with the weight of its intra-modality negatives",
        statement=r"L_{\mathrm{CrossCLR}}^{\lambda} \le L_{\mathrm{CrossCLR}}^{\lambda + \delta}, \quad \delta \ge 0",
        source="derived",
        proof="a larger denominator",
        labels=Labels.PAIRS,
        lhs=CROSSCLR,
        rhs=Side(
            "CrossCLR at a larger weight",
            lambda batch: _crossclr(batch, negative_weight=batch["negative_weight"] + batch["weight_step"]),
        ),
        hyper={**BY_WEIGHT, "weight_step": Hyper(0.2, 0.0, 2.0)},
        assumptions=TWO_VIEWS,
        witness=lambda: witnesses.axes([2, 2], temperature=0.5, negative_weight=0.5, weight_step=0.0),
    ),
    Relation(
        id="crossclr.pruning_removes",
        title="Pruning influential negatives only takes from CrossCLR",
        statement=r"L_{\mathrm{CrossCLR}}^{\gamma} \le L_{\mathrm{CrossCLR}}",
        source="derived from Zolfaghari et al. 2021, Eq. 3",
        proof="a smaller denominator: partners are never pruned",
        labels=Labels.PAIRS,
        lhs=Side("CrossCLR, pruned", lambda batch: _crossclr(batch, prune_threshold=batch["prune_threshold"])),
        rhs=CROSSCLR,
        hyper={**BY_WEIGHT, "prune_threshold": Hyper(0.9, 0.1, 1.0)},
        assumptions="The first and the second sample of each class are the two views; no proximity weights.",
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5, negative_weight=0.5, prune_threshold=1.0),
    ),
    Relation(
        id="crossclr.released_adds",
        title="The exp(0) that the release leaves in the denominator only adds",
        statement=r"L_{\mathrm{CrossCLR}} \le L_{\mathrm{CrossCLR}}^{+ e^0}",
        source="derived from the authors' code",
        proof="a larger denominator",
        labels=Labels.PAIRS,
        lhs=CROSSCLR,
        rhs=Side("CrossCLR with exp(0)", lambda batch: _crossclr(batch, self_logit="one")),
        hyper=BY_WEIGHT,
        assumptions=TWO_VIEWS,
    ),
    Relation(
        id="crossclr.floor",
        title="CrossCLR cannot go below that of views at opposite poles",
        statement=r"\log\big(1 + (1 + \lambda)(B - 1) e^{-2/\tau}\big) \le L_{\mathrm{CrossCLR}}",
        source="ours",
        proof="cosines lie in [-1, 1]",
        labels=Labels.PAIRS,
        lhs=Side("antipodal floor of CrossCLR", lambda batch: _at_gap(batch, -2)),
        rhs=CROSSCLR,
        hyper=BY_WEIGHT,
        assumptions=TWO_VIEWS,
        witness=lambda: witnesses.poles([2, 2], temperature=0.5, negative_weight=0.5),
        constant="2",
        mutated=lambda batch: (_at_gap(batch, -1.98), _crossclr(batch)),
    ),
    Relation(
        id="crossclr.ceiling",
        title="CrossCLR cannot go above that of negatives at the anchor and partners opposite",
        statement=r"L_{\mathrm{CrossCLR}} \le \log\big(1 + (1 + \lambda)(B - 1) e^{2/\tau}\big)",
        source="ours",
        proof="cosines lie in [-1, 1]; not attained, for inter-modality negatives are others' partners",
        labels=Labels.PAIRS,
        lhs=CROSSCLR,
        rhs=Side("antipodal ceiling of CrossCLR", lambda batch: _at_gap(batch, 2)),
        hyper=BY_WEIGHT,
        assumptions=TWO_VIEWS,
    ),
)
