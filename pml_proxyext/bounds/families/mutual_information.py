"""Mutual information, its bounds by a classifier and by InfoNCE, and entropies, as exact sums.

A batch with proxies defines a joint distribution of rows z and classes y by the softmax of all products of embeddings
and proxies at once. On it, expectations are finite sums, and what estimators only approach can be compared exactly.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pml_proxyext.bounds.assumptions import Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.relation import Kind, Relation, Scope, Side
from pml_proxyext.geometry import regular_simplex

__all__ = ["RELATIONS"]

NEGATIVES = 2
ROWS, COLUMNS = 4, 3
"""Of the joint distribution in the relation of InfoNCE, whose expectation has ROWS * COLUMNS**3 terms."""


def log_joint(embeddings: Tensor, proxies: Tensor) -> Tensor:
    """Return the logarithm of the joint distribution that embeddings and proxies define, ``(N, C)``."""
    products = embeddings @ proxies.t()
    return products - products.logsumexp((0, 1))


def entropy(log_p: Tensor) -> Tensor:
    """Return the entropy of a distribution that is given by its logarithm, of any shape."""
    return -(log_p.exp() * log_p).sum()


def joint(batch: BoundBatch) -> Tensor:
    """Return :func:`log_joint` of a whole batch."""
    return log_joint(batch.embeddings, batch.classifier)


def label_entropy(batch: BoundBatch) -> Tensor:
    """Return H(Y)."""
    return entropy(joint(batch).logsumexp(0))


def conditional_entropy(batch: BoundBatch) -> Tensor:
    """Return H(Y|Z), from conditional probabilities, so that it keeps its digits near zero."""
    log_p = joint(batch)
    return -(log_p.exp() * log_p.log_softmax(1)).sum()


def conditional_entropy_of_rows(batch: BoundBatch) -> Tensor:
    """Return H(Z|Y)."""
    log_p = joint(batch)
    return -(log_p.exp() * log_p.log_softmax(0)).sum()


def classifier_cross_entropy(batch: BoundBatch) -> Tensor:
    """Return the expected cross-entropy of a classifier that is not the conditional distribution, but akin to it."""
    embeddings, proxies = batch.embeddings, batch.classifier
    logits = embeddings[:, :1] @ proxies[:, :1].t() + 0.3 * embeddings @ proxies.t()
    return -(joint(batch).exp() * logits.log_softmax(1)).sum()


def information(batch: BoundBatch) -> Tensor:
    """Return I(Z;Y) as H(Y) - H(Y|Z)."""
    return label_entropy(batch) - conditional_entropy(batch)


def small_joint(batch: BoundBatch) -> Tensor:
    """Return the joint distribution of the first rows and classes, renormalised."""
    log_p = joint(batch)[:ROWS, :COLUMNS]
    return log_p - log_p.logsumexp((0, 1))


def small_information(batch: BoundBatch) -> Tensor:
    """Return the mutual information of :func:`small_joint`, a Kullback-Leibler divergence."""
    log_p = small_joint(batch)
    independent = log_p.logsumexp(1, keepdim=True) + log_p.logsumexp(0, keepdim=True)
    return (log_p.exp() * (log_p - independent)).sum()


def infonce(batch: BoundBatch) -> Tensor:
    """Return the expected InfoNCE loss with two negatives, independent of the row and of each other."""
    log_p = small_joint(batch)
    marginal = log_p.logsumexp(0).exp()
    critic = 0.7 * batch.embeddings[:ROWS] @ batch.classifier[:COLUMNS].t()
    # Axes: row, its own class, first negative, second negative.
    own, first, second = critic[:, :, None, None], critic[:, None, :, None], critic[:, None, None, :]
    losses = torch.stack(torch.broadcast_tensors(own, first, second)).logsumexp(0) - own
    return torch.einsum("rabc,ra,b,c->", losses, log_p.exp(), marginal, marginal)


def log_squares(batch: BoundBatch) -> Tensor:
    """Return the logarithms of the squared distances of all pairs; those of coinciding rows are of a tiny number."""
    squares = batch.distances[~torch.eye(len(batch), dtype=torch.bool)].square()
    return squares.clamp_min(torch.finfo(squares.dtype).tiny).log()


def log_mean_square(batch: BoundBatch) -> Tensor:
    """Return the logarithm of the mean squared distance of all pairs."""
    return log_squares(batch).logsumexp(0) - math.log(len(batch) * (len(batch) - 1))


def spread(batch: BoundBatch, factor: float = 2.0) -> Tensor:
    """Return the logarithm of the largest mean squared distance that as many points on a sphere can have."""
    return torch.tensor(math.log(factor * len(batch) / (len(batch) - 1)), dtype=torch.float64)


def tetrahedron() -> BoundBatch:
    """Return four points on the sphere, any two of them equally far apart."""
    return BoundBatch(regular_simplex(4, 3, dtype=torch.float64), torch.tensor([0, 0, 1, 1]), origin="witness")


def best_classifier() -> BoundBatch:
    """Return a batch for which the classifier is the conditional distribution, up to a constant per row."""
    rows = torch.tensor([[0.7, 0.3], [-1.4, -0.6], [2.1, 0.9]])
    proxies = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [0.5, 0.5]])
    return BoundBatch(rows, torch.tensor([0, 1, 2]), proxies, origin="witness")


def independence() -> BoundBatch:
    """Return rows and classes that know nothing of each other."""
    return BoundBatch(torch.zeros(4, 2), torch.tensor([0, 1, 2, 0]), torch.eye(3, 2), origin="witness")


MEAN_LOG = Side("mean logarithm of squared distances", lambda batch: log_squares(batch).mean())
LOG_MEAN = Side("logarithm of the mean squared distance", log_mean_square)
SPREAD = Side("spread of a simplex of all samples", spread)

RELATIONS = (
    Relation(
        id="mi.ce_upper",
        title="What a sample leaves open about its label is at most the cross-entropy of any classifier",
        statement=r"H(Y \mid Z) \le \mathbb E[-\log q_\theta(Y \mid Z)]",
        source="Barber and Agakov 2003; Boudiaf et al. 2020 (from memory, re-derived)",
        proof="the difference is a mean Kullback-Leibler divergence",
        labels=Labels.PROXY_ANY,
        lhs=Side("conditional entropy of labels", conditional_entropy),
        rhs=Side("expected cross-entropy", classifier_cross_entropy),
        scope=Scope.EXPECTATION,
        assumptions="the joint distribution of the batch's rows and classes; a classifier that differs from it",
        witness=best_classifier,
    ),
    Relation(
        id="mi.ce_lower",
        title="Label entropy minus cross-entropy is at most the mutual information",
        statement=r"H(Y) - \mathbb E[-\log q_\theta(Y \mid Z)] \le I(Z; Y)",
        source="Barber and Agakov 2003; Boudiaf et al. 2020 (from memory, re-derived)",
        proof="mi.ce_upper, subtracted from the entropy of the labels",
        labels=Labels.PROXY_ANY,
        lhs=Side(
            "label entropy minus expected cross-entropy",
            lambda batch: label_entropy(batch) - classifier_cross_entropy(batch),
        ),
        rhs=Side("mutual information", information),
        scope=Scope.EXPECTATION,
        witness=best_classifier,
    ),
    Relation(
        id="mi.two_views",
        title="The discriminative and the generative view of mutual information agree",
        statement=r"H(Y) - H(Y \mid Z) = H(Z) - H(Z \mid Y)",
        source="textbook; the two views of Boudiaf et al. 2020",
        proof="the chain rule of entropy, both ways round",
        labels=Labels.PROXY_ANY,
        lhs=Side("mutual information", information),
        rhs=Side(
            "row entropy minus conditional entropy of rows",
            lambda batch: entropy(joint(batch).logsumexp(1)) - conditional_entropy_of_rows(batch),
        ),
        kind=Kind.EQUAL,
        scope=Scope.EXPECTATION,
        witness=best_classifier,
    ),
    Relation(
        id="mi.infonce",
        title="The logarithm of the number of candidates minus InfoNCE is at most the mutual information",
        statement=r"\log K - \mathbb E\, L_{\mathrm{NCE}} \le I(X; Y)",
        source="van den Oord et al. 2018; Poole et al. 2019",
        proof="for the best critic, Jensen over the independent negatives; every other critic does worse",
        labels=Labels.PROXY_ANY,
        lhs=Side("InfoNCE", lambda batch: math.log(1 + NEGATIVES) - infonce(batch), "taken from log K"),
        rhs=Side("mutual information of the first rows and classes", small_information),
        scope=Scope.EXPECTATION,
        assumptions="K - 1 = 2 negatives that are independent of the row. Negatives known to be of another class, as "
        "in a labelled batch, break this: then log(1 + N) minus the loss bounds nothing",
        witness=independence,
        constant="K",
        mutated=lambda batch: (math.log(1.01 * (1 + NEGATIVES)) - infonce(batch), small_information(batch)),
    ),
    Relation(
        id="entropy.logdist_jensen",
        title="The log-distance estimate of entropy is at most the logarithm of the mean squared distance",
        statement=r"\overline{\log d_{ij}^2} \le \log \overline{d_{ij}^2}, \quad i \ne j",
        source="derived; the estimate is that of the contrastive half in Boudiaf et al. 2020 (from memory)",
        proof="Jensen",
        labels=Labels.ANY,
        lhs=MEAN_LOG,
        rhs=LOG_MEAN,
        witness=tetrahedron,
    ),
    Relation(
        id="entropy.mean_square",
        title="The mean squared distance of points on a sphere is largest where they balance",
        statement=r"\log \overline{d_{ij}^2} \le \log \tfrac{2n}{n - 1}, \quad i \ne j",
        source="elementary",
        proof="the squared distances of all pairs sum to 2 n^2 minus twice the squared norm of the sum",
        labels=Labels.ANY,
        lhs=LOG_MEAN,
        rhs=SPREAD,
        witness=tetrahedron,
        constant="2",
        mutated=lambda batch: (log_mean_square(batch), spread(batch, factor=1.98)),
    ),
    Relation(
        id="entropy.logdist",
        title="The log-distance estimate of entropy is at most that of a simplex",
        statement=r"\overline{\log d_{ij}^2} \le \log \tfrac{2n}{n - 1}, \quad i \ne j",
        source="derived; the estimate is that of the contrastive half in Boudiaf et al. 2020 (from memory)",
        proof="entropy.logdist_jensen and entropy.mean_square",
        labels=Labels.ANY,
        lhs=MEAN_LOG,
        rhs=SPREAD,
        assumptions="an asymptotic estimate of the entropy of embeddings, not a bound of it. Coinciding samples would "
        "make it minus infinity, and count with the smallest positive number instead",
        witness=tetrahedron,
        constant="2",
        mutated=lambda batch: (log_squares(batch).mean(), spread(batch, factor=1.98)),
    ),
)
