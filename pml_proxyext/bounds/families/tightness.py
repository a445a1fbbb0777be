"""What draws the samples of a class together, in different losses; and label smoothing, in two conventions."""

from __future__ import annotations

import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.hyper import TEMPERATURE
from pml_proxyext.bounds.pml_losses import cross_entropy
from pml_proxyext.bounds.relation import Kind, Relation, Side

__all__ = ["RELATIONS"]


def center_loss(batch: BoundBatch) -> Tensor:
    """Return half of the squared distances to the means of the classes, summed over the samples."""
    centers = batch.one_hot.t() @ batch.embeddings / batch.one_hot.sum(0).clamp_min(1)[:, None]
    return (batch.embeddings - batch.one_hot @ centers).square().sum() / 2


def mean_square(batch: BoundBatch, normalize: bool) -> Tensor:
    """Return the mean squared distance of positive pairs, by PML's contrastive loss without a negative margin."""
    distance = LpDistance(normalize_embeddings=normalize, p=2, power=2)
    loss = ContrastiveLoss(pos_margin=0, neg_margin=0, distance=distance, reducer=MeanReducer())
    value: Tensor = loss(batch.embeddings, batch.labels)
    return value


def share_of_pairs(batch: BoundBatch) -> float:
    """Return the factor between the mean over positive pairs and the center loss, for balanced labels."""
    members = int(batch.counts[0])
    return len(batch) * (members - 1) / (4 * members)


def mean_cosine(batch: BoundBatch) -> Tensor:
    """Return the mean cosine of positive pairs."""
    return batch.cosines[batch.same].mean()


def snca_tightness(batch: BoundBatch) -> Tensor:
    """Return the half of neighbourhood component analysis that sees positives."""
    similarities = (batch.cosines / batch["temperature"]).masked_fill(~batch.same, -torch.inf)
    return -similarities.logsumexp(1).mean()


def torch_smoothing(batch: BoundBatch) -> Tensor:
    """Return torch's label-smoothed cross-entropy at the matching strength, minus the entropy of the target."""
    eps = torch.tensor(batch["eps"], dtype=torch.float64)
    others = len(batch.classifier) - 1
    entropy = torch.special.entr(1 - eps) + others * torch.special.entr(eps / others)
    strength = min(batch["eps"] * (others + 1) / others, 1.0)  # rounding may pass 1
    return cross_entropy(batch, strength, "torch") - entropy


RELATIONS = (
    Relation(
        id="boudiaf.center_pairs",
        title="The center loss of hard means is a multiple of the mean squared distance of positives",
        statement=r"\tfrac12 \sum_i \|z_i - c_{y_i}\|^2 = \tfrac{b (m - 1)}{4 m}\, \overline{D^2_{\mathrm{pos}}}",
        source="Boudiaf et al. 2020, a lemma on center loss and contrastive tightness (from memory, re-derived)",
        proof="squared distances to a mean are half of those between all pairs, divided by their number",
        labels=Labels.BALANCED,
        lhs=Side("center loss", center_loss),
        rhs=Side(
            "mean squared distance of positives",
            lambda batch: share_of_pairs(batch) * mean_square(batch, normalize=False),
            "times b (m - 1) / (4 m)",
        ),
        kind=Kind.EQUAL,
        assumptions="embeddings as they come, not normalized",
        witness=lambda: BoundBatch(torch.eye(4), torch.tensor([0, 0, 1, 1]), origin="witness"),
    ),
    Relation(
        id="boudiaf.cosine_pairs",
        title="On the sphere, the mean cosine of positives is their mean squared distance the other way round",
        statement=r"\overline{D^2_{\mathrm{pos}}} = 2 - 2\, \overline{s_{\mathrm{pos}}}",
        source="elementary; it orders the tightness terms in the table of Boudiaf et al. 2020 (from memory)",
        proof="expand the square of a difference of unit vectors",
        labels=Labels.ANY,
        lhs=Side("mean squared distance of positives on the sphere", lambda batch: mean_square(batch, normalize=True)),
        rhs=Side("mean cosine of positives", lambda batch: 2 - 2 * mean_cosine(batch), "times -2, + 2"),
        kind=Kind.EQUAL,
        witness=lambda: BoundBatch(torch.eye(4), torch.tensor([0, 0, 1, 1]), origin="witness"),
    ),
    Relation(
        id="boudiaf.snca_tight_jensen",
        title="The tightness of NCA is at most that of the mean cosine",
        statement=r"-\log \sum_{j \in P_i} e^{s_{ij} / \tau} "
        r"\le -\log |P_i| - \tfrac1{|P_i|} \sum_{j \in P_i} s_{ij} / \tau",
        source="Boudiaf et al. 2020, table of losses and a lemma (from memory, re-derived)",
        proof="Jensen for log-sum-exp; both sides are means over anchors",
        labels=Labels.BALANCED,
        lhs=Side("tightness of NCA", snca_tightness),
        rhs=Side(
            "mean cosine of positives",
            lambda batch: -torch.log(batch.counts[0].double() - 1) - mean_cosine(batch) / batch["temperature"],
            "times -1/temperature, - log(m - 1)",
        ),
        hyper={"temperature": TEMPERATURE},
        witness=lambda: witnesses.axes([3, 3], temperature=0.5),
    ),
    Relation(
        id="smooth.eq_torch",
        title="Two conventions of label smoothing differ by a constant and a factor of their strength",
        statement=r"\mathrm{KL}(q \,\|\, p) = \mathrm{CE}_{\epsilon K / (K - 1)} - H(q), \quad "
        r"q_y = 1 - \epsilon,\ q_{k \ne y} = \tfrac{\epsilon}{K - 1}",
        source="the authors' code of Boudiaf et al. 2020, and torch",
        proof="torch gives the own class a share of the mass that it spreads; give it back",
        labels=Labels.PROXY_ANY,
        lhs=Side("label-smoothed cross-entropy", lambda batch: cross_entropy(batch, batch["eps"], "boudiaf")),
        rhs=Side("label-smoothed cross-entropy of torch", torch_smoothing, "at eps K / (K - 1), minus entropy"),
        kind=Kind.EQUAL,
        hyper={"eps": Hyper(0.1, 0.0, 0.5)},
        witness=lambda: witnesses.axes([3, 2, 2]),
    ),
)
