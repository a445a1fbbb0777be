"""The supervised contrastive loss at its exact minimum over a batch, and summed over all batches of a data set."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.simplex import (
    ANCHORS,
    ANTIPODAL,
    AT_TEMPERATURE,
    GRAF,
    SIMPLEX,
    SUPCON,
    antipodal_floor,
    simplex,
)
from pml_proxyext.bounds.relation import Relation, Scope, Side
from pml_proxyext.geometry import SupConMinimum, supcon_batch_minimum, supcon_total_floor

__all__ = ["RELATIONS"]

AT_SEARCHED_TEMPERATURE = {"temperature": Hyper(0.1, 0.1, 5.0)}
"""Where the exact minimum is searched for in about a tenth of a second."""

TOTAL_CLASSES, TOTAL_PER_CLASS, TOTAL_BATCH = 3, 2, 4
"""Of the data set in graf.sc_total: 126 multisets."""


def certified_minimum(batch: BoundBatch) -> Tensor:
    """Return what is certainly no more than the minimum; for a left-hand side."""
    return _minimum(tuple(batch.counts.tolist()), batch["temperature"]).lower_bound


def found_minimum(batch: BoundBatch) -> Tensor:
    """Return the least loss that was found, which is certainly no less than the minimum; for a right-hand side."""
    return _minimum(tuple(batch.counts.tolist()), batch["temperature"]).minimum


@lru_cache(maxsize=1024)
def _minimum(counts: tuple[int, ...], temperature: float) -> SupConMinimum:
    return supcon_batch_minimum(counts, temperature)


def total(batch: BoundBatch) -> Tensor:
    """Return the loss summed over all multisets of four of a small data set, and over their anchors with a positive.

    The data set is the first two samples of each of the first classes.
    """
    classes = min(TOTAL_CLASSES, len(batch.counts))
    starts = (batch.counts.cumsum(0) - batch.counts)[:classes, None]
    rows = batch.labels.argsort(stable=True)[starts + torch.arange(TOTAL_PER_CLASS)].flatten()
    draws = _multisets(len(rows))
    similarities = batch.cosines[rows][:, rows][draws[:, :, None], draws[:, None]] / batch["temperature"]
    itself = torch.eye(TOTAL_BATCH, dtype=torch.bool)
    positive = (draws[:, :, None] // TOTAL_PER_CLASS == draws[:, None] // TOTAL_PER_CLASS) & ~itself
    log_denominators = similarities.masked_fill(itself, -torch.inf).logsumexp(2, keepdim=True)
    losses = torch.where(positive, log_denominators - similarities, 0.0).sum(2) / positive.sum(2).clamp_min(1)
    return losses.sum()


@lru_cache
def _multisets(size: int) -> Tensor:
    return torch.tensor(list(combinations_with_replacement(range(size), TOTAL_BATCH)))


def total_floor(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    """Return the floor of :func:`total`, with its exponent times ``factor``."""
    classes = min(TOTAL_CLASSES, len(batch.counts))
    return supcon_total_floor(classes, TOTAL_PER_CLASS, TOTAL_BATCH, batch["temperature"] / factor)


def poles() -> BoundBatch:
    """Return two classes at opposite poles."""
    return witnesses.poles([3, 2], temperature=0.5)


def optimum() -> BoundBatch:
    """Return an unbalanced batch at its minimum, whose classes are not on a simplex."""
    counts = [8, 2, 2]
    values, vectors = torch.linalg.eigh(supcon_batch_minimum(counts, 1.0).class_gram)
    return witnesses.collapsed(vectors * values.clamp_min(0).sqrt(), counts, temperature=1.0)


MINIMUM = Side("exact minimum of SupCon", certified_minimum)

GRAM_VALUE = r"\min_{A \succeq 0,\, A_{yy} = 1} \sum_y \tfrac{n_y}{|I|} \log\Big(n_y - 1 + " + (
    r"\sum_{k \ne y} n_k e^{(A_{yk} - 1) / \tau}\Big)"
)

RELATIONS = (
    Relation(
        id="graf.sc_minimum",
        title="The exact minimum of SupCon for the class counts of a batch",
        statement=GRAM_VALUE + r" \le L_{\mathrm{SC}}",
        source="ours",
        proof="the loss is convex in the cosines and does not tell the samples of a class apart, so collapsed classes "
        "do best; a dual certificate bounds what is left",
        labels=Labels.ANY,
        lhs=MINIMUM,
        rhs=SUPCON,
        hyper=AT_SEARCHED_TEMPERATURE,
        witness=optimum,
    ),
    Relation(
        id="graf.sc_minimum_le_simplex",
        title="The exact minimum of SupCon is at most the loss of a simplex",
        statement=GRAM_VALUE + r" \le " + ANCHORS % r"-\frac{K}{(K - 1) \tau}",
        source="ours",
        proof="a simplex is one of the arrangements; equality on balanced batches, by graf.sc_balanced",
        labels=Labels.ANY,
        lhs=MINIMUM,
        rhs=SIMPLEX,
        hyper=AT_SEARCHED_TEMPERATURE,
        witness=simplex,
    ),
    Relation(
        id="graf.sc_antipodal_le_minimum",
        title="The antipodal floor is at most the exact minimum of SupCon",
        statement=ANCHORS % r"-2 / \tau" + r" \le " + GRAM_VALUE,
        source="ours",
        proof="graf.sc_universal at the minimum",
        labels=Labels.ANY,
        lhs=ANTIPODAL,
        rhs=Side("exact minimum of SupCon", found_minimum),
        hyper=AT_SEARCHED_TEMPERATURE,
        witness=poles,
        constant="2",
        mutated=lambda batch: (antipodal_floor(batch, factor=0.99), found_minimum(batch)),
    ),
    Relation(
        id="graf.sc_total",
        title="Summed over all batches of a balanced data set, no embeddings do better than a simplex",
        statement=r"\sum_{l = 2}^b l K \Big(\!\tbinom{n}{l}\!\Big) \Big(\!\tbinom{n (K - 1)}{b - l}\!\Big) "
        r"\log\Big(l - 1 + (b - l)\, e^{-\frac{K}{(K - 1) \tau}}\Big) \le \sum_B \sum_{i \in B} L_i",
        source=f"{GRAF} (number from memory, re-derived), in the form of the authors' notebook",
        proof="graf.sc_stats for each batch; Jensen over the batches with l samples of a class, which meet all pairs "
        "of different classes equally often; then as graf.sc_simplex_le_stats",
        labels=Labels.BALANCED,
        lhs=Side("simplex floor of SupCon over all batches", total_floor),
        rhs=Side("SupCon summed over all batches", total),
        scope=Scope.EXPECTATION,
        hyper=AT_TEMPERATURE,
        assumptions="the first two samples of the first three classes are the data set; b = 4, drawn with repetition; "
        "anchors without a positive count 0",
        witness=simplex,
        constant="K/(K-1)",
        mutated=lambda batch: (total_floor(batch, factor=0.99), total(batch)),
    ),
)
