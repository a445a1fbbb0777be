from __future__ import annotations

from typing import Any

import pytest
import torch
from pytorch_metric_learning import losses as pml_losses
from pytorch_metric_learning import miners

from pml_proxyext.losses import ProxyAnchorLoss
from pml_proxyext.wrappers import CrossBatchMemory, supports_ref_emb

LABELS = torch.tensor([0, 0, 1, 1])


class OwnSupCon(pml_losses.SupConLoss):
    pass


class OwnLoss(pml_losses.BaseMetricLossFunction):
    supports_ref_emb = True

    def compute_loss(self, embeddings: Any, labels: Any, indices_tuple: Any, ref_emb: Any, ref_labels: Any) -> Any:
        return self.zero_losses()


class RefusingSupCon(pml_losses.SupConLoss):
    supports_ref_emb = False


def batches(count: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, 3, generator=generator) for _ in range(count)]


@pytest.mark.parametrize(
    ("loss", "answer"),
    [
        (pml_losses.ContrastiveLoss(), True),
        (OwnSupCon(), True),
        (OwnLoss(), True),
        (RefusingSupCon(), False),
        (ProxyAnchorLoss(2, 3), False),
        (pml_losses.ProxyNCALoss(2, 3), False),  # extends NCALoss, which is listed
        (pml_losses.VICRegLoss(), False),
    ],
)
def test_capability_is_asked_of_the_loss(loss: pml_losses.BaseMetricLossFunction, answer: bool) -> None:
    assert supports_ref_emb(loss) is answer


@pytest.mark.parametrize("miner", [None, miners.TripletMarginMiner(), miners.MultiSimilarityMiner()])
def test_values_are_those_of_pml(miner: Any) -> None:
    ours = CrossBatchMemory(pml_losses.ContrastiveLoss(), 3, memory_size=6, miner=miner)
    theirs = pml_losses.CrossBatchMemory(pml_losses.ContrastiveLoss(), 3, memory_size=6, miner=miner)
    for embeddings in batches(5):
        assert ours(embeddings, LABELS) == theirs(embeddings, LABELS)
        assert (ours.queue_idx, ours.has_been_filled) == (theirs.queue_idx, theirs.has_been_filled)
    assert torch.equal(ours.embedding_memory, theirs.embedding_memory)


@pytest.mark.parametrize("steps", [1, 3])
def test_checkpoint_resumes_the_queue(steps: int) -> None:
    *past, now = batches(steps + 1)
    memory = CrossBatchMemory(pml_losses.ContrastiveLoss(), 3, memory_size=10)
    for embeddings in past:
        memory(embeddings, LABELS)
    resumed = CrossBatchMemory(pml_losses.ContrastiveLoss(), 3, memory_size=10)
    resumed.load_state_dict(memory.state_dict())
    assert (resumed.queue_idx, resumed.has_been_filled) == (4 * steps % 10, steps == 3)
    assert resumed(now, LABELS) == memory(now, LABELS)


def test_pml_forgets_its_queue() -> None:
    first, now = batches(2)
    memory, resumed = (pml_losses.CrossBatchMemory(pml_losses.ContrastiveLoss(), 3, memory_size=8) for _ in range(2))
    memory(first, LABELS)
    resumed.load_state_dict(memory.state_dict())
    assert resumed(now, LABELS) != memory(now, LABELS)  # the reason for our subclass; when PML mends it, drop it


def test_batch_without_rows_to_keep_leaves_the_memory_as_it_is() -> None:
    first, second = batches(2)
    memory = CrossBatchMemory(pml_losses.ContrastiveLoss(), 3, memory_size=8)
    memory(first, LABELS)
    memory(second, LABELS, enqueue_mask=torch.zeros(4, dtype=torch.bool))
    memory(torch.empty(0, 3), torch.empty(0, dtype=torch.long))
    assert (memory.queue_idx, memory.has_been_filled) == (4, False)


def test_enqueue_mask_keeps_the_chosen_rows_only() -> None:
    (embeddings,) = batches(1)
    memory = CrossBatchMemory(pml_losses.ContrastiveLoss(), 3, memory_size=8)
    memory(embeddings, LABELS, enqueue_mask=torch.tensor([True, False, True, False]))
    assert memory.queue_idx == 2
    assert torch.equal(memory.embedding_memory[:2], embeddings[[0, 2]])


def test_reset_empties_the_memory() -> None:
    memory = CrossBatchMemory(pml_losses.ContrastiveLoss(), 3, memory_size=4)
    memory(batches(1)[0], LABELS)
    assert memory.has_been_filled
    memory.reset_queue()
    assert (memory.queue_idx, memory.has_been_filled, memory.embedding_memory.abs().sum()) == (0, False, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.randn(4, 5), LABELS), "embeddings must have embedding_size 3"),
        ((torch.randn(4, 3), LABELS.float()), "labels must be integers"),
        ((torch.randn(9, 3), LABELS.repeat(3)[:9]), "memory_size 8, got 9 rows"),
    ],
)
def test_bad_input_is_named(arguments: Any, message: str) -> None:
    memory = CrossBatchMemory(pml_losses.ContrastiveLoss(), 3, memory_size=8)
    with pytest.raises(ValueError, match=message):
        memory(*arguments)
    assert memory.queue_idx == 0


def test_proxy_loss_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"CrossBatchMemory is not supported for loss=ProxyAnchorLoss.*own parameters"):
        CrossBatchMemory(ProxyAnchorLoss(2, 3), 3)
