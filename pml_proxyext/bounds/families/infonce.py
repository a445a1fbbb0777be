"""The supervised contrastive loss and NCA: their ordering, their ranges and the role of the temperature."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.hyper import TEMPERATURE, TEMPERATURE_RATIO
from pml_proxyext.bounds.masked import log_sum_exp
from pml_proxyext.bounds.pml_losses import nca, ntxent, supcon
from pml_proxyext.bounds.relation import Kind, Relation, Side

__all__ = ["RELATIONS"]


def _supcon_inside(batch: BoundBatch) -> Tensor:
    """Return SupCon with the positives averaged inside the logarithm, averaged over the anchors that have any."""
    anchors = batch.same.any(1)
    logits = batch.cosines[anchors] / batch["temperature"]
    positives, others = batch.same[anchors], (batch.same | batch.different)[anchors]
    inside = log_sum_exp(logits, positives) - positives.sum(1).double().log()
    return (log_sum_exp(logits, others) - inside).mean()


def _warmer_supcon(batch: BoundBatch) -> Tensor:
    warmer = batch.given(temperature=batch["temperature"] * batch["temperature_ratio"])
    return warmer["temperature"] * supcon(warmer)


def _log_positives(batch: BoundBatch, factor: float = 1.0) -> float:
    return factor * math.log(int(batch.counts[0]) - 1)


def _other_positives(batch: BoundBatch, width: float = 2.0) -> float:
    """Return how much the other positives can add to the denominator, with cosines at most ``width`` apart."""
    return math.log1p((int(batch.counts[0]) - 2) * math.exp(width / batch["temperature"]))


def _supcon_ceiling(batch: BoundBatch) -> Tensor:
    per_class, negatives = int(batch.counts[0]), len(batch) - int(batch.counts[0])
    ceiling = math.log(per_class - 1 + negatives * math.exp(2 / batch["temperature"]))
    return batch.embeddings.new_tensor(ceiling)


def _nca_at_gap(batch: BoundBatch, gap: float) -> Tensor:
    """Return NCA of a batch in which each negative has ``gap`` more cosine than each positive."""
    ratios = (batch.different.sum(1) / batch.same.sum(1).double())[batch.same.any(1)]
    return torch.log1p(ratios * math.exp(gap / batch["temperature"])).mean()


SUPCON = Side("SupCon", supcon)
NTXENT = Side("NT-Xent", ntxent)
NCA = Side("NCA", nca)
AT_TEMPERATURE = {"temperature": TEMPERATURE}

RELATIONS = (
    Relation(
        id="supcon.in_le_out",
        title="SupCon with the positives averaged inside the logarithm is at most SupCon as PML has it",
        statement=r"L_{\mathrm{SC}}^{\mathrm{in}} \le L_{\mathrm{SC}}^{\mathrm{out}}",
        source="Khosla et al. 2020",
        proof="Jensen: the logarithm of a mean is at least the mean of the logarithms",
        labels=Labels.ANY,
        lhs=Side("SupCon, positives averaged inside the logarithm", _supcon_inside),
        rhs=SUPCON,
        hyper=AT_TEMPERATURE,
        witness=lambda: witnesses.axes([3, 2, 1], temperature=0.5),
    ),
    Relation(
        id="supcon.ge_ntxent",
        title="NT-Xent is at most SupCon",
        statement=r"L_{\mathrm{NTX}} \le L_{\mathrm{SC}}",
        source="derived; PML's NT-Xent leaves the other positives out of the denominator",
        proof="a smaller denominator",
        labels=Labels.BALANCED,
        lhs=NTXENT,
        rhs=SUPCON,
        hyper=AT_TEMPERATURE,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="supcon.eq_ntxent_pairs",
        title="With two samples per class, SupCon is NT-Xent",
        statement=r"m = 2 \Rightarrow L_{\mathrm{SC}} = L_{\mathrm{NTX}}",
        source="derived",
        proof="an anchor has one positive, so there are no others to leave out of the denominator",
        labels=Labels.PAIRS,
        lhs=SUPCON,
        rhs=NTXENT,
        kind=Kind.EQUAL,
        hyper=AT_TEMPERATURE,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="supcon.eq_nca_pairs",
        title="With two samples per class, SupCon is NCA on cosines",
        statement=r"m = 2 \Rightarrow L_{\mathrm{SC}} = L_{\mathrm{NCA}}^{1/\tau}",
        source="derived",
        proof="an anchor has one positive, so it does not matter on which side of the logarithm positives are averaged",
        labels=Labels.PAIRS,
        lhs=NCA,
        rhs=SUPCON,
        kind=Kind.EQUAL,
        hyper=AT_TEMPERATURE,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="supcon.ge_nca",
        title="NCA plus the log of the number of positives is at most SupCon",
        statement=r"L_{\mathrm{NCA}}^{1/\tau} + \log(m - 1) \le L_{\mathrm{SC}}",
        source="derived; it is Khosla et al.'s inequality, since NCA sums the positives inside the logarithm",
        proof="Jensen over the positives of an anchor",
        labels=Labels.BALANCED,
        lhs=Side("NCA", lambda batch: nca(batch) + _log_positives(batch), "+ log(m - 1)"),
        rhs=SUPCON,
        hyper=AT_TEMPERATURE,
        witness=lambda: witnesses.axes([3, 3], temperature=0.5),
        constant="log(m - 1)",
        mutated=lambda batch: (nca(batch) + _log_positives(batch, 1.01), supcon(batch)),
    ),
    Relation(
        id="supcon.le_ntxent_plus",
        title="SupCon exceeds NT-Xent by at most what the other positives can add to the denominator",
        statement=r"L_{\mathrm{SC}} \le L_{\mathrm{NTX}} + \log\bigl(1 + (m - 2) e^{2/\tau}\bigr)",
        source="ours",
        proof="another positive adds at most exp(2/tau) times the term of the own one; tight with two per class",
        labels=Labels.BALANCED,
        lhs=SUPCON,
        rhs=Side("NT-Xent", lambda batch: ntxent(batch) + _other_positives(batch), "+ log(1 + (m - 2) exp(2/tau))"),
        hyper=AT_TEMPERATURE,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="supcon.ceiling",
        title="SupCon has a ceiling",
        statement=r"L_{\mathrm{SC}} \le \log\bigl(m - 1 + (b - m) e^{2/\tau}\bigr)",
        source="ours",
        proof="convex in the cosines, so largest where they are 1 or -1; raising a positive to 1 does not pay while"
        " there are at least as many negatives as positives",
        labels=Labels.BALANCED,
        lhs=SUPCON,
        rhs=Side("ceiling of SupCon", _supcon_ceiling),
        hyper=AT_TEMPERATURE,
    ),
    Relation(
        id="supcon.tau_monotone",
        title="Temperature times SupCon grows with the temperature",
        statement=r"\tau L_{\mathrm{SC}}^{\tau} \le \rho\tau L_{\mathrm{SC}}^{\rho\tau}, \quad \rho \ge 1",
        source="derived",
        proof="the derivative of tau LSE(s / tau) with respect to tau is an entropy",
        labels=Labels.BALANCED,
        lhs=Side("SupCon", lambda batch: batch["temperature"] * supcon(batch), "times its temperature"),
        rhs=Side("SupCon at a higher temperature", _warmer_supcon, "times its temperature"),
        hyper={"temperature": TEMPERATURE, "temperature_ratio": TEMPERATURE_RATIO},
        witness=lambda: witnesses.axes([2, 2], temperature=0.5, temperature_ratio=1.0),
    ),
    Relation(
        id="nca.floor",
        title="NCA on cosines has a floor above zero",
        statement=r"\overline{\log\bigl(1 + \tfrac{|N_i|}{|P_i|} e^{-2/\tau}\bigr)} \le L_{\mathrm{NCA}}^{1/\tau}",
        source="derived",
        proof="NCA of an anchor is log(1 + sum over negatives / sum over positives), and cosines are 2 apart at most",
        labels=Labels.ANY,
        lhs=Side("antipodal floor of NCA", lambda batch: _nca_at_gap(batch, -2)),
        rhs=NCA,
        hyper=AT_TEMPERATURE,
        assumptions="mean over the anchors that have a positive, as PML's NCA drops the others",
        witness=lambda: witnesses.poles([3, 2], temperature=0.5),
        constant="the gap -2 in the exponent",
        mutated=lambda batch: (_nca_at_gap(batch, -1.98), nca(batch)),
    ),
    Relation(
        id="nca.ceiling",
        title="NCA on cosines has a ceiling",
        statement=r"L_{\mathrm{NCA}}^{1/\tau} \le \overline{\log\bigl(1 + \tfrac{|N_i|}{|P_i|} e^{2/\tau}\bigr)}",
        source="derived",
        proof="as the floor, with the signs of all cosines changed",
        labels=Labels.ANY,
        lhs=NCA,
        rhs=Side("antipodal ceiling of NCA", lambda batch: _nca_at_gap(batch, 2)),
        hyper=AT_TEMPERATURE,
        assumptions="mean over the anchors that have a positive, as PML's NCA drops the others",
    ),
)
