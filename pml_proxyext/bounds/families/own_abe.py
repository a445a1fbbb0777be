"""The ensembles of ABE: losses of each learner by itself, of all together, and of their concatenation."""

from __future__ import annotations

import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import ContrastiveLoss, MultiSimilarityLoss
from pytorch_metric_learning.reducers import SumReducer
from torch import Tensor
from torch.nn.functional import normalize

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.relation import Kind, Relation, Side
from pml_proxyext.losses import ABELoss, LearnerwiseLoss

__all__ = ["RELATIONS"]

TWO_LEARNERS = "the second learner squares the coordinates of the first"


def _contrastive(batch: BoundBatch) -> ContrastiveLoss:
    """Return the contrastive loss on squared distances, with a sum over all pairs."""
    squared = LpDistance(power=2)
    return ContrastiveLoss(pos_margin=0, neg_margin=batch["margin"], distance=squared, reducer=SumReducer())


def _contrastive_of_two(batch: BoundBatch) -> Tensor:
    """Return the contrastive losses of two learners, each with one mean over all pairs."""
    total: Tensor = LearnerwiseLoss(_contrastive(batch), 2)(_two_learners(batch), batch.labels)
    return total / (len(batch) * (len(batch) - 1))


def _contrastive_of_whole(batch: BoundBatch) -> Tensor:
    """Return the contrastive loss of the concatenation of two learners."""
    total: Tensor = _contrastive(batch)(_whole(batch), batch.labels)
    return total / (len(batch) * (len(batch) - 1))


def _two_learners(batch: BoundBatch) -> Tensor:
    """Return ``(N, 2 D)``: embeddings, and the same with the coordinates squared, as a second learner."""
    return torch.cat([batch.embeddings, batch.embeddings.square()], dim=1)


def _parts(batch: BoundBatch) -> Tensor:
    """Return ``(N, 2, D)``, the outputs of both, each of norm 1."""
    return normalize(_two_learners(batch).unflatten(1, (2, -1)), dim=2)


def _whole(batch: BoundBatch) -> Tensor:
    """Return ``(N, 2 D)``, the concatenation of the two of norm 1, of norm 1 itself."""
    return normalize(_parts(batch).flatten(1), dim=1)


def _mean_square_of_whole(batch: BoundBatch) -> Tensor:
    return (_whole(batch) @ _whole(batch).t()).square().mean()


def _mean_square_of_learners(batch: BoundBatch) -> Tensor:
    learners = _parts(batch).transpose(0, 1)
    return (learners @ learners.mT).mean(0).square().mean()


def _abe(batch: BoundBatch, weight: float = 0.0) -> Tensor:
    loss = ABELoss(2, neg_margin=batch["margin"], div_margin=batch["margin"], div_weight=weight)
    value: Tensor = loss(_two_learners(batch), batch.labels)
    return value


def _multi_similarity(batch: BoundBatch) -> Tensor:
    value: Tensor = MultiSimilarityLoss()(batch.embeddings, batch.labels)
    return value


def _one_learner(batch: BoundBatch) -> Tensor:
    value: Tensor = LearnerwiseLoss(MultiSimilarityLoss(), 1)(batch.embeddings, batch.labels)
    return value


WITHOUT = Side("ABE without divergence", _abe)
WITH = Side("ABE", lambda batch: _abe(batch, batch["div_weight"]))
MARGINS = {"margin": Hyper(1.0, 0.1, 4.0)}
WEIGHTED = {**MARGINS, "div_weight": Hyper(1.0, 0.0, 10.0)}

RELATIONS = (
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
        lhs=WITHOUT,
        rhs=Side("contrastive, one mean over all pairs and learners", _contrastive_of_two),
        kind=Kind.EQUAL,
        hyper=MARGINS,
        assumptions=TWO_LEARNERS,
        witness=lambda: witnesses.poles([2, 2], margin=1.0),
    ),
    Relation(
        id="abe.contrastive_of_whole",
        title="The contrastive loss of the concatenation is at most the mean of those of the learners",
        statement=r"L_{\mathrm{contrastive}}(b) \le \tfrac1M L_{\mathrm{ABE}}^{\lambda = 0}",
        source="ours",
        proof="its squared distance is the mean of the learners', and the hinge is convex (Jensen)",
        labels=Labels.ANY,
        lhs=Side("contrastive of the concatenation", _contrastive_of_whole),
        rhs=Side("ABE without divergence", lambda batch: _abe(batch) / 2, "/ 2"),
        hyper=MARGINS,
        assumptions=TWO_LEARNERS,
        witness=lambda: witnesses.axes([2, 2], margin=3.0),
        constant="1/M",
    ),
    Relation(
        id="abe.contrastive_le",
        title="The divergence only adds to ABE",
        statement=r"L_{\mathrm{ABE}}^{\lambda = 0} \le L_{\mathrm{ABE}}^{\lambda}",
        source="ours",
        proof="hinges are at least 0",
        labels=Labels.ANY,
        lhs=WITHOUT,
        rhs=WITH,
        hyper=WEIGHTED,
        assumptions=TWO_LEARNERS,
        witness=lambda: witnesses.collapsed(-torch.eye(2), [2, 2], margin=3.0, div_weight=1.0),
    ),
    Relation(
        id="abe.le_contrastive_plus_margin",
        title="The divergence adds at most its weight times its margin to ABE",
        statement=r"L_{\mathrm{ABE}}^{\lambda} \le L_{\mathrm{ABE}}^{\lambda = 0} + \lambda m",
        source="ours",
        proof="the divergence is at most its margin",
        labels=Labels.ANY,
        lhs=WITH,
        rhs=Side(
            "ABE without divergence", lambda batch: _abe(batch) + batch["div_weight"] * batch["margin"], "+ lambda m"
        ),
        hyper=WEIGHTED,
        assumptions=TWO_LEARNERS,
        witness=lambda: witnesses.axes([2, 2], margin=1.0, div_weight=1.0),
    ),
    Relation(
        id="abe.cosine_of_whole",
        title="The cosine of two concatenations is the mean cosine of the learners",
        statement=r"\cos(b(x), b(y)) = \tfrac1M \sum_m \cos(b_m(x), b_m(y))",
        source="Kim et al. 2018 (reconstructed); derived",
        proof="each part has norm 1, so the whole has the norm sqrt(M); compared are mean squares over all pairs",
        labels=Labels.ANY,
        lhs=Side("mean square of the cosines of concatenations", _mean_square_of_whole),
        rhs=Side("mean square of the mean cosines of learners", _mean_square_of_learners),
        kind=Kind.EQUAL,
        assumptions=TWO_LEARNERS,
        witness=lambda: witnesses.poles([2, 2]),
    ),
)
