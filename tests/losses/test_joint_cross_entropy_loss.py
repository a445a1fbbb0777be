"""The joint cross-entropy against stored numbers, a loop, torch's cross-entropy, and its floor."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning.losses import MultipleLosses
from pytorch_metric_learning.regularizers import LpRegularizer
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from pml_proxyext.losses import HammingAlignmentLoss, JointCrossEntropyLoss
from pml_proxyext.testing.processes import run_processes
from pml_proxyext.wrappers import DistributedLossWrapper

CASES = json.loads((Path(__file__).parents[1] / "golden" / "dcvh.json").read_text())["cases"]


def tensor(numbers: list) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def on_logits(num_classes: int, **kwargs: float) -> JointCrossEntropyLoss:
    """Return the loss whose classifier hands its embeddings on as logits."""
    loss_func = JointCrossEntropyLoss(num_classes, num_classes, **kwargs)
    torch.nn.init.eye_(loss_func.proxies)
    return loss_func


def batch_of(n: int, num_classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, num_classes, generator=generator, dtype=torch.float64)
    return logits, (torch.rand(n, num_classes, generator=generator) < 0.4).long()


def by_loop(logits: Tensor, targets: Tensor, nu: float, rho: float) -> float:
    """Return the loss from its definition, one label of one sample after another."""
    total = 0.0
    for row, marks in zip(logits.tolist(), targets.tolist(), strict=True):
        log_sum = math.log(math.fsum(math.exp(logit) for logit in row))
        for logit, mark in zip(row, marks, strict=True):
            if mark:
                total += (log_sum - logit) / sum(marks)
            total += nu * (rho * math.log(1 + math.exp(-logit)) if mark else math.log(1 + math.exp(logit)))
    return total / len(logits)


@pytest.mark.parametrize("view", [1, 2])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_value_and_gradients_are_the_stored_ones(case, view):
    logits = tensor(case[f"logits_view{view}"]).requires_grad_()
    targets = torch.tensor(case["multihot"])
    value = on_logits(targets.shape[1], nu=case["nu"], rho=case["rho"])(logits, targets)
    assert value.item() == pytest.approx(case[f"jce_view{view}"], rel=1e-9)
    value.backward()
    torch.testing.assert_close(logits.grad, tensor(case[f"grad_logits_view{view}"]), rtol=0, atol=1e-8)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_parts_and_the_whole_of_dcvh_are_the_stored_ones(case):
    logits, targets = tensor(case["logits_view1"]), torch.tensor(case["multihot"])
    softmax = on_logits(targets.shape[1], nu=0.0)(logits, targets).item()
    assert softmax == pytest.approx(case["softmax_ce_view1"], rel=1e-9)
    both = on_logits(targets.shape[1], nu=1.0, rho=case["rho"])(logits, targets).item()
    assert both - softmax == pytest.approx(case["weighted_bce_view1"], rel=1e-9)
    loss_func = on_logits(targets.shape[1], nu=case["nu"], rho=case["rho"])
    views = [loss_func(tensor(case[f"logits_view{view}"]), targets) for view in (1, 2)]
    alignment = HammingAlignmentLoss()(tensor(case["z_view1"]), ref_emb=tensor(case["z_view2"]))
    assert (sum(views) + case["align_weight"] * alignment).item() == pytest.approx(case["loss"], rel=1e-9)


@given(
    st.integers(1, 6),
    st.integers(1, 5),
    st.floats(0, 3, allow_subnormal=False),
    st.floats(0, 5, allow_subnormal=False),
    st.integers(0, 10_000),
)
def test_values_match_the_loop_with_rows_of_no_label(n, num_classes, nu, rho, seed):
    logits, targets = batch_of(n, num_classes, seed)
    value = on_logits(num_classes, nu=nu, rho=rho)(logits, targets)
    assert value.item() == pytest.approx(by_loop(logits, targets, nu, rho), rel=1e-10, abs=1e-12)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10_000))
def test_the_softmax_part_is_at_least_the_entropy_of_its_targets(n, num_classes, seed):
    logits, targets = batch_of(n, num_classes, seed)
    floor = targets.sum(1).clamp_min(1).double().log().mean().item()
    assert on_logits(num_classes, nu=0.0)(logits, targets).item() >= floor - 1e-12
    at_the_floor = torch.where(targets > 0, 0.0, -800.0).double()
    assert on_logits(num_classes, nu=0.0)(at_the_floor, targets).item() == pytest.approx(floor, abs=1e-12)


def test_with_one_label_each_it_is_cross_entropy():
    logits, _ = batch_of(7, 4)
    labels = torch.tensor([0, 3, 1, 1, 2, 0, 3])
    plain = on_logits(4, nu=0.0)
    assert plain(logits, labels).item() == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-12)
    both = on_logits(4, nu=0.7, rho=2.0)
    assert both(logits, labels).item() == both(logits, one_hot(labels)).item()


def test_the_classifier_is_linear_without_bias_and_gradients_reach_it():
    logits, targets = batch_of(5, 3)
    loss_func = JointCrossEntropyLoss(3, 3, nu=0.5)
    weights = loss_func.proxies.detach().double()
    expected = by_loop(logits @ weights.T, targets, 0.5, 1.0)
    assert loss_func(logits, targets).item() == pytest.approx(expected, rel=1e-10)
    double = JointCrossEntropyLoss(3, 3, nu=0.5).double()
    inputs = [logits.requires_grad_(), double.proxies.detach().clone().requires_grad_()]

    def value(embeddings: Tensor, proxies: Tensor) -> Tensor:
        return torch.func.functional_call(double, {"proxies": proxies}, (embeddings, targets))

    assert torch.autograd.gradcheck(value, inputs)


def test_default_weight_of_the_binary_part_is_one_over_the_number_of_classes():
    logits, targets = batch_of(5, 4)
    assert on_logits(4)(logits, targets).item() == pytest.approx(by_loop(logits, targets, 0.25, 1.0))
    assert "nu=0.25, rho=1.0" in repr(on_logits(4))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32, torch.float64])
def test_multi_hot_labels_may_have_any_dtype(dtype):
    logits, targets = batch_of(5, 4)
    assert on_logits(4)(logits, targets.to(dtype)).item() == on_logits(4)(logits, targets).item()


def test_tuples_weight_samples_of_multi_hot_labels():
    logits, targets = batch_of(3, 4)
    rows = [by_loop(logits[i : i + 1], targets[i : i + 1], 0.25, 1.0) for i in range(3)]
    pairs = (torch.tensor([0]), torch.tensor([1]), torch.tensor([0]), torch.tensor([0]))  # 0 thrice, 1 once, 2 never
    value = on_logits(4)(logits, targets, pairs)
    assert value.item() == pytest.approx((rows[0] + rows[1] / 3) / 3)


def test_regularizers_and_multiple_losses_take_multi_hot_labels():
    logits, targets = batch_of(4, 3)
    loss_func = on_logits(3)
    plain = loss_func(logits, targets).item()
    assert MultipleLosses([loss_func, loss_func])(logits, targets).item() == pytest.approx(2 * plain)
    regularized = JointCrossEntropyLoss(3, 3, weight_regularizer=LpRegularizer(), weight_reg_weight=0.1)
    torch.nn.init.eye_(regularized.proxies)
    assert regularized(logits, targets).item() == pytest.approx(plain + 0.1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_multi_hot_labels_and_masters(dtype):
    codes, targets = torch.rand(6, 8, generator=torch.Generator().manual_seed(0)), batch_of(6, 4)[1]
    loss_func = JointCrossEntropyLoss(4, 8, rho=3.0)
    value = loss_func(codes.to(dtype), targets.to(dtype))
    assert value.dtype == loss_func.proxies.dtype == torch.float32
    torch.testing.assert_close(value, loss_func(codes, targets), rtol=16 * torch.finfo(dtype).eps, atol=0)


def test_an_empty_batch_keeps_the_graph_and_extreme_logits_stay_finite():
    empty = torch.zeros(0, 3, requires_grad=True)
    value = on_logits(3)(empty, torch.zeros(0, 3))
    value.backward()
    assert value.item() == 0
    extreme = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    value = on_logits(3, nu=1.0)(extreme, torch.tensor([[0, 1, 1]]))
    value.backward()
    assert value.item() == pytest.approx((2e4 + 1e4) / 2 + 2e4 + math.log(2))
    assert extreme.grad.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": torch.zeros(2, 4)}, r"labels must be multi-hot of shape \(N, 3\), got shape \(2, 4\)"),
        ({"labels": torch.zeros(2, 1)}, r"labels must be multi-hot of shape \(N, 3\), got shape \(2, 1\)"),
        ({"labels": torch.zeros(5, 3)}, r"labels must have one row for each row of embeddings"),
        ({"labels": torch.full((2, 3), -1)}, "labels must be 0 or 1 for every class, got values from -1 to -1"),
        ({"labels": torch.full((2, 3), 0.5)}, "labels must be 0 or 1 for every class, got values from 0.5 to 0.5"),
        ({"labels": torch.full((2, 3), math.nan)}, "labels must be 0 or 1 for every class, got values from nan"),
        ({"labels": torch.tensor([0, 3])}, r"labels must lie in \[0, 3\), got values from 0 to 3"),
        ({"labels": None}, "labels are required"),
        ({"labels": torch.zeros(2, 3), "ref_emb": torch.zeros(2, 3)}, "ref_emb is not supported"),
        ({"labels": torch.zeros(2, 3), "embeddings": torch.zeros(2, 4)}, "embeddings must have embedding_size 3"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        on_logits(3)(**{"embeddings": torch.zeros(2, 3), **arguments})


@pytest.mark.parametrize("name", ["nu", "rho"])
def test_negative_weights_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be a finite number >= 0, got -1"):
        JointCrossEntropyLoss(3, 3, **{name: -1})


def test_optimizer_groups_have_the_learning_rate_of_the_network():
    (group,) = JointCrossEntropyLoss(3, 4).param_groups(0.1)
    assert group["lr"] == 0.1


def test_compiles_into_one_graph_with_multi_hot_labels():
    logits, targets = batch_of(5, 3)
    loss_func = on_logits(3)
    compiled = torch.compile(loss_func, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, targets), loss_func(logits, targets))


def test_two_processes_with_half_of_the_multi_hot_labels_each_find_the_value_of_one():
    logits, targets = batch_of(6, 3)
    loss_func = on_logits(3)

    def one_process(rank: int) -> Tensor:
        rows = slice(3 * rank, 3 * rank + 3)
        return DistributedLossWrapper(loss_func)(logits[rows], targets[rows]).detach()

    for value in run_processes(one_process):
        torch.testing.assert_close(value, loss_func(logits, targets).detach())
