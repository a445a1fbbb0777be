"""Floors of the supervised contrastive loss of a batch: which a simplex attains, and which hold for any labels."""

from __future__ import annotations

from pytorch_metric_learning.reducers import AvgNonZeroReducer
from torch import Tensor

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.hyper import TEMPERATURE
from pml_proxyext.bounds.pml_losses import supcon
from pml_proxyext.bounds.relation import Kind, Relation, Side
from pml_proxyext.geometry import (
    supcon_antipodal_floor,
    supcon_simplex_floor,
    supcon_statistics_floor,
)

__all__ = [
    "ANCHORS",
    "ANTIPODAL",
    "AT_TEMPERATURE",
    "GRAF",
    "RELATIONS",
    "SIMPLEX",
    "SUPCON",
    "antipodal_floor",
    "simplex",
]

AT_TEMPERATURE = {"temperature": TEMPERATURE}


def simplex_floor(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    """Return the loss of a simplex, with its exponent times ``factor``."""
    return supcon_simplex_floor(batch.counts, batch["temperature"] / factor)


def antipodal_floor(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    """Return the floor of negatives opposite to their anchor, with its exponent times ``factor``."""
    return supcon_antipodal_floor(batch.counts, batch["temperature"] / factor)


def statistics_floor(batch: BoundBatch) -> Tensor:
    """Return the floor by mean similarities within and between classes."""
    return supcon_statistics_floor(batch.embeddings, batch.labels, batch["temperature"])


def simplex() -> BoundBatch:
    """Return collapsed classes on the vertices of a simplex."""
    return witnesses.simplex(3, 2, temperature=0.5)


SUPCON = Side("SupCon", supcon)
SIMPLEX = Side("simplex floor of SupCon", simplex_floor)
ANTIPODAL = Side("antipodal floor of SupCon", antipodal_floor)
STATISTICS = Side("statistics floor of SupCon", statistics_floor)

ANCHORS = r"\sum_y \tfrac{n_y}{|I|} \log\Big(n_y - 1 + (b - n_y)\, e^{%s}\Big)"
SIMPLEX_VALUE = r"\log\Big(m - 1 + (b - m)\, e^{-\frac{K}{(K - 1) \tau}}\Big)"
GRAF = "Graf et al. 2021, Thm 2"

RELATIONS = (
    Relation(
        id="graf.sc_stats",
        title="Mean similarities within and between classes put a floor under SupCon",
        statement=ANCHORS % r"S_{\mathrm{rep}}(y) - S_{\mathrm{att}}(y)" + r" \le L_{\mathrm{SC}}",
        source="Graf et al. 2021, a lemma of the supplement (from memory, re-derived)",
        proof="Jensen over positives, negatives and the anchors of a class",
        labels=Labels.ANY,
        lhs=STATISTICS,
        rhs=SUPCON,
        hyper=AT_TEMPERATURE,
        witness=simplex,
    ),
    Relation(
        id="graf.sc_balanced",
        title="On a balanced batch, no embeddings have a smaller SupCon than a simplex",
        statement=SIMPLEX_VALUE + r" \le L_{\mathrm{SC}}",
        source=f"{GRAF} (number from memory) for a single batch; the proof is ours",
        proof="graf.sc_simplex_le_stats and graf.sc_stats",
        labels=Labels.BALANCED,
        lhs=SIMPLEX,
        rhs=SUPCON,
        hyper=AT_TEMPERATURE,
        witness=simplex,
        constant="K/(K-1)",
        mutated=lambda batch: (simplex_floor(batch, factor=0.99), supcon(batch)),
    ),
    Relation(
        id="graf.sc_balanced_default",
        title="The same with PML's default reducer",
        statement=SIMPLEX_VALUE + r" \le L_{\mathrm{SC}}^{\mathrm{AvgNonZero}}",
        source="ours",
        proof="leaving out zeros can only raise a mean",
        labels=Labels.BALANCED,
        lhs=SIMPLEX,
        rhs=Side("SupCon with its default reducer", lambda batch: supcon(batch, reducer=AvgNonZeroReducer())),
        hyper=AT_TEMPERATURE,
        witness=simplex,
        constant="K/(K-1)",
        mutated=lambda batch: (simplex_floor(batch, factor=0.99), supcon(batch, reducer=AvgNonZeroReducer())),
    ),
    Relation(
        id="graf.sc_simplex_le_stats",
        title="On a balanced batch, mean similarities are no better than those of a simplex",
        statement=SIMPLEX_VALUE + r" \le " + ANCHORS % r"S_{\mathrm{rep}}(y) - S_{\mathrm{att}}(y)",
        source="ours: a step of the proof of graf.sc_balanced",
        proof="the squared norm of the sum of all embeddings is at least 0 and no sum of a class is longer than m, so "
        "the mean exponent is at least that of a simplex; log(a + c e^x) is convex",
        labels=Labels.BALANCED,
        lhs=SIMPLEX,
        rhs=STATISTICS,
        hyper=AT_TEMPERATURE,
        witness=simplex,
        constant="K/(K-1)",
        mutated=lambda batch: (simplex_floor(batch, factor=0.99), statistics_floor(batch)),
    ),
    Relation(
        id="graf.sc_unbalanced_claim",
        title="No batch has a smaller SupCon than a simplex",
        statement=ANCHORS % r"-\frac{K}{(K - 1) \tau}" + r" \le L_{\mathrm{SC}}",
        source=f"an over-reading of {GRAF}, which is about the sum over all batches",
        proof="false: with 7, 1 and 1 samples, both single samples opposite to the seven do better",
        labels=Labels.ANY,
        lhs=SIMPLEX,
        rhs=SUPCON,
        kind=Kind.REFUTED,
        hyper=AT_TEMPERATURE,
        witness=lambda: witnesses.poles([7, 1, 1], temperature=1.0),
    ),
    Relation(
        id="graf.sc_universal",
        title="On any batch, SupCon is at least as if all negatives were opposite to their anchor",
        statement=ANCHORS % r"-2 / \tau" + r" \le L_{\mathrm{SC}}",
        source="ours",
        proof="two cosines differ by 2 at most; equality for two classes, or one class of several samples",
        labels=Labels.ANY,
        lhs=ANTIPODAL,
        rhs=SUPCON,
        hyper=AT_TEMPERATURE,
        witness=lambda: witnesses.poles([7, 1, 1], temperature=1.0),
        constant="2",
        mutated=lambda batch: (antipodal_floor(batch, factor=0.99), supcon(batch)),
    ),
)
