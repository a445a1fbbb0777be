"""The ensembles of ABE: the divergence of learners, and losses of each learner by itself."""

from __future__ import annotations

import math

import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import ContrastiveLoss, MultiSimilarityLoss
from pytorch_metric_learning.reducers import SumReducer
from torch import Tensor
from torch.nn.functional import normalize, relu

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.relation import Kind, Relation, Side
from pml_proxyext.losses import ABELoss, LearnerwiseLoss
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


def _divergence_of_mean(batch: BoundBatch) -> Tensor:
    parts = normalize(_learners(batch).unflatten(1, (3, -1)), dim=2)
    squared = (parts - parts.roll(1, dims=1)).square().sum(2)
    return relu(batch["margin"] - squared.mean())


def _contrastive_of_two(batch: BoundBatch) -> Tensor:
    """Return the contrastive losses of two learners, each with one mean over all pairs."""
    squared = LpDistance(power=2)
    loss = ContrastiveLoss(pos_margin=0, neg_margin=batch["margin"], distance=squared, reducer=SumReducer())
    total: Tensor = LearnerwiseLoss(loss, 2)(_two_learners(batch), batch.labels)
    return total / (len(batch) * (len(batch) - 1))


def _two_learners(batch: BoundBatch) -> Tensor:
    """Return ``(N, 2 D)``: embeddings, and the same with the coordinates squared, as a second learner."""
    return torch.cat([batch.embeddings, batch.embeddings.square()], dim=1)


def _abe(batch: BoundBatch) -> Tensor:
    value: Tensor = ABELoss(2, neg_margin=batch["margin"], div_weight=0.0)(_two_learners(batch), batch.labels)
    return value


def _multi_similarity(batch: BoundBatch) -> Tensor:
    value: Tensor = MultiSimilarityLoss()(batch.embeddings, batch.labels)
    return value


def _one_learner(batch: BoundBatch) -> Tensor:
    value: Tensor = LearnerwiseLoss(MultiSimilarityLoss(), 1)(batch.embeddings, batch.labels)
    return value


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
    Relation(
        id="abe.learnerwise_one",
        title="A loss of one learner is the loss",
        statement=r"M = 1 \Rightarrow \sum_m L_m = L",
        source="ours",
        proof="the one part of an embedding is the embedding",
        labels=Labels.ANY,
        lhs=Side("learnerwise multi-similarity", _one_learner),
        rhs=Side("multi-similarity", _multi_similarity),
        kind=Kind.EQUAL,
        witness=lambda: witnesses.axes([2, 2, 2]),
    ),
    Relation(
        id="abe.eq_contrastive",
        title="ABE without divergence is the sum of contrastive losses with one mean over all pairs",
        statement=r"\lambda = 0 \Rightarrow L_{\mathrm{ABE}} = \sum_m \frac{1}{|P|} \sum_{(i, j) \in P} \ell_m(i, j)",
        source="Kim et al. 2018 (reconstructed); ours",
        proof="the same terms, by PML's contrastive loss on squared distances",
        labels=Labels.ANY,
        lhs=Side("ABE without divergence", _abe),
        rhs=Side("contrastive, one mean over all pairs and learners", _contrastive_of_two),
        kind=Kind.EQUAL,
        hyper=MARGINS,
        assumptions="the second learner squares the coordinates of the first",
        witness=lambda: witnesses.poles([2, 2], margin=1.0),
    ),
)
