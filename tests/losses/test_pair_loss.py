from __future__ import annotations

from typing import Any

import pytest
import torch
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from torch import Tensor

from pml_proxyext.losses.pair_loss import PairLoss
from pml_proxyext.wrappers import supports_ref_emb


class DotProductLoss(PairLoss):
    """The smallest pair loss: the mean of all dot products."""

    supports_ref_emb = True

    def pair_losses(self, embeddings: Tensor, labels: Any, tuples: Any, ref_emb: Tensor, ref_labels: Any) -> Any:
        value = (embeddings @ ref_emb.T).mean()
        return {"loss": {"losses": value, "indices": None, "reduction_type": "already_reduced"}}


EMBEDDINGS = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
LABELS = torch.tensor([0, 1])


def test_a_batch_is_compared_with_itself_or_with_a_second_one():
    assert DotProductLoss()(EMBEDDINGS).item() == (5 + 9 + 3 + 3) / 4
    assert DotProductLoss()(EMBEDDINGS, ref_emb=torch.ones(1, 2)).item() == (3 + 3) / 2
    assert supports_ref_emb(DotProductLoss())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_ends_before_the_first_product(dtype, autocast):
    rows, others = (torch.randn(8, 2, generator=torch.Generator().manual_seed(s)).to(dtype) for s in (0, 1))
    rows.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        values = DotProductLoss()(rows), DotProductLoss()(rows, ref_emb=others)
    exact = DotProductLoss()(rows.double()), DotProductLoss()(rows.double(), ref_emb=others.double())
    for value, expected in zip(values, exact, strict=True):
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    assert torch.autograd.grad(values[0], rows)[0].dtype == dtype


def test_an_empty_batch_is_zero_with_a_graph():
    embeddings = torch.zeros(0, 2, requires_grad=True)
    value = DotProductLoss()(embeddings, LABELS[:0])
    value.backward()
    assert value.item() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"embeddings": EMBEDDINGS.long()}, r"^embeddings must be floating point, got torch\.int64"),
        ({"embeddings": EMBEDDINGS[None], "labels": None}, r"^embeddings must have shape \(N, embedding_size\)"),
        ({"labels": LABELS.float()}, r"^labels must be integers, got torch\.float32"),
        ({"ref_emb": EMBEDDINGS}, "^ref_labels are required"),
        ({"ref_emb": EMBEDDINGS, "ref_labels": LABELS > 0}, r"^ref_labels must be integers, got torch\.bool"),
        ({"ref_emb": EMBEDDINGS.long(), "ref_labels": LABELS}, "^ref_emb must be floating point"),
        ({"ref_emb": EMBEDDINGS[:, :1], "ref_labels": LABELS}, "^ref_emb must have embedding_size 2"),
    ],
)
def test_invalid_batches_are_named(arguments, message):
    batch = {"embeddings": EMBEDDINGS, "labels": LABELS, **arguments}
    batch.setdefault("ref_labels", None)
    with pytest.raises(ValueError, match=message):
        DotProductLoss()(**batch)


def test_repr_shows_what_is_recorded():
    loss = DotProductLoss()
    loss.scale = 3
    loss.add_to_recordable_attributes(name="scale")
    assert "scale=3" in repr(loss)


class OwnPairsLoss(PairLoss):
    """The mean similarity of the positive pairs that PML finds."""

    supports_ref_emb = True

    def pair_losses(self, embeddings: Tensor, labels: Any, tuples: Any, ref_emb: Tensor, ref_labels: Any) -> Any:
        anchors, positives, _, _ = lmu.get_all_pairs_indices(labels, ref_labels)
        value = (embeddings @ ref_emb.T)[anchors, positives].sum()
        return {"loss": {"losses": value, "indices": None, "reduction_type": "already_reduced"}}


def test_pairs_of_equal_rows_survive_one_labels_tensor_for_both_views():
    others = torch.ones(2, 2)
    assert OwnPairsLoss()(EMBEDDINGS, LABELS, ref_emb=others, ref_labels=LABELS).item() == 3 + 3
    assert OwnPairsLoss()(EMBEDDINGS, LABELS).item() == 0  # a batch against itself: rows are no pairs with themselves
