"""Floors of the cross-entropy of a linear classifier, which only a simplex attains: Graf et al."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.hyper import TEMPERATURE
from pml_proxyext.bounds.pml_losses import cross_entropy, normalized_softmax
from pml_proxyext.bounds.relation import Relation, Side
from pml_proxyext.geometry import (
    cross_entropy_floor,
    cross_entropy_floor_row_norm,
    cross_entropy_floor_weight_decay,
    normalized_softmax_floor,
)

__all__ = ["RELATIONS"]


def radius(batch: BoundBatch) -> Tensor:
    """Return the largest norm of an embedding."""
    return torch.linalg.vector_norm(batch.embeddings, dim=1).amax()


def frobenius_floor(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    """Return the floor by the norm of the whole classifier, with its exponent times ``factor``."""
    weight_norm = factor * torch.linalg.vector_norm(batch.classifier)
    return cross_entropy_floor(radius(batch), weight_norm, batch.one_hot.sum(0))


def row_floor(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    """Return the floor by the largest norm of a row, with its exponent times ``factor``."""
    row_norm = factor * torch.linalg.vector_norm(batch.classifier, dim=1).amax()
    return cross_entropy_floor_row_norm(radius(batch), row_norm, len(batch.classifier))


def decay_floor(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    """Return the floor with weight decay, with its exponent times ``factor``."""
    return cross_entropy_floor_weight_decay(factor * radius(batch), len(batch.classifier), batch["lambda_"])


def decayed(batch: BoundBatch) -> Tensor:
    """Return cross-entropy plus weight decay."""
    return cross_entropy(batch) + batch["lambda_"] * batch.classifier.square().sum()


def proxy_floor(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    """Return the floor of normalized softmax, with its exponent times ``factor``."""
    return normalized_softmax_floor(len(batch.classifier), batch["temperature"] / factor)


def simplex() -> BoundBatch:
    """Return embeddings and classifier on the vertices of a simplex."""
    return witnesses.simplex(3, 2)


def decaying_simplex() -> BoundBatch:
    """Return the same, with the weight decay for which rows of norm 1 are best: the derivative is zero there."""
    odds = 2 * math.exp(-1.5)
    return witnesses.simplex(3, 2, lambda_=odds / (1 + odds) / 4)


CROSS_ENTROPY = Side("cross-entropy", cross_entropy)
EXPONENT = "K/(K-1)"

RELATIONS = (
    Relation(
        id="graf.ce_fro",
        title="The norms of embeddings and of the classifier put a floor under cross-entropy",
        statement=r"\log\Big(1 + (K - 1) e^{-\rho \frac{\sqrt K}{K - 1} \|W\|_F}\Big) \le \mathrm{CE}, "
        r"\quad \|z_i\| \le \rho",
        source="Graf et al. 2021, Thm 1 (number from memory, re-derived)",
        proof="Jensen over the wrong classes and over samples; then Cauchy and Schwarz",
        labels=Labels.PROXY_BALANCED,
        lhs=Side("simplex floor of cross-entropy", frobenius_floor),
        rhs=CROSS_ENTROPY,
        witness=simplex,
        constant=EXPONENT,
        mutated=lambda batch: (frobenius_floor(batch, factor=0.99), cross_entropy(batch)),
    ),
    Relation(
        id="graf.ce_rw",
        title="The largest norms of an embedding and of a row put a floor under cross-entropy",
        statement=r"\log\Big(1 + (K - 1) e^{-\frac{K}{K - 1} \rho\, r_W}\Big) \le \mathrm{CE}, "
        r"\quad \|z_i\| \le \rho,\ \|w_k\| \le r_W",
        source="Graf et al. 2021, Cor. 1 (number from memory, re-derived)",
        proof="graf.ce_rw_le_fro and graf.ce_fro",
        labels=Labels.PROXY_BALANCED,
        lhs=Side("simplex floor of cross-entropy by row norms", row_floor),
        rhs=CROSS_ENTROPY,
        witness=simplex,
        constant=EXPONENT,
        mutated=lambda batch: (row_floor(batch, factor=0.99), cross_entropy(batch)),
    ),
    Relation(
        id="graf.ce_rw_le_fro",
        title="The floor by row norms is at most that by the norm of the classifier",
        statement=r"\log\Big(1 + (K - 1) e^{-\frac{K}{K - 1} \rho \max_k \|w_k\|}\Big) "
        r"\le \log\Big(1 + (K - 1) e^{-\rho \frac{\sqrt K}{K - 1} \|W\|_F}\Big)",
        source="elementary",
        proof="a sum of K squares is at most K times the largest",
        labels=Labels.PROXY_BALANCED,
        lhs=Side("simplex floor of cross-entropy by row norms", row_floor),
        rhs=Side("simplex floor of cross-entropy", frobenius_floor),
        witness=simplex,
        constant=EXPONENT,
        mutated=lambda batch: (row_floor(batch, factor=0.99), frobenius_floor(batch)),
    ),
    Relation(
        id="graf.ce_any_labels",
        title="A floor under cross-entropy for any histogram of labels",
        statement=r"\log\Big(1 + (K - 1) e^{-\rho \frac{K}{K - 1} \|\pi\|_2 \|W\|_F}\Big) \le \mathrm{CE}, "
        r"\quad \pi_k = n_k / n",
        source="ours; it generalises Graf et al. 2021, Thm 1",
        proof="Cauchy and Schwarz with the frequencies of the classes",
        labels=Labels.PROXY_ANY,
        lhs=Side("simplex floor of cross-entropy", frobenius_floor),
        rhs=CROSS_ENTROPY,
        assumptions="a classifier without bias",
        witness=simplex,
        constant=EXPONENT,
        mutated=lambda batch: (frobenius_floor(batch, factor=0.99), cross_entropy(batch)),
    ),
    Relation(
        id="graf.ce_wd",
        title="A floor under cross-entropy plus weight decay, for every classifier",
        statement=r"\min_{r \ge 0} \log\Big(1 + (K - 1) e^{-\frac{K}{K - 1} \rho r}\Big) + \lambda K r^2 "
        r"\le \mathrm{CE} + \lambda \|W\|_F^2",
        source="Graf et al. 2021, Thm 2 or its corollary (number from memory, re-derived)",
        proof="graf.ce_fro at r, the root mean square of the norms of the rows; then the best r",
        labels=Labels.PROXY_BALANCED,
        lhs=Side("simplex floor of cross-entropy with weight decay", decay_floor),
        rhs=Side("cross-entropy", decayed, "+ lambda times the squared norm of the classifier"),
        hyper={"lambda_": Hyper(5e-4, 1e-4, 1.0)},
        witness=decaying_simplex,
        constant=EXPONENT,
        mutated=lambda batch: (decay_floor(batch, factor=0.99), decayed(batch)),
    ),
    Relation(
        id="graf.normsoftmax",
        title="Normalized softmax has a floor that proxies on a simplex attain",
        statement=r"\log\Big(1 + (C - 1) e^{-\frac{C}{(C - 1) \tau}}\Big) \le L_{\mathrm{NS}}",
        source="Graf et al. 2021, Cor. 1 (number from memory, re-derived), with radius 1/tau and rows of norm 1",
        proof="graf.ce_rw",
        labels=Labels.PROXY_BALANCED,
        lhs=Side("simplex floor of normalized softmax", proxy_floor),
        rhs=Side("normalized softmax", normalized_softmax),
        hyper={"temperature": TEMPERATURE},
        witness=lambda: witnesses.simplex(3, 2, temperature=0.5),
        constant="C/(C-1)",
        mutated=lambda batch: (proxy_floor(batch, factor=0.99), normalized_softmax(batch)),
    ),
)
