"""Codes in [0, 1] and their bits: alignment by xor, and the joint cross-entropy of DCVH."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pml_proxyext.bounds.assumptions import Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.two_views import views
from pml_proxyext.bounds.pml_losses import with_proxies
from pml_proxyext.bounds.relation import Relation, Side
from pml_proxyext.distances import SoftHammingDistance
from pml_proxyext.losses import HammingAlignmentLoss, JointCrossEntropyLoss
from pml_proxyext.models import binarize

__all__ = ["RELATIONS"]


def _codes(batch: BoundBatch) -> tuple[Tensor, Tensor]:
    """Return two views as codes: the sigmoid of the embeddings."""
    first, second = views(batch)
    return first.sigmoid(), second.sigmoid()


def _alignment(batch: BoundBatch) -> Tensor:
    first, second = _codes(batch)
    value: Tensor = HammingAlignmentLoss()(first, ref_emb=second)
    return value


def _hamming(batch: BoundBatch) -> Tensor:
    """Return the mean share of bits in which partners differ."""
    first, second = (binarize(code) for code in _codes(batch))
    return (first != second).double().mean()


def _absolute_difference(batch: BoundBatch) -> Tensor:
    first, second = _codes(batch)
    return (first - second).abs().mean()


def _from_first_to_third(batch: BoundBatch, over: int | None = None) -> Tensor:
    """Return the soft Hamming distance of the first and the third row, or the way over another one."""
    distances: Tensor = SoftHammingDistance()(batch.embeddings.sigmoid())
    return distances[0, 2] if over is None else distances[0, over] + distances[over, 2]


def _joint_cross_entropy(batch: BoundBatch) -> Tensor:
    """Return the softmax half of the joint cross-entropy; a sample has its class and the next one as labels."""
    proxies = batch.classifier
    labels = one_hot(batch.labels, len(proxies)) + one_hot((batch.labels + 1) % len(proxies), len(proxies))
    loss = JointCrossEntropyLoss(len(proxies), proxies.shape[1], nu=0.0)
    value: Tensor = with_proxies(loss, proxies)(batch.embeddings, labels)
    return value


def _half_way() -> BoundBatch:
    """Return partners of which one has bits that just are zeros, and the other one has ones."""
    return BoundBatch(torch.tensor([[0.0], [40.0], [0.0], [40.0]]), torch.tensor([0, 0, 1, 1]))


def _bits() -> BoundBatch:
    """Return bits, as the sigmoid of large numbers."""
    return BoundBatch(torch.tensor([[40.0, -800.0], [40.0, 40.0], [-800.0, 40.0], [40.0, -800.0]]), _half_way().labels)


def _undecided() -> BoundBatch:
    """Return a classifier that cannot tell its two classes apart."""
    return BoundBatch(torch.ones(2, 2), torch.tensor([0, 1]), torch.zeros(2, 2))


ALIGNMENT = Side("Hamming alignment", _alignment)
TWO_CODES = "The first and the second sample of each class are the two views; codes are the sigmoid of the embeddings."

RELATIONS = (
    Relation(
        id="dcvh.hamming_le_alignment",
        title="The share of bits that differ is at most twice the alignment loss",
        statement=r"\tfrac1K \overline{d_H} \le 2 L_{\mathrm{align}}",
        source="ours",
        proof="1 - 2 xor(a, b) = (1 - 2a)(1 - 2b), which is at most 0 where the bits differ",
        labels=Labels.PAIRS,
        lhs=Side("share of bits that differ", _hamming),
        rhs=Side("Hamming alignment", lambda batch: 2 * _alignment(batch), "times 2"),
        assumptions=TWO_CODES,
        witness=_half_way,
        constant="2",
    ),
    Relation(
        id="dcvh.difference_le_alignment",
        title="The mean absolute difference of codes is at most the alignment loss",
        statement=r"\tfrac1K \overline{\Vert a - b\Vert_1} \le L_{\mathrm{align}}",
        source="ours",
        proof="xor(a, b) - |a - b| is 2 min(a, b) (1 - max(a, b))",
        labels=Labels.PAIRS,
        lhs=Side("absolute difference of codes", _absolute_difference),
        rhs=ALIGNMENT,
        assumptions=TWO_CODES,
        witness=_bits,
    ),
    Relation(
        id="dcvh.triangle",
        title="The soft Hamming distance obeys the triangle inequality, though it is not zero from a code to itself",
        statement=r"\mathrm{xor}(a, c) \le \mathrm{xor}(a, b) + \mathrm{xor}(b, c)",
        source="ours",
        proof="the expected Hamming distance of independent bits, for which the inequality holds draw by draw",
        labels=Labels.PAIRS,
        lhs=Side("soft Hamming distance", _from_first_to_third),
        rhs=Side("soft Hamming distance by way of a third code", lambda batch: _from_first_to_third(batch, over=1)),
        assumptions="The first three rows of the batch; codes are the sigmoid of the embeddings.",
        witness=_bits,
    ),
    Relation(
        id="dcvh.entropy_of_labels",
        title="The softmax half of the joint cross-entropy is at least the entropy of the labels of a sample",
        statement=r"\overline{\log c_+} \le L_{\mathrm{JCE}}^{\nu = 0}",
        source="derived",
        proof="Gibbs' inequality: the target is uniform over the c+ labels of the sample",
        labels=Labels.PROXY_ANY,
        lhs=Side("entropy of the labels", lambda batch: torch.log(torch.tensor(2.0, dtype=torch.float64))),
        rhs=Side("joint cross-entropy, softmax half", _joint_cross_entropy),
        assumptions="Each sample has two labels, its class and the next one.",
        witness=_undecided,
    ),
)
