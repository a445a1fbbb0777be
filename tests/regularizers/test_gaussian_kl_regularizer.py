from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss
from pytorch_metric_learning.reducers import SumReducer
from torch import Tensor

from pml_proxyext.regularizers import GaussianKLRegularizer

CASES = json.loads((Path(__file__).parents[1] / "golden" / "crossgan.json").read_text())["gaussian"]


def packed(rows: int = 5, width: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(rows, 2 * width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(x: Tensor) -> list[float]:
    """The definition, one coordinate at a time."""
    losses = []
    for row in x.tolist():
        half = len(row) // 2
        losses.append(sum((math.exp(v) + m * m - 1 - v) / 2 for m, v in zip(row[:half], row[half:], strict=True)))
    return losses


@pytest.mark.parametrize("case", CASES, ids=["small", "large"])
def test_fixtures(case):
    x = torch.tensor([m + v for m, v in zip(case["mu"], case["logvar"], strict=True)], dtype=torch.float64)
    expected = torch.tensor(case["kl_std_normal_per_row"], dtype=torch.float64)
    torch.testing.assert_close(GaussianKLRegularizer().sample_losses(x), expected, rtol=1e-9, atol=1e-9)
    assert GaussianKLRegularizer()(x).item() == pytest.approx(expected.mean().item(), rel=1e-9)


def test_values_are_those_of_a_loop_and_not_negative():
    for seed in range(30):
        x = packed(seed=seed)
        losses = GaussianKLRegularizer().sample_losses(x)
        torch.testing.assert_close(losses, torch.tensor(naive(x), dtype=torch.float64))
        assert (losses > 0).all()


def test_the_prior_costs_nothing_and_has_no_gradient():
    x = torch.zeros(3, 8, requires_grad=True)
    loss = GaussianKLRegularizer()(x)
    loss.backward()
    assert loss.item() == 0
    assert (x.grad == 0).all()


def test_gradients_agree_with_finite_differences():
    assert torch.autograd.gradcheck(GaussianKLRegularizer(), packed().requires_grad_())


def test_it_joins_any_loss_of_pml_and_takes_a_reducer():
    x, labels = packed(6), torch.tensor([0, 0, 1, 1, 2, 2])
    regularizer = GaussianKLRegularizer(reducer=SumReducer())
    value = SupConLoss(embedding_regularizer=regularizer, embedding_reg_weight=0.5)(x, labels)
    torch.testing.assert_close(value, SupConLoss()(x, labels) + 0.5 * sum(naive(x)))


def test_an_empty_batch_keeps_the_graph():
    x = torch.zeros(0, 4, requires_grad=True)
    loss = GaussianKLRegularizer()(x)
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_left_before_anything_is_summed(dtype):
    x = packed(4, 200).to(dtype)
    losses = GaussianKLRegularizer().sample_losses(x)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.double(), torch.tensor(naive(x), dtype=torch.float64), rtol=1e-5, atol=0)


def test_nan_and_log_variances_without_bound_are_visible():
    x = packed()
    x[0, 0] = math.nan
    assert GaussianKLRegularizer()(x).isnan()
    assert GaussianKLRegularizer()(torch.full((2, 4), 100.0)).isinf()


@pytest.mark.parametrize("x", [torch.zeros(3, 5), torch.zeros(3, 4).long()])
def test_what_is_not_packed_is_named(x):
    with pytest.raises(ValueError, match=r"must be \[mu \| log-variance\]"):
        GaussianKLRegularizer()(x)


def test_a_distance_is_refused():
    with pytest.raises(ValueError, match="distance is not supported"):
        GaussianKLRegularizer(distance=None)
