"""NT-Xent: floors, ceilings, the hardest negative, the temperature and the choice of negatives."""

from __future__ import annotations

import math

import torch
from pytorch_metric_learning.utils.loss_and_miner_utils import get_all_pairs_indices
from torch import Tensor

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.hyper import TEMPERATURE, TEMPERATURE_RATIO
from pml_proxyext.bounds.masked import highest
from pml_proxyext.bounds.pml_losses import ntxent
from pml_proxyext.bounds.relation import Relation, Side

__all__ = ["RELATIONS"]


def _negatives(batch: BoundBatch) -> int:
    """Return the largest number of negatives that an anchor with a positive has."""
    return int(batch.different.sum(1)[batch.same.any(1)].max())


def _at_gap(batch: BoundBatch, gap: float) -> Tensor:
    """Return NT-Xent of a pair all of whose negatives have ``gap`` more cosine than its positive."""
    return batch.embeddings.new_tensor(math.log1p(_negatives(batch) * math.exp(gap / batch["temperature"])))


def _simplex_gap(batch: BoundBatch) -> float:
    classes = len(batch.counts)
    return -classes / (classes - 1)


def _cold(batch: BoundBatch) -> Tensor:
    return batch["temperature"] * ntxent(batch)


def _warmer(batch: BoundBatch) -> Tensor:
    return _cold(batch.given(temperature=batch["temperature"] * batch["temperature_ratio"]))


def _hardest_hinge(batch: BoundBatch) -> Tensor:
    """Return by how much the hardest negative is nearer than the positive, where it is, averaged over pairs."""
    anchors, positives = torch.where(batch.same)
    hardest = highest(batch.cosines, batch.different)
    return (hardest[anchors] - batch.cosines[anchors, positives]).relu().mean()


def _hinge_plus_log(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    return _hardest_hinge(batch) + factor * batch["temperature"] * math.log1p(_negatives(batch))


def _with_fewer_negatives(batch: BoundBatch) -> Tensor:
    """Return NT-Xent without each third negative pair, but with the first negative of each anchor."""
    anchors, positives, with_negative, negatives = get_all_pairs_indices(batch.labels)
    is_first = torch.ones_like(with_negative, dtype=torch.bool)
    is_first[1:] = with_negative[1:] != with_negative[:-1]
    keep = is_first | (torch.arange(len(negatives), device=negatives.device) % 3 != 0)
    return ntxent(batch, (anchors, positives, with_negative[keep], negatives[keep]))


def _estimate(batch: BoundBatch) -> Tensor:
    return math.log1p(_negatives(batch)) - ntxent(batch)


def _ceiling_of_estimate(batch: BoundBatch) -> Tensor:
    return batch.embeddings.new_tensor(len(batch) / ((1 + _negatives(batch)) * batch["temperature"]))


def _one_place() -> BoundBatch:
    return witnesses.collapsed(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), [2, 2], temperature=0.5)


NTXENT = Side("NT-Xent", ntxent)
TIMES_TEMPERATURE = Side("NT-Xent", _cold, "times its temperature")
AT_TEMPERATURE = {"temperature": TEMPERATURE}

RELATIONS = (
    Relation(
        id="ntxent.range_hi",
        title="NT-Xent has a ceiling",
        statement=r"L_{\mathrm{NTX}} \le \log(1 + N_{\max} e^{2/\tau})",
        source="derived",
        proof="cosines lie in [-1, 1]",
        labels=Labels.ANY,
        lhs=NTXENT,
        rhs=Side("antipodal ceiling of NT-Xent", lambda batch: _at_gap(batch, 2)),
        hyper=AT_TEMPERATURE,
    ),
    Relation(
        id="ntxent.range_lo",
        title="NT-Xent has a floor above zero",
        statement=r"\log(1 + N e^{-2/\tau}) \le L_{\mathrm{NTX}}",
        source="derived",
        proof="cosines lie in [-1, 1]; tight for two classes at two poles",
        labels=Labels.BALANCED,
        lhs=Side("antipodal floor of NT-Xent", lambda batch: _at_gap(batch, -2)),
        rhs=NTXENT,
        hyper=AT_TEMPERATURE,
        witness=lambda: witnesses.poles([2, 2], temperature=0.5),
        constant="the gap -2 in the exponent",
        mutated=lambda batch: (_at_gap(batch, -1.98), ntxent(batch)),
    ),
    Relation(
        id="ntxent.simplex_floor",
        title="NT-Xent has the regular simplex as its minimum",
        statement=r"\log\bigl(1 + (b - m) e^{-K/((K - 1)\tau)}\bigr) \le L_{\mathrm{NTX}}",
        source="ours, by the argument of Graf et al. 2021 for SupCon",
        proof="Jensen over pairs and negatives; the mean gap is at least -K/(K - 1), as the sum of all embeddings has a"
        " squared norm of at least 0 and a class mean one of at most 1",
        labels=Labels.BALANCED,
        lhs=Side("simplex floor of NT-Xent", lambda batch: _at_gap(batch, _simplex_gap(batch))),
        rhs=NTXENT,
        hyper=AT_TEMPERATURE,
        witness=lambda: witnesses.simplex(3, 2, temperature=0.5),
        constant="the gap -K/(K - 1) in the exponent",
        mutated=lambda batch: (_at_gap(batch, 0.99 * _simplex_gap(batch)), ntxent(batch)),
    ),
    Relation(
        id="ntxent.ceiling",
        title="The temperature caps what NT-Xent seems to say about information",
        statement=r"\log(1 + N) - L_{\mathrm{NTX}} \le \frac{b}{(1 + N)\tau}",
        source="ours",
        proof="Jensen: log(1 + N e^x) is at least log(1 + N) + x N/(1 + N); then the mean gap of the simplex floor."
        " The left-hand side looks like an InfoNCE estimate, but is none: labelled negatives are not independent",
        labels=Labels.BALANCED,
        lhs=Side("NT-Xent", _estimate, "subtracted from log(1 + N)"),
        rhs=Side("b / ((1 + N) tau)", _ceiling_of_estimate),
        hyper=AT_TEMPERATURE,
    ),
    Relation(
        id="ntxent.temp_hardest_lo",
        title="The hinge of the hardest negative is at most temperature times NT-Xent",
        statement=r"\overline{[\max_N s - s_p]_+} \le \tau L_{\mathrm{NTX}}",
        source="derived",
        proof="log-sum-exp is at least the maximum, and one of its terms is 0",
        labels=Labels.ANY,
        lhs=Side("hardest-negative hinge on cosines", _hardest_hinge),
        rhs=TIMES_TEMPERATURE,
        hyper=AT_TEMPERATURE,
        witness=lambda: BoundBatch(
            torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]),
            torch.tensor([0, 0, 1]),
            hyper={"temperature": 0.05},
            origin="witness",
        ),
    ),
    Relation(
        id="ntxent.temp_hardest_hi",
        title="Temperature times NT-Xent exceeds the hinge of the hardest negative by at most a log of a count",
        statement=r"\tau L_{\mathrm{NTX}} \le \overline{[\max_N s - s_p]_+} + \tau\log(1 + N)",
        source="derived",
        proof="log-sum-exp is at most the maximum plus the log of the number of terms",
        labels=Labels.BALANCED,
        lhs=TIMES_TEMPERATURE,
        rhs=Side("hardest-negative hinge on cosines", _hinge_plus_log, "+ tau log(1 + N)"),
        hyper=AT_TEMPERATURE,
        witness=_one_place,
        constant="log(1 + N)",
        mutated=lambda batch: (_cold(batch), _hinge_plus_log(batch, 0.99)),
    ),
    Relation(
        id="ntxent.tau_monotone",
        title="Temperature times NT-Xent grows with the temperature",
        statement=r"\tau L_{\mathrm{NTX}}^{\tau} \le \rho\tau L_{\mathrm{NTX}}^{\rho\tau}, \quad \rho \ge 1",
        source="derived",
        proof="the derivative of tau LSE(s / tau) with respect to tau is an entropy",
        labels=Labels.ANY,
        lhs=TIMES_TEMPERATURE,
        rhs=Side("NT-Xent at a higher temperature", _warmer, "times its temperature"),
        hyper={"temperature": TEMPERATURE, "temperature_ratio": TEMPERATURE_RATIO},
        witness=lambda: witnesses.axes([2, 1], temperature=0.5, temperature_ratio=1.0),
    ),
    Relation(
        id="ntxent.monotone_negatives",
        title="NT-Xent with some of the negatives is at most NT-Xent with all of them",
        statement=r"N'_i \subseteq N_i \Rightarrow L_{\mathrm{NTX}}^{N'} \le L_{\mathrm{NTX}}^{N}",
        source="derived",
        proof="a smaller denominator; checked on a subset that leaves out about a third of the pairs",
        labels=Labels.ANY,
        lhs=Side("NT-Xent with fewer negatives", _with_fewer_negatives),
        rhs=NTXENT,
        hyper=AT_TEMPERATURE,
        witness=lambda: witnesses.axes([2, 1], temperature=0.5),
    ),
)
