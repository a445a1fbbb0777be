"""Alignment and uniformity on the sphere: NT-Xent without its positive in the denominator, and Gaussian potentials."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.hyper import TEMPERATURE
from pml_proxyext.bounds.masked import log_sum_exp
from pml_proxyext.bounds.pml_losses import ntxent
from pml_proxyext.bounds.relation import Relation, Side

__all__ = ["RELATIONS"]


def _alignment_and_uniformity(batch: BoundBatch, of_alignment: float = 1.0) -> Tensor:
    """Return half the mean squared distance of positives plus the log-potential of negatives, both over tau."""
    halved_squares = batch.distances.square() / (2 * batch["temperature"])
    potentials = log_sum_exp(-halved_squares, batch.different)[batch.same.any(1)]
    return of_alignment * halved_squares[batch.same].mean() + potentials.mean()


def _plus_largest_positive(batch: BoundBatch) -> Tensor:
    negatives = len(batch) - int(batch.counts[0])
    return _alignment_and_uniformity(batch) + math.exp(2 / batch["temperature"]) / negatives


def _uniformity(batch: BoundBatch) -> Tensor:
    """Return the log of the mean Gaussian potential of two different rows."""
    others = batch.same | batch.different
    exponents = (-batch["t"] * batch.distances.square())[others]
    return torch.logsumexp(exponents, 0) - math.log(len(exponents))


def _lowest_uniformity(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    rows = len(batch)
    return batch.embeddings.new_tensor(-2 * batch["t"] * factor * rows / (rows - 1))


def _crossed_poles() -> BoundBatch:
    """Return two classes, each at both ends of an axis of its own: negatives beat positives by a cosine of 1."""
    axes = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    return BoundBatch(axes, torch.tensor([0, 0, 1, 1]), hyper={"temperature": 0.05}, origin="witness")


def _simplex_of_samples() -> BoundBatch:
    """Return four samples of two classes, each on a vertex of its own of a regular simplex."""
    return BoundBatch(torch.eye(4).double() - 0.25, torch.tensor([0, 0, 1, 1]), hyper={"t": 2.0}, origin="witness")


NTXENT = Side("NT-Xent", ntxent)
DECOUPLED = "decoupled NT-Xent"

RELATIONS = (
    Relation(
        id="unif.dcl_le_ntxent",
        title="Alignment plus uniformity, which is NT-Xent without the positive in the denominator, is at most NT-Xent",
        statement=r"\tfrac{1}{2\tau}\overline{d_{\mathrm{pos}}^2}"
        r" + \overline{\log\tfrac1N\textstyle\sum_N e^{-d^2/2\tau}} + \log N \le L_{\mathrm{NTX}}",
        source="finite form of Wang and Isola 2020, Thm. 1",
        proof="leave the positive out of the denominator; s = 1 - d^2/2 on the sphere",
        labels=Labels.BALANCED,
        lhs=Side(DECOUPLED, _alignment_and_uniformity),
        rhs=NTXENT,
        hyper={"temperature": TEMPERATURE},
        witness=_crossed_poles,
        constant="the factor 1/(2 tau) of the alignment",
        mutated=lambda batch: (_alignment_and_uniformity(batch, 1.01), ntxent(batch)),
    ),
    Relation(
        id="unif.ntxent_le_dcl",
        title="NT-Xent exceeds alignment plus uniformity by a term that vanishes with many negatives",
        statement=r"L_{\mathrm{NTX}} \le L_{\mathrm{DCL}} + e^{2/\tau}/N",
        source="rate of Wang and Isola 2020, Thm. 1, here as a bound per batch",
        proof="log(1 + x) is at most x, and x, the positive over the negatives, is at most exp(2/tau)/N",
        labels=Labels.BALANCED,
        lhs=NTXENT,
        rhs=Side(DECOUPLED, _plus_largest_positive, "+ exp(2/tau)/N"),
        hyper={"temperature": TEMPERATURE},
    ),
    Relation(
        id="unif.simplex_floor",
        title="The Gaussian potential of a batch has the regular simplex as its minimum",
        statement=r"-\frac{2tn}{n - 1} \le \log\overline{e^{-t\|z_i - z_j\|^2}}_{i \ne j}",
        source="Wang and Isola 2020; Cohn and Kumar 2007",
        proof="Jensen; the mean squared distance on the sphere is at most 2n/(n - 1)",
        labels=Labels.ANY,
        lhs=Side("simplex floor of uniformity", _lowest_uniformity),
        rhs=Side("uniformity", _uniformity),
        hyper={"t": Hyper(2.0, 0.5, 10.0)},
        witness=_simplex_of_samples,
        constant="n/(n - 1)",
        mutated=lambda batch: (_lowest_uniformity(batch, 0.99), _uniformity(batch)),
    ),
)
