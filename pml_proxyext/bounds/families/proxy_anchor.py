"""Proxy Anchor against the hinges that it smooths."""

from __future__ import annotations

import math

import torch
from pytorch_metric_learning.losses import ProxyAnchorLoss
from torch import Tensor
from torch.nn.functional import relu

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.pml_losses import with_proxies
from pml_proxyext.bounds.relation import Relation, Side

__all__ = ["ALPHA_AND_MARGIN", "PROXY_ANCHOR", "RELATIONS", "at_zero_exponents", "on_the_wrong_pole"]

ALPHA_AND_MARGIN = {"alpha": Hyper(32.0, 1.0, 64.0), "margin": Hyper(0.1, 0.0, 0.5)}


def proxy_anchor(batch: BoundBatch) -> Tensor:
    """Return Proxy Anchor with PML's default reducer, which divides as the paper does."""
    loss = ProxyAnchorLoss(*batch.classifier.shape, margin=batch["margin"], alpha=batch["alpha"])
    value: Tensor = with_proxies(loss, batch.classifier)(batch.embeddings, batch.labels)
    return value


def hardest_hinges(batch: BoundBatch) -> Tensor:
    """Return Proxy Anchor with the largest exponent of each proxy in the place of the log of the sum."""
    is_own, cosines = batch.one_hot.bool(), batch.cosine_logits
    farthest = cosines.masked_fill(~is_own, math.inf).amin(0)
    nearest = cosines.masked_fill(is_own, -math.inf).amax(0)
    pull, push = relu(batch["margin"] - farthest), relu(batch["margin"] + nearest)
    return batch["alpha"] * (pull.sum() / len(batch.counts) + push.mean())


def log_counts(batch: BoundBatch) -> Tensor:
    """Return what a log of a sum can be above its largest term, averaged over proxies as in Proxy Anchor."""
    own = batch.one_hot.sum(0)
    return own.log1p().sum() / len(batch.counts) + (len(batch) - own).log1p().mean()


def on_the_wrong_pole() -> BoundBatch:
    """Return two samples, each on the proxy of the other's class: all exponents are large."""
    poles = witnesses.poles([1, 1], alpha=32.0, margin=0.1)
    return poles.moved(-poles.embeddings)


def at_zero_exponents() -> BoundBatch:
    """Return samples orthogonal to all proxies, which makes all exponents 0 without a margin."""
    hyper = {"alpha": 1.0, "margin": 0.0}
    return BoundBatch(torch.eye(3)[[2] * 4], torch.tensor([0, 0, 1, 1]), torch.eye(3)[:2], hyper, "witness")


PROXY_ANCHOR = Side("Proxy Anchor", proxy_anchor)

RELATIONS = (
    Relation(
        id="proxyanchor.lo",
        title="Proxy Anchor is at least alpha times the hardest hinge of each proxy",
        statement=r"\frac{\alpha}{|P^+|} \sum_{c \in P^+} [\delta - \min_{y_i = c} s_{ic}]_+"
        r" + \frac{\alpha}{C} \sum_c [\delta + \max_{y_i \ne c} s_{ic}]_+ \le L_{\mathrm{PA}}",
        source="Kim et al. 2020, Section 3 (the log of the sum as a smooth maximum)",
        proof="the largest term is at most the log of the sum, and so is 0",
        labels=Labels.PROXY_ANY,
        lhs=Side("hardest hinges of Proxy Anchor", hardest_hinges),
        rhs=PROXY_ANCHOR,
        hyper=ALPHA_AND_MARGIN,
        witness=on_the_wrong_pole,
    ),
    Relation(
        id="proxyanchor.hi",
        title="Proxy Anchor is at most alpha times the hardest hinge of each proxy plus the logs of the counts",
        statement=r"L_{\mathrm{PA}} \le \alpha\,\mathrm{hinges} + \frac{1}{|P^+|} \sum_{c \in P^+} \log(1 + n_c)"
        r" + \frac{1}{C} \sum_c \log(1 + N - n_c)",
        source="derived",
        proof="a log of n + 1 terms is at most the largest plus log(n + 1)",
        labels=Labels.PROXY_ANY,
        lhs=PROXY_ANCHOR,
        rhs=Side(
            "hardest hinges of Proxy Anchor",
            lambda batch: hardest_hinges(batch) + log_counts(batch),
            "+ mean logs of the counts",
        ),
        hyper=ALPHA_AND_MARGIN,
        witness=at_zero_exponents,
    ),
)
