"""The smooth average precision of Brown et al.: its floor and its ceiling in a balanced batch.

The loss is written out here. PML 2.9.0's class forms groups of K consecutive rows (K classes) where it means groups of
m (samples per class), so it agrees with the formula only where the two numbers are equal, and it rounds to float32.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.relation import Relation, Side

__all__ = ["RELATIONS"]


def _smooth_ap(batch: BoundBatch) -> Tensor:
    """Return one minus the smooth average precision; a query counts as a positive of its own, as in PML."""
    group = batch.same | torch.eye(len(batch), dtype=torch.bool, device=batch.labels.device)
    gaps = batch.cosines[:, None, :] - batch.cosines[:, :, None]  # (N, N, N): query, item, item that may come before
    before = torch.sigmoid(gaps / batch["temperature"])
    # An item is not before itself, but sigmoid(0) = 1/2 has been counted for it.
    rank_in_group = 0.5 + (before * group[:, None, :]).sum(2)
    strangers = (before * ~group[:, None, :]).sum(2)
    return (strangers / (rank_in_group + strangers))[group].mean()


def _sizes(batch: BoundBatch) -> tuple[int, int]:
    """Return how large a class is and how many samples are of other classes."""
    per_class = int(batch.counts[0])
    return per_class, len(batch) - per_class


def _floor(batch: BoundBatch, gap: float = 2.0) -> Tensor:
    per_class, others = _sizes(batch)
    strangers = others * torch.sigmoid(batch.embeddings.new_tensor(-gap / batch["temperature"]))
    return strangers / (strangers + (per_class + 1) / 2)


def _ceiling(batch: BoundBatch) -> Tensor:
    per_class, others = _sizes(batch)
    precisions = [rank / (rank + others) for rank in range(1, per_class + 1)]
    return batch.embeddings.new_tensor(1 - math.fsum(precisions) / per_class)


SMOOTH_AP = Side("Smooth-AP", _smooth_ap)
# The default of PML and of the paper is 0.01.
SHARPNESS = {"temperature": Hyper(0.01, 0.01, 1.0)}

RELATIONS = (
    Relation(
        id="smoothap.floor",
        title="Smooth-AP has a floor above zero",
        statement=r"\frac{c}{c + (m + 1)/2} \le L_{\mathrm{AP}}, \quad c = (b - m)\,\sigma(-2/\tau)",
        source="ours",
        proof="each sample of another class adds at least sigmoid(-2/tau) to a rank; the ranks within a group have the"
        " sum m(m + 1)/2, and r/(r + c) is concave in r, so equal ranks are the best",
        labels=Labels.BALANCED,
        lhs=Side("antipodal floor of Smooth-AP", _floor),
        rhs=SMOOTH_AP,
        hyper=SHARPNESS,
        witness=lambda: witnesses.poles([3, 3], temperature=0.5),
        constant="the gap 2 in the sigmoid",
        mutated=lambda batch: (_floor(batch, 1.98), _smooth_ap(batch)),
    ),
    Relation(
        id="smoothap.ceiling",
        title="Smooth-AP stays below one by what a class gets for its own size",
        statement=r"L_{\mathrm{AP}} \le 1 - \tfrac1m\sum_{k=1}^{m}\frac{k}{k + b - m}",
        source="ours",
        proof="all b - m others come first at worst; the ranks within a group are majorized by 1, ..., m, as scores of"
        " a tournament are, and r/(r + c) is concave in r",
        labels=Labels.BALANCED,
        lhs=SMOOTH_AP,
        rhs=Side("ceiling of Smooth-AP", _ceiling),
        hyper=SHARPNESS,
    ),
)
