"""N-pairs of PML, which is NT-Xent at temperature 1 on one pair of each class: its floor and its ceiling."""

from __future__ import annotations

import math

import torch
from pytorch_metric_learning import losses
from pytorch_metric_learning.reducers import MeanReducer
from pytorch_metric_learning.utils.loss_and_miner_utils import convert_to_pos_pairs_with_unique_labels
from torch import Tensor

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.pml_losses import ntxent
from pml_proxyext.bounds.relation import Kind, Relation, Side

__all__ = ["RELATIONS"]


def _npairs(batch: BoundBatch) -> Tensor:
    value: Tensor = losses.NPairsLoss(reducer=MeanReducer())(batch.embeddings, batch.labels)
    return value


def _ntxent_of_npairs(batch: BoundBatch) -> Tensor:
    """Return NT-Xent at temperature 1 on the anchors and positives that N-pairs takes."""
    anchors, positives = convert_to_pos_pairs_with_unique_labels(None, batch.labels)
    row, column = torch.where(~torch.eye(len(anchors), dtype=torch.bool, device=anchors.device))
    return ntxent(batch.given(temperature=1.0), (anchors, positives, anchors[row], positives[column]))


def _npairs_at_gap(batch: BoundBatch, gap: float) -> Tensor:
    return batch.embeddings.new_tensor(math.log1p((len(batch.counts) - 1) * math.exp(gap)))


def _simplex_gap(batch: BoundBatch) -> float:
    classes = len(batch.counts)
    return -classes / (classes - 1)


def _swapped_pairs() -> BoundBatch:
    """Return two N-pairs whose positives are at the other pole, where the anchor of the other pair is."""
    poles = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    return BoundBatch(poles, torch.tensor([0, 0, 1, 1]), origin="witness")


NPAIRS = Side("N-pairs", _npairs)

RELATIONS = (
    Relation(
        id="npairs.eq_ntxent",
        title="N-pairs of PML is NT-Xent at temperature 1 on the same tuples",
        statement=r"L_{\mathrm{NP}} = L_{\mathrm{NTX}}^{\tau=1}\bigl(a_i, p_i, \{p_j\}_{j \ne i}\bigr)",
        source="derived; the inner product that PML's N-pairs takes by default normalizes the embeddings",
        proof="the same softmax",
        labels=Labels.PAIRS,
        lhs=NPAIRS,
        rhs=Side("NT-Xent at temperature 1 on N-pairs", _ntxent_of_npairs),
        kind=Kind.EQUAL,
        witness=lambda: witnesses.axes([2, 2]),
    ),
    Relation(
        id="npairs.simplex_floor",
        title="N-pairs of PML has the regular simplex as its minimum",
        statement=r"\log\bigl(1 + (K - 1) e^{-K/(K - 1)}\bigr) \le L_{\mathrm{NP}}",
        source="ours",
        proof="Jensen; the mean gap is a bilinear form in anchors and positives with the matrix 11' - K I, whose"
        " spectral norm is K",
        labels=Labels.BALANCED,
        lhs=Side("simplex floor of N-pairs", lambda batch: _npairs_at_gap(batch, _simplex_gap(batch))),
        rhs=NPAIRS,
        witness=lambda: witnesses.simplex(3, 2),
        constant="the gap -K/(K - 1) in the exponent",
        mutated=lambda batch: (_npairs_at_gap(batch, 0.99 * _simplex_gap(batch)), _npairs(batch)),
    ),
    Relation(
        id="npairs.ceiling",
        title="N-pairs of PML has a ceiling",
        statement=r"L_{\mathrm{NP}} \le \log\bigl(1 + (K - 1) e^{2}\bigr)",
        source="derived",
        proof="cosines lie in [-1, 1]; tight for two pairs, each with its positive where the other has its anchor",
        labels=Labels.BALANCED,
        lhs=NPAIRS,
        rhs=Side("antipodal ceiling of N-pairs", lambda batch: _npairs_at_gap(batch, 2)),
        witness=_swapped_pairs,
        constant="the gap 2 in the exponent",
        mutated=lambda batch: (_npairs(batch), _npairs_at_gap(batch, 1.98)),
    ),
)
