"""The triplet hinge against the contrastive and the margin loss of PML, with mean and with default reducers."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning import losses
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor

from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.triplets import euclidean_hinge
from pml_proxyext.bounds.pml_losses import euclidean
from pml_proxyext.bounds.relation import Kind, Relation, Side

__all__ = ["RELATIONS"]

PAIR_MARGINS = {"pos_margin": Hyper(0.0, 0.0, 1.0), "neg_margin": Hyper(1.0, 0.0, 2.0)}
MARGIN_LOSS = {"margin": Hyper(0.2, 0.0, 1.0), "beta": Hyper(1.2, 0.0, 2.0)}


def _between_pair_margins(batch: BoundBatch, **arguments: Any) -> Tensor:
    return euclidean_hinge(batch, batch["neg_margin"] - batch["pos_margin"], **arguments)


def _contrastive(batch: BoundBatch, **arguments: Any) -> Tensor:
    arguments = {"distance": euclidean(), "reducer": MeanReducer(), **arguments}
    loss = losses.ContrastiveLoss(pos_margin=batch["pos_margin"], neg_margin=batch["neg_margin"], **arguments)
    value: Tensor = loss(batch.embeddings, batch.labels)
    return value


def _twice_the_margin(batch: BoundBatch, **arguments: Any) -> Tensor:
    return euclidean_hinge(batch, 2 * batch["margin"], **arguments)


def _margin_loss(batch: BoundBatch, **arguments: Any) -> Tensor:
    arguments = {"distance": euclidean(), "reducer": MeanReducer(), **arguments}
    loss = losses.MarginLoss(margin=batch["margin"], **arguments)
    # PML's constructor rounds beta to float32, an error of 1e-8.
    loss.beta = batch.embeddings.new_tensor([batch["beta"]])
    value: Tensor = loss(batch.embeddings, batch.labels)
    return value


def _all_orthogonal(**hyper: float) -> BoundBatch:
    return BoundBatch(torch.eye(4), torch.tensor([0, 0, 1, 1]), hyper=hyper, origin="witness")


def _loose_and_torn_class() -> BoundBatch:
    """Return a class that is nearly one point, and a class of which one sample lies next to that point.

    The many short distances of the first class lower the mean of the contrastive loss, but make no active triplet.
    """
    angles = torch.tensor([-0.001, 0.0, 0.001, 0.2, torch.pi, torch.pi], dtype=torch.float64)
    places = torch.stack([angles.cos(), angles.sin()], dim=1)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    return BoundBatch(places, labels, hyper={"pos_margin": 0.0, "neg_margin": 0.1}, origin="witness")


RELATIONS = (
    Relation(
        id="triplet.le_contrastive",
        title="The triplet hinge is at most the contrastive loss",
        statement=r"\overline{[d_p - d_n + m_n - m_p]_+} \le \overline{[d_p - m_p]_+} + \overline{[m_n - d_n]_+}",
        source="derived",
        proof="the hinge is subadditive; in a balanced batch each pair is in equally many triplets",
        labels=Labels.BALANCED,
        lhs=Side("triplet hinge", _between_pair_margins),
        rhs=Side("contrastive", _contrastive),
        hyper=PAIR_MARGINS,
        witness=lambda: _all_orthogonal(pos_margin=0.125, neg_margin=1.5),
    ),
    Relation(
        id="triplet.le_contrastive_default_claim",
        title="Claim: the triplet hinge is at most the contrastive loss with PML's default reducers",
        statement=r"\mathrm{AvgNonZero}([d_p - d_n + m_n - m_p]_+) \le"
        r" \mathrm{AvgNonZero}([d_p - m_p]_+) + \mathrm{AvgNonZero}([m_n - d_n]_+)",
        source="not in a paper; what comparing PML's default values suggests",
        proof="false: the averages go over active triplets, positive pairs and negative pairs, each a set of its own",
        labels=Labels.BALANCED,
        lhs=Side("triplet hinge, default reducer", lambda batch: _between_pair_margins(batch, reducer=None)),
        rhs=Side("contrastive, default reducer", lambda batch: _contrastive(batch, reducer=None)),
        kind=Kind.REFUTED,
        hyper=PAIR_MARGINS,
        witness=_loose_and_torn_class,
    ),
    Relation(
        id="triplet.le_margin",
        title="The triplet hinge with twice the margin is at most the margin loss",
        statement=r"\overline{[d_p - d_n + 2\alpha]_+} \le"
        r" \overline{[d_p - \beta + \alpha]_+ + [\beta - d_n + \alpha]_+}",
        source="relation of Wu et al. 2017; derived",
        proof="the hinge is subadditive, and beta cancels",
        labels=Labels.ANY,
        lhs=Side("triplet hinge", _twice_the_margin),
        rhs=Side("margin loss", _margin_loss),
        hyper=MARGIN_LOSS,
        witness=lambda: _all_orthogonal(margin=0.5, beta=1.25),
    ),
    Relation(
        id="triplet.le_margin_default_claim",
        title="Claim: the triplet hinge with twice the margin is at most the margin loss with PML's default reducers",
        statement=r"\mathrm{AvgNonZero}([d_p - d_n + 2\alpha]_+) \le"
        r" \frac{\sum [d_p - \beta + \alpha]_+ + [\beta - d_n + \alpha]_+}{\#\{\text{active}\}}",
        source="not in a paper; what comparing PML's default values suggests",
        proof="false: the default divisor of the margin loss counts a triplet twice if both of its hinges are active",
        labels=Labels.ANY,
        lhs=Side("triplet hinge, default reducer", lambda batch: _twice_the_margin(batch, reducer=None)),
        rhs=Side("margin loss, default reducer", lambda batch: _margin_loss(batch, reducer=None)),
        kind=Kind.REFUTED,
        hyper=MARGIN_LOSS,
        witness=lambda: _all_orthogonal(margin=0.5, beta=1.25),
    ),
)
