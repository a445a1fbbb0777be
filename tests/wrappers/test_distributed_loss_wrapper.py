"""Two processes must find what one finds; the expected numbers are always those of the bare loss on the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from pytorch_metric_learning import losses as pml_losses
from pytorch_metric_learning import miners
from pytorch_metric_learning.utils import distributed as pml_distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pml_proxyext.information import BilinearCritic
from pml_proxyext.losses import CrossCLRLoss, DEMILoss, ProxyAnchorLoss
from pml_proxyext.testing.processes import run_processes
from pml_proxyext.testing.subject import seeded
from pml_proxyext.wrappers import CrossBatchMemory, CrossModalMemory, DistributedLossWrapper

LABELS = torch.arange(12) % 6
EMBEDDINGS, OTHERS = torch.randn(2, 12, 8, generator=torch.Generator().manual_seed(0))


def proxy_loss() -> ProxyAnchorLoss:
    with seeded(0):
        return ProxyAnchorLoss(6, 8)


def model() -> nn.Linear:
    with seeded(1):
        return nn.Linear(8, 8, bias=False)


def half(rank: int) -> slice:
    return slice(6 * rank, 6 * rank + 6)


def alone(loss: nn.Module) -> tuple[Tensor, Tensor, list[Tensor]]:
    net = model()
    value = loss(net(EMBEDDINGS), LABELS)
    value.backward()
    return value.detach(), net.weight.grad, [p.grad for p in loss.parameters()]


def test_inside_ddp_model_and_loss_get_the_gradients_of_one_process() -> None:
    def step(rank: int) -> tuple[Tensor, Tensor, Tensor]:
        net = DistributedDataParallel(model())
        loss = DistributedDataParallel(DistributedLossWrapper(proxy_loss()))
        value = loss(net(EMBEDDINGS[half(rank)]), LABELS[half(rank)])
        value.backward()
        return value.detach(), net.module.weight.grad, next(loss.parameters()).grad

    value, weight, (proxies,) = alone(proxy_loss())
    for outcome in run_processes(step):
        for actual, expected in zip(outcome, (value, weight, proxies), strict=True):
            torch.testing.assert_close(actual, expected)


def test_without_ddp_the_loss_has_the_full_gradient_and_pmls_wrapper_twice_it() -> None:
    def step(rank: int) -> list[Tensor]:
        gradients = []
        for wrapper in (DistributedLossWrapper, pml_distributed.DistributedLossWrapper):
            loss = wrapper(proxy_loss())
            loss(EMBEDDINGS[half(rank)], LABELS[half(rank)]).backward()
            gradients.append(loss.loss.proxies.grad)
        return gradients

    loss = proxy_loss()
    loss(EMBEDDINGS, LABELS).backward()
    for ours, theirs in run_processes(step):
        torch.testing.assert_close(ours, loss.proxies.grad)
        torch.testing.assert_close(theirs, 2 * loss.proxies.grad)  # the reason for our subclass


def test_rows_stand_in_the_order_of_the_ranks_on_every_process() -> None:
    class First(pml_losses.BaseMetricLossFunction):
        def compute_loss(self, embeddings: Tensor, *others: Any) -> dict[str, Any]:
            return {"loss": {"losses": embeddings[0].sum(), "indices": None, "reduction_type": "already_reduced"}}

    values = run_processes(lambda rank: DistributedLossWrapper(First())(EMBEDDINGS[half(rank)], LABELS[half(rank)]))
    for value in values:
        assert value == EMBEDDINGS[0].sum()


def test_second_set_is_gathered_too() -> None:
    def step(rank: int) -> tuple[Tensor, Tensor]:
        ref = OTHERS[half(rank)].clone().requires_grad_()
        loss = DistributedLossWrapper(pml_losses.ContrastiveLoss())
        value = loss(EMBEDDINGS[half(rank)], LABELS[half(rank)], ref_emb=ref, ref_labels=LABELS[half(rank)])
        value.backward()
        return value.detach(), ref.grad

    ref = OTHERS.clone().requires_grad_()
    expected = pml_losses.ContrastiveLoss()(EMBEDDINGS, LABELS, ref_emb=ref, ref_labels=LABELS.clone())
    expected.backward()
    for rank, (value, gradient) in enumerate(run_processes(step)):
        torch.testing.assert_close(value, expected.detach())
        torch.testing.assert_close(gradient / 2, ref.grad[half(rank)])  # DDP's mean over two processes halves it


def test_tuples_of_pmls_distributed_miner_mean_the_same_rows() -> None:
    def step(rank: int) -> Tensor:
        embeddings, labels = EMBEDDINGS[half(rank)], LABELS[half(rank)]
        tuples = pml_distributed.DistributedMinerWrapper(miners.BatchHardMiner())(embeddings, labels)
        return DistributedLossWrapper(pml_losses.TripletMarginLoss())(embeddings, labels, tuples)

    tuples = miners.BatchHardMiner()(EMBEDDINGS, LABELS)
    expected = pml_losses.TripletMarginLoss()(EMBEDDINGS, LABELS, tuples)
    assert expected > 0
    for value in run_processes(step, world_size=2):
        torch.testing.assert_close(value, expected)


def test_memory_is_fed_by_all_processes() -> None:
    def step(rank: int) -> tuple[list[Tensor], Tensor]:
        loss = DistributedLossWrapper(CrossBatchMemory(pml_losses.ContrastiveLoss(), 8, memory_size=24))
        values = [loss(rows[half(rank)], LABELS[half(rank)]) for rows in (EMBEDDINGS, OTHERS)]
        return values, loss.loss.embedding_memory

    memory = CrossBatchMemory(pml_losses.ContrastiveLoss(), 8, memory_size=24)
    expected = [memory(rows, LABELS) for rows in (EMBEDDINGS, OTHERS)]
    for values, rows in run_processes(step):
        torch.testing.assert_close(values, expected)
        assert torch.equal(rows, memory.embedding_memory)


def test_efficient_averages_to_the_loss_of_one_process() -> None:
    def step(rank: int) -> Tensor:
        loss = DistributedLossWrapper(pml_losses.SupConLoss(), efficient=True)
        value = loss(EMBEDDINGS[half(rank)], LABELS[half(rank)])
        dist.all_reduce(value)
        return value / 2

    expected = pml_losses.SupConLoss()(EMBEDDINGS, LABELS)  # every row has one positive: a mean of equal halves
    for value in run_processes(step):
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("build", [DEMILoss, pml_losses.NTXentLoss])
def test_efficient_counts_the_pair_of_a_row_with_its_own_second_view(build: Callable[[], nn.Module]) -> None:
    rows = torch.arange(12)  # each has one partner, of its own process

    def step(rank: int) -> tuple[Tensor, Tensor]:
        values = []
        for wrapper in (DistributedLossWrapper, pml_distributed.DistributedLossWrapper):
            labels = rows[half(rank)]
            loss = wrapper(build(), efficient=True)
            values.append(loss(EMBEDDINGS[half(rank)], labels, ref_emb=OTHERS[half(rank)], ref_labels=labels.clone()))
        dist.all_reduce(values[0])
        return values[0] / 2, values[1]

    expected = build()(EMBEDDINGS, rows, ref_emb=OTHERS, ref_labels=rows.clone())
    for ours, theirs in run_processes(step):
        torch.testing.assert_close(ours, expected)
        assert theirs == 0  # the reason why ours makes the pairs itself


def test_without_a_process_group_it_is_the_loss() -> None:
    value, weight, proxies = alone(proxy_loss())
    wrapped = alone(DistributedLossWrapper(proxy_loss()))
    assert wrapped[0] == value
    assert torch.equal(wrapped[1], weight)
    assert torch.equal(wrapped[2][0], proxies[0])
    memory = CrossBatchMemory(pml_losses.ContrastiveLoss(), 8, memory_size=24)
    assert DistributedLossWrapper(memory)(EMBEDDINGS, LABELS).requires_grad is False


def test_memory_refuses_a_second_set() -> None:
    loss = DistributedLossWrapper(CrossBatchMemory(pml_losses.ContrastiveLoss(), 8))
    with pytest.raises(ValueError, match="ref_emb and ref_labels are not supported"):
        loss(EMBEDDINGS, LABELS, ref_emb=OTHERS, ref_labels=LABELS)


def test_group_of_one_process_is_the_loss() -> None:
    (value,) = run_processes(lambda rank: DistributedLossWrapper(proxy_loss())(EMBEDDINGS, LABELS), world_size=1)
    torch.testing.assert_close(value, proxy_loss()(EMBEDDINGS, LABELS))


def two_views(rows: slice) -> dict[str, Tensor]:
    """Return the rest of the arguments; every id is in both halves of the batch."""
    inputs = torch.rand(2, 12, 5, generator=torch.Generator().manual_seed(2))
    rows_of = {
        "labels": LABELS,
        "ref_emb": OTHERS,
        "ref_labels": LABELS,
        "input_emb": inputs[0],
        "ref_input_emb": inputs[1],
    }
    return {name: tensor[rows] for name, tensor in rows_of.items()}


@pytest.mark.parametrize("with_memory", [False, True])
def test_raw_features_of_two_views_are_gathered_too(with_memory: bool) -> None:
    def build() -> nn.Module:
        loss = CrossCLRLoss(temperature=0.2, weight_scale=0.5)
        return CrossModalMemory(loss, 8, 5, 5, memory_size=20) if with_memory else loss

    def steps(loss: nn.Module, rows: slice) -> tuple[list[Tensor], Tensor, Tensor]:
        embeddings = EMBEDDINGS[rows].clone().requires_grad_()
        arguments = two_views(rows)
        arguments["ref_emb"] = arguments["ref_emb"].clone().requires_grad_()
        values = [loss(embeddings, **arguments), loss(embeddings.flip(1), **arguments)]
        sum(values).backward()
        return [value.detach() for value in values], embeddings.grad, arguments["ref_emb"].grad

    expected, *gradients = steps(build(), slice(0, 12))
    for rank, outcome in enumerate(run_processes(lambda rank: steps(DistributedLossWrapper(build()), half(rank)))):
        torch.testing.assert_close(outcome[0], expected)
        for found, gradient in zip(outcome[1:], gradients, strict=True):
            torch.testing.assert_close(found / 2, gradient[half(rank)])  # DDP's mean over two processes halves it


@pytest.mark.parametrize("conditional", ["boosted", "is", "label"])
def test_subviews_are_gathered_too(conditional: str) -> None:
    crops, other_crops = torch.randn(2, 12, 4, generator=torch.Generator().manual_seed(3))
    arguments = {"embeddings": EMBEDDINGS, "ref_emb": OTHERS}
    if conditional != "label":
        arguments |= {"sub_emb": crops, "sub_ref_emb": other_crops}

    def step(rows: slice, wrap: Callable[[nn.Module], nn.Module]) -> tuple[Tensor, list[Tensor], Tensor]:
        loss = DEMILoss(conditional=conditional, critic=BilinearCritic(8, 8, torch.Generator().manual_seed(4)))
        parts = {name: tensor[rows].clone().requires_grad_() for name, tensor in arguments.items()}
        value = wrap(loss)(**parts, labels=LABELS[rows] if conditional == "label" else None)
        value.backward()
        return value.detach(), [part.grad for part in parts.values()], next(loss.parameters()).grad

    value, gradients, weight = step(slice(0, 12), lambda loss: loss)
    for rank, found in enumerate(run_processes(lambda rank: step(half(rank), DistributedLossWrapper))):
        torch.testing.assert_close(found[0], value)
        torch.testing.assert_close(found[2], weight)
        for part, gradient in zip(found[1], gradients, strict=True):
            torch.testing.assert_close(part / 2, gradient[half(rank)])  # DDP's mean over two processes halves it


def test_efficient_refuses_losses_that_pair_rows_and_keywords_that_are_not_pmls() -> None:
    memory = CrossModalMemory(CrossCLRLoss(), 8, 5, 5)
    for loss in (CrossCLRLoss(), DEMILoss(conditional="label"), memory):
        with pytest.raises(ValueError, match=f"efficient=True is not supported for loss={type(loss).__name__}"):
            DistributedLossWrapper(loss, efficient=True)

    def step(rank: int) -> str:
        loss = DistributedLossWrapper(pml_losses.SupConLoss(), efficient=True)
        with pytest.raises(ValueError, match="not supported") as raised:
            loss(EMBEDDINGS[half(rank)], LABELS[half(rank)], input_emb=EMBEDDINGS[half(rank)])
        with pytest.raises(ValueError, match="labels or indices_tuple are required with efficient=True"):
            DistributedLossWrapper(DEMILoss(), efficient=True)(EMBEDDINGS[half(rank)], ref_emb=OTHERS[half(rank)])
        return str(raised.value)

    assert run_processes(step)[0] == "efficient=True is not supported together with input_emb"
