"""InfoNCE-like losses of PML: SupCon, NT-Xent, NCA and N-pairs, their orderings and ranges."""

from __future__ import annotations

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.hyper import TEMPERATURE, TEMPERATURE_RATIO
from pml_proxyext.bounds.pml_losses import nca, ntxent, supcon
from pml_proxyext.bounds.relation import Kind, Relation, Side

__all__ = ["RELATIONS"]

SUPCON = Side("SupCon", supcon)
NTXENT = Side("NT-Xent", ntxent)
NCA = Side("NCA", nca)
AT_TEMPERATURE = {"temperature": TEMPERATURE}

RELATIONS = (
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
        id="supcon.tau_monotone",
        title="Temperature times SupCon grows with the temperature",
        statement=r"\tau L_{\mathrm{SC}}^{\tau} \le \rho\tau L_{\mathrm{SC}}^{\rho\tau}, \quad \rho \ge 1",
        source="derived",
        proof="the derivative of tau LSE(s / tau) with respect to tau is an entropy",
        labels=Labels.BALANCED,
        lhs=Side("SupCon", lambda batch: batch["temperature"] * supcon(batch), "times its temperature"),
        rhs=Side(
            "SupCon at a higher temperature",
            lambda batch: (warmer := _warmer(batch))["temperature"] * supcon(warmer),
            "times its temperature",
        ),
        hyper={"temperature": TEMPERATURE, "temperature_ratio": TEMPERATURE_RATIO},
        witness=lambda: witnesses.axes([2, 2], temperature=0.5, temperature_ratio=1.0),
    ),
)


def _warmer(batch: BoundBatch) -> BoundBatch:
    return batch.given(temperature=batch["temperature"] * batch["temperature_ratio"])
