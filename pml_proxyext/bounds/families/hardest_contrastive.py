"""The hardest-contrastive loss: its two published forms, and PML's contrastive loss. Pairs are read as two views."""

from __future__ import annotations

import math

import torch
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor

from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.two_views import views
from pml_proxyext.bounds.pml_losses import euclidean
from pml_proxyext.bounds.relation import Relation, Side
from pml_proxyext.losses import HardestContrastiveLoss

__all__ = ["RELATIONS"]


def _hardest(batch: BoundBatch, *, squared: bool = False) -> Tensor:
    first, second = views(batch)
    loss = HardestContrastiveLoss(batch["pos_thresh"], batch["neg_thresh"], squared_positive=squared)
    value: Tensor = loss(first, ref_emb=second)
    return value


def _contrastive(batch: BoundBatch) -> Tensor:
    first, second = views(batch)
    margins = {"pos_margin": batch["pos_thresh"], "neg_margin": batch["neg_thresh"]}
    loss = ContrastiveLoss(**margins, distance=euclidean(), reducer=MeanReducer())
    ids = torch.arange(len(first), device=first.device)
    # The ids of the second view are a copy: PML takes one tensor for a batch against itself.
    value: Tensor = loss(first, ids, None, second, ids.clone())
    return value.square() / 2


def _released_and_gap(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    threshold = batch["pos_thresh"]
    return _hardest(batch, squared=True) + factor * threshold * (1 - math.sqrt(threshold)) ** 2


def _paper_and_gap(batch: BoundBatch, factor: float = 1.0) -> Tensor:
    threshold = batch["pos_thresh"]
    return _hardest(batch) + factor * threshold * (3 - threshold)


def _at_the_root(**hyper: float) -> BoundBatch:
    """Return partners whose squared distance is the threshold, in two planes of their own."""
    angle = 2 * math.asin(math.sqrt(hyper["pos_thresh"]) / 2)
    one = torch.tensor([[1.0, 0.0], [math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    rows = torch.block_diag(one, one)
    return BoundBatch(rows, torch.tensor([0, 0, 1, 1]), hyper=hyper, origin="witness")


def _opposite(**hyper: float) -> BoundBatch:
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    return BoundBatch(rows, torch.tensor([0, 0, 1, 1]), hyper=hyper, origin="witness")


def _orthogonal(**hyper: float) -> BoundBatch:
    return BoundBatch(torch.eye(4), torch.tensor([0, 0, 1, 1]), hyper=hyper, origin="witness")


THRESHOLDS = {"pos_thresh": Hyper(0.1, 0.0, 1.0), "neg_thresh": Hyper(1.4, 0.0, 2.0)}
TWO_VIEWS = "The first and the second sample of each class are the two views; unit vectors; the negative weight is 1."
PAPER = Side("hardest-contrastive", _hardest)
RELEASED = Side("hardest-contrastive, released form", lambda batch: _hardest(batch, squared=True))

RELATIONS = (
    Relation(
        id="hardest.le_released",
        title="The paper's form of the hardest-contrastive loss is hardly more than the released one",
        statement=r"L_{\mathrm{HC}} \le L_{\mathrm{HC}}^{\mathrm{rel}} + m_+ (1 - \sqrt{m_+})^2",
        source="ours; the forms are those of Choy et al. 2019 and of their code",
        proof="the difference of a pair grows up to the distance where the released form begins to pull, then falls",
        labels=Labels.PAIRS,
        lhs=PAPER,
        rhs=Side(RELEASED.name, _released_and_gap, change="+ m (1 - sqrt m)^2"),
        hyper=THRESHOLDS,
        assumptions=TWO_VIEWS,
        witness=lambda: _at_the_root(pos_thresh=0.25, neg_thresh=1.4),
        constant="m (1 - sqrt m)^2",
        mutated=lambda batch: (_hardest(batch), _released_and_gap(batch, 0.99)),
    ),
    Relation(
        id="hardest.released_le",
        title="The released form of the hardest-contrastive loss is at most the paper's and a constant",
        statement=r"L_{\mathrm{HC}}^{\mathrm{rel}} \le L_{\mathrm{HC}} + m_+ (3 - m_+)",
        source="ours; the forms are those of Choy et al. 2019 and of their code",
        proof="the difference of a pair is m (2 d - 1 - m) where both pull, and no two unit vectors are farther than 2",
        labels=Labels.PAIRS,
        lhs=RELEASED,
        rhs=Side(PAPER.name, _paper_and_gap, change="+ m (3 - m)"),
        hyper=THRESHOLDS,
        assumptions=TWO_VIEWS,
        witness=lambda: _opposite(pos_thresh=0.5, neg_thresh=1.4),
        constant="m (3 - m)",
        mutated=lambda batch: (_hardest(batch, squared=True), _paper_and_gap(batch, 0.99)),
    ),
    Relation(
        id="hardest.ge_contrastive",
        title="The hardest-contrastive loss is at least half of the square of PML's contrastive loss",
        statement=r"\tfrac12 L_{\mathrm{C}}^2 \le L_{\mathrm{HC}}",
        source="ours",
        proof="the hardest negative has the largest hinge of all; a mean square is at least the square of the mean",
        labels=Labels.PAIRS,
        lhs=Side("contrastive across views", _contrastive, change="squared, / 2"),
        rhs=PAPER,
        hyper=THRESHOLDS,
        assumptions=TWO_VIEWS,
        # All distances are sqrt 2, so that every hinge, of positives and of negatives, is the same.
        witness=lambda: _orthogonal(pos_thresh=1.0, neg_thresh=2 * math.sqrt(2) - 1),
        rtol=1e-7,
    ),
)
