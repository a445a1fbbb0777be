from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss
from torch import Tensor

from pml_proxyext.losses import CrossCLRLoss
from pml_proxyext.losses.cross_modal_samples import CrossModalSamples
from pml_proxyext.wrappers import CrossModalMemory

CASES = json.loads((Path(__file__).parents[1] / "golden" / "crossclr.json").read_text())["cases"]
QUEUES = [case for case in CASES if case.get("queue")]
NAMES = ("embeddings", "ref_emb", "input_emb", "ref_input_emb", "labels")
IDS = torch.arange(4)


def batch(seed: int = 0, rows: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(rows, width, generator=generator) for width in (3, 3, 5, 2)]
    tensors[0].requires_grad_()
    return dict(zip(NAMES, [*tensors, 10 * seed + torch.arange(rows)], strict=True))


def memory(size: int = 10, **switches: Any) -> CrossModalMemory:
    return CrossModalMemory(CrossCLRLoss(temperature=0.2, **switches), 3, 5, 2, memory_size=size)


def tensor(rows: list[Any]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("case", QUEUES, ids=lambda case: case["name"])
def test_values_and_gradients_with_a_queue_match_the_fixtures(case):
    """The queue is filled with its own rows first, so that the batch comes to stand where it stands in the fixture."""
    hyper, queue, slots = case["hyper"], case["queue"], torch.tensor(case["queue"]["idx"])
    loss = CrossCLRLoss(hyper["tau"], hyper["lam"], hyper["kappa"], hyper["gamma"])
    rows = {name: tensor(queue[key]) for name, key in zip(NAMES, ("emb_a", "emb_b", "raw_a", "raw_b"), strict=False)}
    ids = torch.arange(100, 100 + len(queue["emb_a"]))
    past = torch.tensor([k for k in range(len(ids)) if k not in slots])
    order = torch.cat([past, slots])  # connectivity and sums do not know the order of the queue
    widths = [rows[name].shape[1] for name in NAMES[:1] + NAMES[2:4]]
    module = CrossModalMemory(loss, *widths, memory_size=len(ids)).double()
    module(**{name: values[past] for name, values in rows.items()}, labels=ids[past])
    leaves = [tensor(case[name]).requires_grad_() for name in ("emb_a", "emb_b")]
    raw = {"input_emb": tensor(case["raw_a"]), "ref_input_emb": tensor(case["raw_b"])}
    value = module(leaves[0], ids[slots], ref_emb=leaves[1], **raw)
    assert torch.equal(module.label_memory, ids[order])
    torch.testing.assert_close(value, tensor(case["loss"]), rtol=1e-9, atol=1e-12)
    for gradient, name in zip(torch.autograd.grad(value, leaves), ("grad_a", "grad_b"), strict=True):
        torch.testing.assert_close(gradient, tensor(case[name]), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("size", [4, 5, 8, 10, 100])
def test_it_is_the_loss_with_a_queue_of_lists_before_and_after_it_is_full(size):
    module, queue = memory(size), deque[dict[str, Tensor]](maxlen=size)
    for seed, rows in enumerate([4, 4, 1, 4, 3, 4, 2]):
        now = batch(seed, rows)
        queue.extend({name: values[i].detach() for name, values in now.items()} for i in range(rows))
        pool = CrossModalSamples(**{name: torch.stack([row[name] for row in queue]) for name in NAMES})
        value, expected = module(**now), module.loss(**now, pool=pool)
        assert len(module) == len(queue)
        torch.testing.assert_close(value, expected)
        gradients = [torch.autograd.grad(x, now["embeddings"])[0] for x in (value, expected)]
        torch.testing.assert_close(*gradients)


def test_the_first_batch_is_compared_with_itself_without_gradients_of_the_negatives():
    now = batch()
    a = now["embeddings"]
    value = memory()(**now)
    expected = CrossCLRLoss(temperature=0.2)(**now)
    torch.testing.assert_close(value, expected)
    assert not torch.allclose(*(torch.autograd.grad(x, a)[0] for x in (value, expected)))


def test_rows_wrap_around_and_the_oldest_leave_first():
    module = memory(5)
    for seed in (1, 2):
        module(**batch(seed))
    assert module.label_memory.tolist() == [21, 22, 23, 13, 20]
    assert int(module.queue_position) == 3
    first, second = batch(1), batch(2)
    for buffer, name in zip(
        ("embedding_memory", "ref_embedding_memory", "input_memory", "ref_input_memory"), NAMES[:4], strict=True
    ):
        expected = torch.cat([second[name][1:], first[name][3:], second[name][:1]])
        assert torch.equal(getattr(module, buffer), expected.detach())


def test_samples_that_come_back_are_no_negatives():
    """The only rows in the queue are those of the anchor's own ids, so nothing is left to be told apart from."""
    module = memory(8, intra_modality=True, prune_threshold=None)
    one = {name: values[:1] for name, values in batch().items()}
    for _ in range(3):
        assert module(**one).item() == 0
    assert module(**(one | {"labels": one["labels"] + 1})).item() > 0


@pytest.mark.parametrize("steps", [1, 3])
def test_a_checkpoint_resumes_the_queue(steps):
    module, resumed = memory(), memory()
    for seed in range(steps):
        module(**batch(seed))
    resumed.load_state_dict(module.state_dict())
    assert len(resumed) == min(10, 4 * steps)
    assert resumed(**batch(9)) == module(**batch(9))
    for name, buffer in module.state_dict().items():
        assert torch.equal(buffer, resumed.state_dict()[name]), name


def test_reset_empties_it():
    module = memory()
    module(**batch(1))
    module.reset_queue()
    assert len(module) == 0
    assert module(**batch(2)) == memory()(**batch(2))


def test_two_steps_before_one_backward_pass():
    """Gradients are accumulated so; the second step overwrites rows that the first one was compared with."""
    first, second = batch(1), batch(2)
    module = memory(4)
    module.loss.distance.normalize_embeddings = False  # the products then need the queued rows themselves
    value = module(**first)
    alone = torch.autograd.grad(value, first["embeddings"], retain_graph=True)[0]
    together = torch.autograd.grad(value + module(**second), first["embeddings"])[0]
    assert torch.equal(together, alone)


def test_half_precision_is_queued_in_float32():
    now = {name: values if name == "labels" else values.detach().bfloat16() for name, values in batch().items()}
    module = memory()
    assert module(**now).dtype == torch.float32
    assert module.embedding_memory.dtype == module.input_memory.dtype == torch.float32
    assert torch.equal(module.input_memory[:4], now["input_emb"].float())


def test_an_empty_batch_is_zero_and_leaves_the_queue():
    module = memory()
    module(**batch(1))
    before = {name: buffer.clone() for name, buffer in module.state_dict().items()}
    value = module(**batch(2, rows=0))
    value.backward()
    assert value.item() == 0
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.state_dict().items())


def test_a_compiled_graph_computes_the_same():
    module, compiled = memory(6), memory(6)
    torch.compiler.reset()
    step = torch.compile(compiled, backend="aot_eager", fullgraph=True)
    for seed in range(3):
        torch.testing.assert_close(step(**batch(seed)), module(**batch(seed)))
    assert torch.equal(compiled.label_memory, module.label_memory)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "^labels are required, .* got None$"),
        ({"labels": IDS[:3]}, "labels"),
        ({"labels": IDS.float()}, "^labels must be integers"),
        ({"ref_labels": IDS + 1}, "^ref_labels must be the labels"),
        ({"indices_tuple": (IDS, IDS, IDS)}, "indices_tuple is not supported"),
        ({"ref_emb": None}, "^ref_emb must be a tensor of width 3, got None$"),
        ({"input_emb": None}, "^input_emb must be a tensor of width 5, got None$"),
        ({"embeddings": torch.zeros(4, 2)}, r"^embeddings must have embedding_size 3, got shape \(4, 2\)$"),
        ({"ref_emb": torch.zeros(3, 3)}, "^ref_emb must have one row for each row of embeddings"),
        ({"input_emb": torch.zeros(4, 2)}, r"^input_emb must have embedding_size 5, got shape \(4, 2\)$"),
        ({"ref_input_emb": torch.zeros(5, 2)}, "^ref_input_emb must have one row for each row of embeddings"),
        (batch(rows=11), "^embeddings must fit into memory_size 10, got 11 rows$"),
    ],
)
def test_bad_input_is_named_and_does_not_enter_the_queue(changes, message):
    module = memory()
    module(**batch(1))
    before = {name: buffer.clone() for name, buffer in module.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        module(**(batch(2) | changes))
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.state_dict().items())


def test_losses_without_a_pool_and_invalid_sizes_are_refused():
    with pytest.raises(ValueError, match="not supported for loss=SupConLoss: it needs a loss that takes pool"):
        CrossModalMemory(SupConLoss(), 3, 5, 2)
    for position, name in enumerate(["embedding_size", "input_size_a", "input_size_b", "memory_size"]):
        sizes = [3, 5, 2, 10]
        sizes[position] = 0
        with pytest.raises(ValueError, match=f"^{name} must be an integer >= 1, got 0$"):
            CrossModalMemory(CrossCLRLoss(), *sizes)
