"""Softmax losses with a margin on the angle to the own proxy: CosFace, ArcFace, SphereFace, L-Softmax."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss, LargeMarginSoftmaxLoss, SphereFaceLoss
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.pml_losses import normalized_softmax, with_proxies
from pml_proxyext.bounds.relation import Relation, Side

__all__ = ["RELATIONS", "SCALE", "arcface", "cosface", "margin_softmax", "softmax_at_scale"]

SCALE = Hyper(16.0, 0.1, 64.0)
"""Of CosFace and ArcFace; PML's default is 64, where half of all batches have a loss of the size of rounding."""

COSINE_MARGIN = Hyper(0.35, 0.0, 2.0)
RADIANS = math.radians(28.6)
"""ArcFace's margin by default."""

MULTIPLE = {"margin": Hyper(4, 1, 5, is_integer=True), "scale": Hyper(1.0, 0.05, 2.0)}
MULTIPLE_ANGLE = "the margin is a factor of the angle; proxies keep their norms in L-Softmax, embeddings in both"


def margin_softmax(loss_class: type[LargeMarginSoftmaxLoss], batch: BoundBatch, **arguments: Any) -> Tensor:
    """Return a loss of this family with the proxies of the batch, at its scale."""
    sizes = {"num_classes": len(batch.classifier), "embedding_size": batch.classifier.shape[1]}
    loss = loss_class(scale=batch["scale"], reducer=MeanReducer(), **sizes, **arguments)
    value: Tensor = with_proxies(loss, batch.classifier)(batch.embeddings, batch.labels)
    return value


def softmax_at_scale(batch: BoundBatch) -> Tensor:
    """Return the normalized softmax loss at a temperature of one over the scale."""
    return normalized_softmax(batch.given(temperature=1 / batch["scale"]))


def cosface(batch: BoundBatch, margin: float) -> Tensor:
    """Return CosFace at a margin of the cosine."""
    return margin_softmax(CosFaceLoss, batch, margin=margin)


def arcface(batch: BoundBatch, margin: float) -> Tensor:
    """Return ArcFace at a margin in radians."""
    return margin_softmax(ArcFaceLoss, batch, margin=math.degrees(margin))


def multiple_angle(loss_class: type[LargeMarginSoftmaxLoss], batch: BoundBatch, step: int) -> Tensor:
    """Return SphereFace or L-Softmax at the margin of the batch plus ``step``."""
    return margin_softmax(loss_class, batch, margin=int(batch["margin"]) + step)


def _steepest() -> BoundBatch:
    """Return samples at the angle to their proxy, in a plane, at which a margin of 0.5 costs most."""
    proxies = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    angle = (math.pi - 0.5) / 2
    embeddings = torch.tensor([[math.cos(angle), math.sin(angle)]] * 2, dtype=torch.float64)
    return BoundBatch(embeddings, torch.tensor([0, 0]), proxies, {"scale": 16.0, "margin": 0.5}, "witness")


def _on_the_wrong_pole() -> BoundBatch:
    """Return a batch in which each sample lies on the proxy of the other class."""
    poles = witnesses.poles([2, 2], scale=32.0, margin=0.35)
    return poles.moved(-poles.embeddings)


def _cosface_of_arcface(batch: BoundBatch) -> Tensor:
    return cosface(batch, 2 * math.sin(batch["margin"] / 2))


SOFTMAX = Side("normalized softmax", softmax_at_scale)
COSFACE = Side("CosFace", lambda batch: cosface(batch, batch["margin"]))
ARCFACE = Side("ArcFace", lambda batch: arcface(batch, batch["margin"]))

RELATIONS = (
    Relation(
        id="margin.cosface_ge_ns",
        title="Normalized softmax is at most CosFace",
        statement=r"L_{\mathrm{NS}} \le L_{\mathrm{CosFace}}^{m}, \quad m \ge 0, \; \tau = 1/s",
        source="derived",
        proof="cross-entropy falls in the logit of the own class",
        labels=Labels.PROXY_ANY,
        lhs=SOFTMAX,
        rhs=COSFACE,
        hyper={"scale": SCALE, "margin": COSINE_MARGIN},
        witness=lambda: witnesses.axes([2, 2, 2], scale=4.0, margin=0.0),
    ),
    Relation(
        id="margin.cosface_lip",
        title="CosFace is at most normalized softmax plus scale times margin",
        statement=r"L_{\mathrm{CosFace}}^{m} \le L_{\mathrm{NS}} + s m",
        source="derived",
        proof="cross-entropy is 1-Lipschitz in the logit of the own class",
        labels=Labels.PROXY_ANY,
        lhs=COSFACE,
        rhs=Side(
            "normalized softmax",
            lambda batch: softmax_at_scale(batch) + batch["scale"] * batch["margin"],
            "+ scale times margin",
        ),
        hyper={"scale": SCALE, "margin": COSINE_MARGIN},
        witness=_on_the_wrong_pole,
        constant="the factor 1 of scale times margin",
        mutated=lambda batch: (
            cosface(batch, batch["margin"]),
            softmax_at_scale(batch) + 0.99 * batch["scale"] * batch["margin"],
        ),
    ),
    Relation(
        id="margin.arcface_ge_ns",
        title="Normalized softmax is at most ArcFace",
        statement=r"L_{\mathrm{NS}} \le L_{\mathrm{ArcFace}}^{m}, \quad 0 \le m \le \pi/2, \; \tau = 1/s",
        source="derived",
        proof="the margin lowers the cosine up to an angle of pi - m, and beyond it PML subtracts m sin m",
        labels=Labels.PROXY_ANY,
        lhs=SOFTMAX,
        rhs=ARCFACE,
        hyper={"scale": SCALE, "margin": Hyper(RADIANS, 0.0, math.pi / 2)},
        witness=lambda: witnesses.axes([2, 2, 2], scale=4.0, margin=0.0),
    ),
    Relation(
        id="margin.arcface_le_cosface",
        title="ArcFace is at most CosFace at a margin of twice the sine of half of its own",
        statement=r"L_{\mathrm{ArcFace}}^{m} \le L_{\mathrm{CosFace}}^{2 \sin(m/2)}, \quad m \cos(m/2) \le 1",
        source="ours",
        proof="cos t - cos(t + m) = 2 sin(m/2) sin(t + m/2); the condition is for PML's form beyond pi - m",
        labels=Labels.PROXY_ANY,
        lhs=ARCFACE,
        rhs=Side("CosFace at twice the sine of half the margin", _cosface_of_arcface),
        hyper={"scale": SCALE, "margin": Hyper(RADIANS, 0.0, 1.2)},
        witness=_steepest,
        constant="the factor 2 of the sine",
        mutated=lambda batch: (
            arcface(batch, batch["margin"]),
            cosface(batch, 1.98 * math.sin(batch["margin"] / 2)),
        ),
    ),
    Relation(
        id="margin.arcface_monotone",
        title="ArcFace grows with its margin",
        statement=r"L_{\mathrm{ArcFace}}^{m} \le L_{\mathrm{ArcFace}}^{m + \delta}, \quad m + \delta \le \pi/2",
        source="derived; with PML's form beyond pi - m, which jumps there",
        proof="by cases; the jump between the two forms is upwards because cos m + m sin m is at least 1",
        labels=Labels.PROXY_ANY,
        lhs=ARCFACE,
        rhs=Side("ArcFace at a larger margin", lambda batch: arcface(batch, batch["margin"] + batch["margin_step"])),
        hyper={
            "scale": SCALE,
            "margin": Hyper(RADIANS, 0.0, 0.8),
            "margin_step": Hyper(0.1, 0.0, 0.75),
        },
        witness=lambda: witnesses.axes([2, 2, 2], scale=4.0, margin=0.5, margin_step=0.0),
    ),
    *(
        Relation(
            id=f"margin.{name}_monotone",
            title=f"{node} grows with its margin",
            statement=rf"L_{{\mathrm{{{node}}}}}^{{m}} \le L_{{\mathrm{{{node}}}}}^{{m+1}}, \quad m = 1, 2, \dots",
            source=f"{source}; derived",
            proof="the function of the angle is g(m t) with g decreasing",
            labels=Labels.PROXY_ANY,
            lhs=Side(node, partial(multiple_angle, loss_class, step=0)),
            rhs=Side(f"{node} at margin + 1", partial(multiple_angle, loss_class, step=1)),
            hyper=MULTIPLE,
            assumptions=MULTIPLE_ANGLE,
            witness=lambda: witnesses.axes([2, 2, 2], scale=1.0, margin=4),
        )
        for name, node, source, loss_class in (
            ("sphereface", "SphereFace", "Liu et al. 2017", SphereFaceLoss),
            ("lsoftmax", "L-Softmax", "Liu et al. 2016", LargeMarginSoftmaxLoss),
        )
    ),
)
