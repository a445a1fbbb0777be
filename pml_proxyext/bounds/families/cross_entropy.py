"""Cross-entropy of a linear classifier and the pairwise losses that Boudiaf et al. set beside it.

The paper's proposition is known to us from its abstract and from memory; all that is registered here as true was proved
anew.
"""

from __future__ import annotations

import torch

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families import mean_classifiers as means
from pml_proxyext.bounds.pml_losses import cross_entropy
from pml_proxyext.bounds.relation import Kind, Relation, Side

__all__ = ["RELATIONS"]

AT_LAMBDA = {"lambda_": Hyper(1.0, 0.02, 5.0)}
"""Proved for all positive values; smaller ones make losses so large that their rounding hides all else."""

PROPOSITION = "Boudiaf et al. 2020, Prop. 1 (from memory)"
THETA_1 = r"\theta^{(1)} = \tfrac{1}{\lambda n} \big(\sum_{y_i = k} z_i\big)_k"
SQUARES = r"\tfrac1{2 \lambda n^2} \Big(\sum_{y_i = y_j} z_i^\top z_j - \tfrac1K \sum_{i, j} z_i^\top z_j\Big)"

GAP = Side("cross-entropy minus PCE", lambda batch: cross_entropy(batch) - means.pce(batch))
SPCE = Side("SPCE", means.spce)


def centred_classes() -> BoundBatch:
    """Return two classes, each with its mean at the origin, and a classifier of zeros."""
    embeddings = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    return BoundBatch(embeddings, torch.tensor([0, 0, 1, 1]), torch.zeros(2, 2), {"lambda_": 1.0}, "witness")


def one_place() -> BoundBatch:
    """Return two classes of one size in one place, and a classifier of zeros."""
    return BoundBatch(torch.ones(4, 2), torch.tensor([0, 0, 1, 1]), torch.zeros(2, 2), {"lambda_": 2.0}, "witness")


def untrained() -> BoundBatch:
    """Return classes on axes of their own, and a classifier of zeros."""
    return BoundBatch(torch.eye(3)[[0, 0, 1, 2]], torch.tensor([0, 0, 1, 2]), torch.zeros(3, 3), origin="witness")


def classified() -> BoundBatch:
    """Return classes on axes of their own, which are the rows of the classifier too."""
    return witnesses.axes([3, 2], lambda_=0.5)


RELATIONS = (
    Relation(
        id="boudiaf.f1",
        title="Drawing samples to each other costs at most drawing them to a classifier",
        statement=r"-\tfrac1{2 \lambda n^2} \sum_{y_i = y_j} z_i^\top z_j "
        r"\le -\tfrac1n \sum_i \theta_{y_i}^\top z_i + \tfrac\lambda2 \|\theta\|_F^2",
        source=f"{PROPOSITION}, first half; re-derived",
        proof="complete the square; equality where the classifier is the hard means",
        labels=Labels.PROXY_ANY,
        lhs=Side("tightness of PCE", means.pairwise_tightness),
        rhs=Side("tightness of cross-entropy", means.tightness),
        hyper=AT_LAMBDA,
        witness=lambda: means.at_hard_means(classified()),
    ),
    Relation(
        id="boudiaf.spce_l2",
        title="A pairwise floor of cross-entropy with an L2 penalty, for every classifier",
        statement=rf"\log K - {SQUARES} \le \mathrm{{CE}}(\theta) + \tfrac\lambda2 \|\theta\|_F^2",
        source="ours: what the proposition of Boudiaf et al. becomes when made rigorous",
        proof="a log-sum-exp is at least log K plus the mean of its arguments; the quadratic in theta that is left has "
        "its minimum at the hard means minus their mean",
        labels=Labels.PROXY_ANY,
        lhs=Side("pairwise floor of cross-entropy", means.pairwise_floor),
        rhs=Side(
            "cross-entropy",
            lambda batch: cross_entropy(batch) + batch["lambda_"] / 2 * batch.classifier.square().sum(),
            "+ lambda/2 times the squared norm of the classifier",
        ),
        hyper=AT_LAMBDA,
        witness=centred_classes,
    ),
    Relation(
        id="boudiaf.pce_identity",
        title="What lies between cross-entropy and PCE",
        statement=r"\mathrm{CE}(\theta) - \mathrm{PCE}(p(\theta)) = \tfrac\lambda2 \|\theta - \theta^{(1)}\|_F^2 "
        rf"+ f_2(\theta) - f_2(\theta^{{(2)}}), \quad {THETA_1}",
        source="derived from the proof of Boudiaf et al. 2020, Prop. 1 (from memory)",
        proof="PCE is the tightness at the hard means plus the contrast f_2 at the soft means; the tightness is an "
        "exact quadratic",
        labels=Labels.PROXY_ANY,
        lhs=GAP,
        rhs=Side("distance to the hard means plus contrast beyond that of the soft means", means.exact_gap),
        kind=Kind.EQUAL,
        hyper=AT_LAMBDA,
        witness=classified,
    ),
    Relation(
        id="boudiaf.pce_gap",
        title="Cross-entropy exceeds PCE by no more than a difference of squared distances",
        statement=r"\mathrm{CE}(\theta) - \mathrm{PCE}(p(\theta)) "
        r"\le \tfrac\lambda2 \big(\|\theta - \theta^{(1)}\|_F^2 - \|\theta - \theta^{(2)}\|_F^2\big)",
        source="ours",
        proof="boudiaf.pce_identity, and convexity of log-sum-exp, whose gradient at theta is the soft means",
        labels=Labels.PROXY_ANY,
        lhs=GAP,
        rhs=Side("squared distance to the hard means minus that to the soft means", means.gap_bound),
        hyper=AT_LAMBDA,
        assumptions="CE can exceed PCE only where the classifier is nearer to its soft means than to the hard means",
        witness=untrained,
    ),
    Relation(
        id="boudiaf.pce_claim",
        title="PCE is at most cross-entropy, for whatever classifier",
        statement=r"\mathrm{PCE}(p(\theta)) \le \mathrm{CE}(\theta)",
        source=f"{PROPOSITION}, read literally",
        proof="false where the classifier is the hard means: boudiaf.pce_gap then puts cross-entropy below PCE by "
        "lambda/2 times the squared distance of hard and soft means. Both sides are computed there",
        labels=Labels.PROXY_ANY,
        lhs=Side("PCE", lambda batch: means.pce(means.at_hard_means(batch))),
        rhs=Side("cross-entropy", lambda batch: cross_entropy(means.at_hard_means(batch))),
        kind=Kind.REFUTED,
        hyper=AT_LAMBDA,
        witness=lambda: witnesses.axes([2, 2], lambda_=0.5),
    ),
    Relation(
        id="boudiaf.pce_selfconsistent",
        title="A classifier that equals its soft means is above PCE by its distance to the hard means",
        statement=r"\lambda \theta_k = \tfrac1n \sum_i p_{ik}(\theta)\, z_i \;\Rightarrow\; "
        r"\mathrm{CE}(\theta) = \mathrm{PCE}(p(\theta)) + \tfrac\lambda2 \|\theta - \theta^{(1)}\|_F^2",
        source=f"{PROPOSITION}, in the one case in which it is exact; derived",
        proof="boudiaf.pce_identity, where the contrasts cancel",
        labels=Labels.PROXY_ANY,
        lhs=Side(
            "cross-entropy of a self-consistent classifier", lambda batch: cross_entropy(means.self_consistent(batch))
        ),
        rhs=Side(
            "PCE of a self-consistent classifier",
            lambda batch: means.pce(moved := means.self_consistent(batch)) + means.distance_to_hard_means(moved),
            "+ lambda/2 times the squared distance to the hard means",
        ),
        kind=Kind.EQUAL,
        hyper=AT_LAMBDA,
        witness=classified,
    ),
    Relation(
        id="boudiaf.pce_selfconsistent_le",
        title="PCE is at most the cross-entropy of a classifier that equals its soft means",
        statement=r"\lambda \theta_k = \tfrac1n \sum_i p_{ik}(\theta)\, z_i \;\Rightarrow\; "
        r"\mathrm{PCE}(p(\theta)) \le \mathrm{CE}(\theta)",
        source=f"{PROPOSITION}, with the premise that it needs; derived",
        proof="drop the square from boudiaf.pce_selfconsistent; equality where soft and hard means are one",
        labels=Labels.PROXY_ANY,
        lhs=Side("PCE of a self-consistent classifier", lambda batch: means.pce(means.self_consistent(batch))),
        rhs=Side(
            "cross-entropy of a self-consistent classifier", lambda batch: cross_entropy(means.self_consistent(batch))
        ),
        hyper=AT_LAMBDA,
        witness=one_place,
    ),
    Relation(
        id="boudiaf.spce_hard_means",
        title="SPCE is the cross-entropy of the hard means",
        statement=rf"\mathrm{{SPCE}}_\lambda = \mathrm{{CE}}(\theta^{{(1)}}), \quad {THETA_1}",
        source="derived; SPCE is a reconstruction of the simplified loss of Boudiaf et al. 2020",
        proof="the logits of the hard means are sums of inner products",
        labels=Labels.ANY,
        lhs=SPCE,
        rhs=Side("cross-entropy of the hard means", means.hard_means_cross_entropy),
        kind=Kind.EQUAL,
        hyper=AT_LAMBDA,
        witness=classified,
    ),
    Relation(
        id="boudiaf.spce_is_pce",
        title="SPCE is PCE with labels in the place of its soft assignments",
        statement=r"\mathrm{SPCE}_\lambda = \mathrm{PCE}_\lambda(p), \quad p_{ik} = [y_i = k]",
        source="derived; SPCE is a reconstruction of the simplified loss of Boudiaf et al. 2020",
        proof="the last term of PCE is then as large as its first",
        labels=Labels.ANY,
        lhs=SPCE,
        rhs=Side("PCE of one-hot assignments", means.pce_of_labels),
        kind=Kind.EQUAL,
        hyper=AT_LAMBDA,
        witness=classified,
    ),
    Relation(
        id="boudiaf.spce_ge_floor",
        title="SPCE with the penalty of its classifier is at least the pairwise floor",
        statement=rf"\log K - {SQUARES} \le \mathrm{{SPCE}}_\lambda + \tfrac\lambda2 \|\theta^{{(1)}}\|_F^2",
        source="ours",
        proof="boudiaf.spce_l2 at the hard means, with boudiaf.spce_hard_means",
        labels=Labels.ANY,
        lhs=Side("pairwise floor of SPCE", means.spce_floor),
        rhs=Side(
            "SPCE",
            lambda batch: means.spce(batch) + means.spce_penalty(batch),
            "+ lambda/2 times the squared norm of the hard means",
        ),
        hyper=AT_LAMBDA,
        witness=centred_classes,
    ),
)
