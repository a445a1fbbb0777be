"""HardNegNTXentLoss, the contrastive half of PairSupCon, between NT-Xent and its hardest negatives."""

from __future__ import annotations

import math

import torch
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.hyper import TEMPERATURE
from pml_proxyext.bounds.masked import highest
from pml_proxyext.bounds.pml_losses import ntxent
from pml_proxyext.bounds.relation import Kind, Relation, Side
from pml_proxyext.losses import HardNegNTXentLoss

__all__ = ["RELATIONS"]


def _hard(batch: BoundBatch, concentration: float | None = None) -> Tensor:
    concentration = batch["concentration"] if concentration is None else concentration
    loss = HardNegNTXentLoss(batch["temperature"], concentration, reducer=MeanReducer())
    value: Tensor = loss(batch.embeddings, batch.labels)
    return value


def _of_the_hardest(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    """Return the loss if every negative were as near as the nearest one of its anchor."""
    anchors, positives = torch.where(batch.same)
    hardest = highest(batch.cosines, batch.different)[anchors] - batch.cosines[anchors, positives]
    numbers = batch.different.sum(1)[anchors].double()
    return torch.logaddexp(numbers.log() * factor + hardest / batch["temperature"], torch.zeros_like(hardest)).mean()


def _antipodal(batch: BoundBatch, gap: float = 2.0) -> Tensor:
    negatives = len(batch) - int(batch.counts[0])
    return batch.embeddings.new_tensor(math.log1p(negatives * math.exp(-gap / batch["temperature"])))


HARD = Side("NT-Xent with hard negatives", _hard)
NTXENT = Side("NT-Xent", ntxent)
CONCENTRATION = Hyper(1.0, 0.0, 4.0)
AT_CONCENTRATION = {"temperature": TEMPERATURE, "concentration": CONCENTRATION}

RELATIONS = (
    Relation(
        id="hardneg.eq_ntxent",
        title="Without concentration, NT-Xent with hard negatives is NT-Xent",
        statement=r"L_{\mathrm{HN}}^{c = 0} = L_{\mathrm{NTX}}",
        source="derived",
        proof="all weights are 1",
        labels=Labels.ANY,
        lhs=Side("NT-Xent with hard negatives at concentration 0", lambda batch: _hard(batch, 0.0)),
        rhs=NTXENT,
        kind=Kind.EQUAL,
        hyper={"temperature": TEMPERATURE},
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="hardneg.ge_ntxent",
        title="NT-Xent is at most NT-Xent with hard negatives",
        statement=r"L_{\mathrm{NTX}} \le L_{\mathrm{HN}}^{c}",
        source="derived",
        proof="Chebyshev's sum inequality: weights and exponentials rise together, and the weights have mean 1",
        labels=Labels.ANY,
        lhs=NTXENT,
        rhs=HARD,
        hyper=AT_CONCENTRATION,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5, concentration=1.0),
    ),
    Relation(
        id="hardneg.concentration_monotone",
        title="NT-Xent with hard negatives grows with the concentration",
        statement=r"L_{\mathrm{HN}}^{c} \le L_{\mathrm{HN}}^{c + \delta}, \quad \delta \ge 0",
        source="derived",
        proof="its derivative is a difference of means of the negatives under exp((1 + c) x) and exp(c x)",
        labels=Labels.ANY,
        lhs=HARD,
        rhs=Side(
            "NT-Xent with hard negatives at a larger concentration",
            lambda batch: _hard(batch, batch["concentration"] + batch["concentration_step"]),
        ),
        hyper={**AT_CONCENTRATION, "concentration_step": Hyper(1.0, 0.0, 4.0)},
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5, concentration=1.0, concentration_step=1.0),
    ),
    Relation(
        id="hardneg.le_hardest",
        title="NT-Xent with hard negatives is at most that of the nearest negative alone, counted for all",
        statement=r"L_{\mathrm{HN}}^{c} \le \overline{\log\big(1 + \vert N\vert e^{(\max_N s - s_p) / \tau}\big)}",
        source="derived: the limit of infinite concentration",
        proof="a weighted mean is at most the maximum",
        labels=Labels.ANY,
        lhs=HARD,
        rhs=Side("hardest negative counted for all", _of_the_hardest),
        hyper=AT_CONCENTRATION,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5, concentration=1.0),
        constant="the factor 1 of log N",
        mutated=lambda batch: (_hard(batch), _of_the_hardest(batch, 0.99)),
    ),
    Relation(
        id="hardneg.floor",
        title="NT-Xent with hard negatives cannot go below that of classes at opposite poles",
        statement=r"\log\big(1 + N e^{-2/\tau}\big) \le L_{\mathrm{HN}}^{c}",
        source="derived",
        proof="cosines lie in [-1, 1], and the weights have mean 1",
        labels=Labels.BALANCED,
        lhs=Side("antipodal floor of NT-Xent", _antipodal),
        rhs=HARD,
        hyper=AT_CONCENTRATION,
        witness=lambda: witnesses.poles([2, 2], temperature=0.5, concentration=1.0),
        constant="2",
        mutated=lambda batch: (_antipodal(batch, 1.98), _hard(batch)),
    ),
)
