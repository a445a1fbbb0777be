"""The divergence of ABE's learners: its bounds, and how it depends on its margin."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize, relu

from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.relation import Kind, Relation, Side
from pml_proxyext.regularizers import LearnerDivergenceRegularizer

__all__ = ["RELATIONS"]

THREE_LEARNERS = "three learners see an embedding, its class's proxy and the next class's proxy"


def _learners(batch: BoundBatch) -> Tensor:
    """Return ``(N, 3 D)``, the outputs of three learners side by side."""
    following = (batch.labels + 1) % len(batch.classifier)
    return torch.cat([batch.embeddings, batch.classifier[batch.labels], batch.classifier[following]], dim=1)


def _divergence(batch: BoundBatch) -> Tensor:
    value: Tensor = LearnerDivergenceRegularizer(3, batch["margin"])(_learners(batch))
    return value


def _divergence_of_half(batch: BoundBatch) -> Tensor:
    return _divergence(batch.given(margin=batch["margin"] / 2))


def _cosine_hinges(batch: BoundBatch) -> Tensor:
    parts = normalize(_learners(batch).unflatten(1, (3, -1)), dim=2)
    cosines = (parts * parts.roll(1, dims=1)).sum(2)
    return 2 * relu(cosines - (1 - batch["margin"] / 2)).mean()


def _divergence_of_mean(batch: BoundBatch) -> Tensor:
    parts = normalize(_learners(batch).unflatten(1, (3, -1)), dim=2)
    squared = (parts - parts.roll(1, dims=1)).square().sum(2)
    return relu(batch["margin"] - squared.mean())


def _one_place(**hyper: float) -> BoundBatch:
    """Return samples and proxies in one point: all learners agree."""
    return BoundBatch(torch.eye(3)[[0, 0]], torch.tensor([0, 1]), torch.eye(3)[[0, 0]], hyper, "witness")


def _star(**hyper: float) -> BoundBatch:
    """Return samples and two proxies at angles of 120 degrees in a plane: the learners are a simplex."""
    root = math.sqrt(0.75)
    proxies = torch.tensor([[-0.5, root], [-0.5, -root]], dtype=torch.float64)
    return BoundBatch(torch.eye(2, dtype=torch.float64)[[0, 0]], torch.tensor([0, 1]), proxies, hyper, "witness")


DIVERGENCE = Side("learner divergence", _divergence)
MARGINS = {"margin": Hyper(1.0, 0.1, 4.0)}

RELATIONS = (
    Relation(
        id="abe.divergence_le_margin",
        title="The divergence of learners is at most its margin",
        statement=r"L_{\mathrm{div}} \le m",
        source="Kim et al. 2018 (reconstructed); ours",
        proof="squared distances are at least 0",
        labels=Labels.PROXY_ANY,
        lhs=DIVERGENCE,
        rhs=Side("margin", lambda batch: batch.unit.new_tensor(batch["margin"])),
        hyper=MARGINS,
        assumptions=THREE_LEARNERS,
        witness=lambda: _one_place(margin=1.0),
    ),
    Relation(
        id="abe.divergence_jensen",
        title="The hinge of the mean squared distance of learners is at most their divergence",
        statement=r"[m - \overline{|b_p - b_q|^2}]_+ \le L_{\mathrm{div}}",
        source="ours",
        proof="Jensen: the hinge is convex",
        labels=Labels.PROXY_ANY,
        lhs=Side("hinge of the mean squared distance of learners", _divergence_of_mean),
        rhs=DIVERGENCE,
        hyper=MARGINS,
        assumptions=THREE_LEARNERS,
        witness=lambda: _one_place(margin=1.0),
    ),
    Relation(
        id="abe.divergence_half_margin",
        title="The divergence grows with its margin: twice the margin gives at least twice the divergence",
        statement=r"L_{\mathrm{div}}(m / 2) \le \tfrac12 L_{\mathrm{div}}(m)",
        source="ours",
        proof="[m / 2 - x]_+ is half of [m - 2x]_+, and x is at least 0",
        labels=Labels.PROXY_ANY,
        lhs=Side("learner divergence", _divergence_of_half, "with half the margin"),
        rhs=Side("learner divergence", lambda batch: _divergence(batch) / 2, "/ 2"),
        hyper=MARGINS,
        assumptions=THREE_LEARNERS,
        witness=lambda: _one_place(margin=1.0),
        constant="1/2",
    ),
    Relation(
        id="abe.divergence_lipschitz",
        title="The divergence grows no faster than its margin",
        statement=r"L_{\mathrm{div}}(m) \le L_{\mathrm{div}}(m / 2) + \tfrac{m}{2}",
        source="ours",
        proof="the hinge rises by at most one for one",
        labels=Labels.PROXY_ANY,
        lhs=DIVERGENCE,
        rhs=Side(
            "learner divergence",
            lambda batch: _divergence_of_half(batch) + batch["margin"] / 2,
            "with half the margin + m / 2",
        ),
        hyper=MARGINS,
        assumptions=THREE_LEARNERS,
        witness=lambda: _one_place(margin=1.0),
    ),
    Relation(
        id="abe.eq_divergence_cosine",
        title="The divergence is a hinge on cosines: a margin of 1 is a cosine of one half",
        statement=r"L_{\mathrm{div}} = 2 \, \overline{[\cos(b_p, b_q) - (1 - m / 2)]_+}",
        source="derived",
        proof="the squared distance of unit vectors is 2 - 2 cos",
        labels=Labels.PROXY_ANY,
        lhs=DIVERGENCE,
        rhs=Side("hinge of the cosines of learners", _cosine_hinges),
        kind=Kind.EQUAL,
        hyper=MARGINS,
        assumptions=THREE_LEARNERS,
        witness=lambda: _star(margin=4.0),
    ),
    Relation(
        id="abe.divergence_floor",
        title="Three learners cannot all be farther from one another than the corners of a triangle",
        statement=r"m - 2 - \tfrac{2}{M - 1} \le L_{\mathrm{div}}, \quad M = 3",
        source="ours",
        proof="the squared norm of a sum of M unit vectors is at least 0, so their mean cosine is at least -1/(M - 1)",
        labels=Labels.PROXY_ANY,
        lhs=Side("margin", lambda batch: batch.unit.new_tensor(batch["margin"] - 3), "- 3"),
        rhs=DIVERGENCE,
        hyper=MARGINS,
        assumptions=THREE_LEARNERS,
        witness=lambda: _star(margin=4.0),
    ),
)
