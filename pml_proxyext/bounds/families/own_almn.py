"""ALMN: what turning the positives away from their anchors does to N-pairs."""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.reducers import DoNothingReducer, MeanReducer
from torch import Tensor

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.npairs import NPAIRS
from pml_proxyext.bounds.relation import Kind, Relation, Side
from pml_proxyext.losses import ALMNLoss

__all__ = ["RELATIONS"]

SOURCE = "Chen and Deng 2018 (reconstructed); ours"


def _losses(batch: BoundBatch, beta: float, scale: float = 1.0, *, is_raw: bool = False) -> Tensor:
    """Return one loss for each anchor."""
    distance = DotProductSimilarity(normalize_embeddings=not is_raw)
    loss = ALMNLoss(beta, scale=scale, distance=distance, reducer=DoNothingReducer())
    values: Any = loss(batch.embeddings, batch.labels)
    found: Tensor = values["loss"]["losses"]
    return found


def _almn(batch: BoundBatch, beta: float, scale: float = 1.0, *, is_raw: bool = False) -> Tensor:
    return _losses(batch, beta, scale, is_raw=is_raw).mean()


def _multiplicative(batch: BoundBatch) -> Tensor:
    value: Tensor = ALMNLoss(mode="multiplicative", m=batch["m"], reducer=MeanReducer())(batch.embeddings, batch.labels)
    return value


def _further_beta(batch: BoundBatch) -> float:
    """Return a point between beta and 1, so that any two hyper-parameters in [0, 1] make an ordered pair."""
    return batch["beta"] + batch["beta_step"] * (1 - batch["beta"])


def _npairs_or_log(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    """Return the mean over anchors of the larger of their N-pairs loss and the logarithm of the number of classes."""
    return _losses(batch, 0.0, batch["scale"]).clamp(min=factor * math.log(len(batch.counts))).mean()


def _at_boundary(batch: BoundBatch) -> Tensor:
    return _almn(batch, 1.0, batch["scale"])


def _log_two(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    return batch.embeddings.new_tensor(factor * math.log(2))


def _one_place(**hyper: float) -> BoundBatch:
    """Return three classes in one point, where nothing has a margin."""
    return witnesses.collapsed(torch.ones(3, 2), [2, 2, 2], **hyper)


ALMN = Side("ALMN", lambda batch: _almn(batch, batch["beta"]))
BETA = Hyper(0.3, 0.0, 1.0)
SCALE = Hyper(1.0, 0.1, 30.0)

RELATIONS = (
    Relation(
        id="almn.eq_npairs",
        title="ALMN without a margin is N-pairs of PML",
        statement=r"\beta = 0 \Rightarrow L_{\mathrm{ALMN}} = L_{\mathrm{NP}}",
        source=SOURCE,
        proof="the virtual point is the positive",
        labels=Labels.ANY,
        lhs=Side("ALMN at beta 0", lambda batch: _almn(batch, 0.0)),
        rhs=NPAIRS,
        kind=Kind.EQUAL,
        witness=lambda: witnesses.axes([2, 2]),
    ),
    Relation(
        id="almn.ge_npairs",
        title="ALMN is at least N-pairs",
        statement=r"L_{\mathrm{NP}} \le L_{\mathrm{ALMN}}",
        source=SOURCE,
        proof="the cosine falls on [0, pi], and the virtual point is turned away from the anchor, never beyond pi",
        labels=Labels.ANY,
        lhs=NPAIRS,
        rhs=ALMN,
        hyper={"beta": BETA},
        witness=lambda: _one_place(beta=0.3),
    ),
    Relation(
        id="almn.monotone",
        title="ALMN grows with its share of the gap",
        statement=r"L_{\mathrm{ALMN}}^{\beta} \le L_{\mathrm{ALMN}}^{\beta'}, \quad \beta \le \beta' \le 1",
        source=SOURCE,
        proof="the angle of the virtual point grows with the share",
        labels=Labels.ANY,
        lhs=Side("ALMN of raw vectors", lambda batch: _almn(batch, batch["beta"], is_raw=True)),
        rhs=Side(
            "ALMN of raw vectors at a larger share", lambda batch: _almn(batch, _further_beta(batch), is_raw=True)
        ),
        hyper={"beta": BETA, "beta_step": Hyper(0.5, 0.0, 1.0)},
        witness=lambda: _one_place(beta=0.3, beta_step=0.5),
    ),
    Relation(
        id="almn.le_npairs_or_log",
        title="On the sphere ALMN is at most N-pairs where that is large, and log K elsewhere",
        statement=r"L_{\mathrm{ALMN}} \le \frac1K \sum_i \max(\ell_{\mathrm{NP}, i}, \log K)",
        source=SOURCE,
        proof="an anchor has no margin, or its virtual point is no farther than the nearest of its K - 1 negatives",
        labels=Labels.BALANCED,
        lhs=Side("ALMN at a scale", lambda batch: _almn(batch, batch["beta"], batch["scale"])),
        rhs=Side("the larger of N-pairs at a scale and log K, anchor by anchor", _npairs_or_log),
        hyper={"beta": BETA, "scale": SCALE},
        witness=lambda: witnesses.axes([2, 2, 2], beta=1.0, scale=1.0),
        constant="log K",
        mutated=lambda batch: (_almn(batch, batch["beta"], batch["scale"]), _npairs_or_log(batch, 0.99)),
    ),
    Relation(
        id="almn.ge_log_two",
        title="On the sphere ALMN with the whole gap as its margin is at least log 2, whatever the network does",
        statement=r"\beta = 1 \Rightarrow \log 2 \le L_{\mathrm{ALMN}}",
        source="ours",
        proof="the nearest negative is nearer than the positive, or just as near as the virtual point",
        labels=Labels.BALANCED,
        lhs=Side("log 2", _log_two),
        rhs=Side("ALMN at beta 1 and a scale", _at_boundary),
        hyper={"scale": SCALE},
        witness=lambda: witnesses.axes([2, 2], scale=1.0),
        constant="log 2",
        mutated=lambda batch: (_log_two(batch, 1.01), _at_boundary(batch)),
    ),
    Relation(
        id="almn.multiplicative_ge_npairs",
        title="N-pairs with a multiplied angle is at least N-pairs",
        statement=r"L_{\mathrm{NP}} \le L_{\mathrm{ALMN}}^{\mathrm{mult}}",
        source="Liu et al. 2016, the margin; ours",
        proof="the cosine falls on [0, pi], and the angle is never multiplied beyond pi",
        labels=Labels.ANY,
        lhs=NPAIRS,
        rhs=Side("ALMN with a multiplied angle", _multiplicative),
        hyper={"m": Hyper(2.0, 1.0, 4.0)},
        witness=lambda: witnesses.axes([2, 2, 2], m=2.0),
    ),
)
