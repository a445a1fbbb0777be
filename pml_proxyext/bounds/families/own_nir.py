"""NIR's regularized loss against its base, and the three forms of its likelihood among one another."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.pml_losses import with_proxies
from pml_proxyext.bounds.relation import Relation, Side
from pml_proxyext.flows.coupling import MAX_LOG_SCALE
from pml_proxyext.losses import NIRLoss, ProxyAnchorLoss
from pml_proxyext.losses.nir_likelihood import Likelihood, likelihood_loss

__all__ = ["RELATIONS"]

GAIN = Hyper(1.0, 0.0, 3.0)
BLOCKS, CLAMP = 2, 2.0
A_FLOW = "a small flow with the weights it starts with, always the same, times gain"


def nir(batch: BoundBatch, likelihood: Likelihood, nir_weight: float = 1.0, proxy_weight: float = 0.0) -> Tensor:
    """Return the NIR loss without noise, by default its regularizer alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loss = NIRLoss(
            len(batch.classifier),
            batch.classifier.shape[1],
            nir_weight=nir_weight,
            proxy_weight=proxy_weight,
            likelihood=likelihood,
            noise_scale=0.0,
            n_blocks=BLOCKS,
            n_layers=2,
            hidden_size=8,
            clamp=CLAMP,
        )
    with_proxies(loss.proxy_loss, batch.classifier)
    with torch.no_grad():
        for parameter in loss.flow.parameters():
            parameter.mul_(batch["gain"])
    value: Tensor = loss(batch.embeddings, batch.labels)
    return value


def _plain(batch: BoundBatch) -> Tensor:
    return nir(batch, "plain")


def _exp_of_mean(batch: BoundBatch) -> Tensor:
    width = batch.embeddings.shape[1]
    return likelihood_loss(width * _plain(batch), width, "exp")


def _proxy_anchor(batch: BoundBatch) -> Tensor:
    loss = ProxyAnchorLoss(*batch.classifier.shape)
    value: Tensor = with_proxies(loss, batch.classifier)(batch.embeddings, batch.labels)
    return value


def _one_class(**hyper: float) -> BoundBatch:
    """Return equal samples of one class: all have the same likelihood."""
    return BoundBatch(torch.eye(3)[[0, 0]], torch.tensor([0, 0]), torch.eye(3)[:2], hyper, "witness")


def _unlikely() -> BoundBatch:
    """Return a sample that the flow stretches to a latent of norm 60: softplus is the identity there."""
    return BoundBatch(-torch.eye(3)[:1], torch.tensor([0]), torch.eye(3)[1:], {"gain": 3.0}, "witness")


SOFTPLUS = Side("NIR, softplus", lambda batch: nir(batch, "softplus"))

RELATIONS = (
    Relation(
        id="nir.ge_base",
        title="A loss regularized by a nonnegative form of the likelihood is at least the loss",
        statement=r"L_{\mathrm{PA}} \le L_{\mathrm{NIR}}^{\mathrm{softplus}}, \quad w \ge 0",
        source="ours",
        proof="the regularizer is at least 0",
        labels=Labels.PROXY_ANY,
        lhs=Side("Proxy Anchor of this package", _proxy_anchor),
        rhs=Side("NIR", lambda batch: nir(batch, "softplus", batch["nir_weight"], proxy_weight=1.0)),
        hyper={"nir_weight": Hyper(1.0, 0.0, 10.0), "gain": GAIN},
        assumptions=A_FLOW,
        witness=lambda: witnesses.axes([2, 2], nir_weight=0.0, gain=1.0),
    ),
    Relation(
        id="nir.jensen_softplus",
        title="Softplus of the mean negative log-likelihood is at most NIR's regularizer with softplus",
        statement=r"\log(1 + e^{R_{\mathrm{plain}}}) \le R_{\mathrm{softplus}}",
        source="ours",
        proof="Jensen: softplus is convex",
        labels=Labels.PROXY_ANY,
        lhs=Side("NIR, plain", lambda batch: softplus(_plain(batch)), "through softplus"),
        rhs=SOFTPLUS,
        hyper={"gain": GAIN},
        assumptions=A_FLOW,
        witness=lambda: _one_class(gain=1.0),
    ),
    Relation(
        id="nir.jensen_exp",
        title="The exponential of the mean negative log-likelihood is at most NIR's regularizer with exp",
        statement=r"h(D\, R_{\mathrm{plain}}) \le R_{\mathrm{exp}}, \quad h(x) = e^x \text{ up to } x = 20",
        source="ours",
        proof="Jensen: the exponential is convex, and stays so where it goes on as its tangent at 20",
        labels=Labels.PROXY_ANY,
        lhs=Side("NIR, plain", _exp_of_mean, "times D, through exp"),
        rhs=Side("NIR, exp", lambda batch: nir(batch, "exp")),
        hyper={"gain": GAIN},
        assumptions=A_FLOW,
        witness=lambda: _one_class(gain=1.0),
    ),
    Relation(
        id="nir.plain_le_softplus",
        title="NIR's plain regularizer is at most the one with softplus",
        statement=r"R_{\mathrm{plain}} \le R_{\mathrm{softplus}}",
        source="ours",
        proof="softplus is at least the identity",
        labels=Labels.PROXY_ANY,
        lhs=Side("NIR, plain", _plain),
        rhs=SOFTPLUS,
        hyper={"gain": GAIN},
        assumptions=A_FLOW,
        witness=_unlikely,
    ),
    Relation(
        id="nir.volume_floor",
        title="The flow can stretch space only so far, so NIR's plain regularizer is bounded below",
        statement=r"-0.318\,\pi\, B\, c \le R_{\mathrm{plain}}, \quad B \text{ blocks}, c \text{ the clamp}",
        source="ours",
        proof="a block scales each coordinate once, by at most exp(0.636 c pi/2); half of a squared norm is at least 0",
        labels=Labels.PROXY_ANY,
        lhs=Side("largest log-scale of the flow", lambda batch: batch.unit.new_tensor(-MAX_LOG_SCALE * CLAMP * BLOCKS)),
        rhs=Side("NIR, plain", _plain),
        hyper={"gain": GAIN},
        assumptions=A_FLOW,
    ),
)
