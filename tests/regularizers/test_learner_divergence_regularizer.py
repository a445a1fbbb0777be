from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import SupConLoss
from pytorch_metric_learning.reducers import SumReducer
from pytorch_metric_learning.utils import common_functions as c_f
from torch import Tensor

from pml_proxyext.regularizers import LearnerDivergenceRegularizer
from pml_proxyext.regularizers.learner_divergence_regularizer import split_learners

CASES = json.loads((Path(__file__).parents[1] / "golden" / "abe.json").read_text())["cases"]


def embeddings(rows: int = 5, learners: int = 3, width: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, learners * width, generator=generator, dtype=torch.float64)


def naive(embeddings: Tensor, learners: int, margin: float) -> list[float]:
    """The definition: squared distances between unit vectors, one coordinate at a time."""
    losses = []
    for row in embeddings.tolist():
        width = len(row) // learners
        parts = [row[m * width : (m + 1) * width] for m in range(learners)]
        units = [[x / math.sqrt(sum(y * y for y in part)) for x in part] for part in parts]
        hinges = [
            max(0.0, margin - sum((a - b) ** 2 for a, b in zip(p, q, strict=True))) for p, q in combinations(units, 2)
        ]
        losses.append(sum(hinges) / len(hinges))
    return losses


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_fixtures(case):
    x = torch.tensor(case["embeddings"], dtype=torch.float64)
    regularizer = LearnerDivergenceRegularizer(case["num_learners"], case["div_margin"])
    expected = torch.tensor(case["divergence_per_sample"], dtype=torch.float64)
    torch.testing.assert_close(regularizer.sample_losses(x), expected, rtol=1e-9, atol=1e-12)
    assert regularizer(x).item() == pytest.approx(case["paper"]["divergence"], rel=1e-9, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    learners=st.integers(2, 5),
    width=st.integers(1, 4),
    margin=st.sampled_from([0.3, 1.0, 2.0, 4.0]),
)
def test_value_is_that_of_a_loop_and_obeys_its_bounds(seed, learners, width, margin):
    x = embeddings(4, learners, width, seed)
    losses = LearnerDivergenceRegularizer(learners, margin).sample_losses(x)
    torch.testing.assert_close(losses, torch.tensor(naive(x, learners, margin), dtype=torch.float64))
    assert (losses >= max(0.0, margin - 2 - 2 / (learners - 1)) - 1e-12).all()  # no unit vectors are farther apart
    assert (losses <= margin + 1e-12).all()


def test_the_lower_bound_is_reached_by_a_simplex():
    corners = torch.eye(4, dtype=torch.float64) - 0.25  # four directions of mutual cosine -1/3
    loss = LearnerDivergenceRegularizer(4, margin=3.0)(corners.reshape(1, 16))
    assert loss.item() == pytest.approx(3 - 2 - 2 / 3)


def test_learners_that_agree_cost_the_margin_and_feel_no_gradient():
    x = embeddings(5, 1).repeat(1, 3).requires_grad_()
    loss = LearnerDivergenceRegularizer(3, 0.7)(x)
    loss.backward()
    assert loss.item() == pytest.approx(0.7)
    torch.testing.assert_close(x.grad, torch.zeros_like(x))


def test_learners_far_enough_apart_cost_nothing():
    x = torch.tensor([[1.0, 0.0, 0.0, 3.0, -2.0, 0.0]], requires_grad=True)
    loss = LearnerDivergenceRegularizer(3, margin=1.9)(x)  # squared distances 2, 2 and 4
    loss.backward()
    assert loss.item() == 0
    assert (x.grad == 0).all()


def test_gradients_agree_with_finite_differences():
    x = embeddings().requires_grad_()
    assert torch.autograd.gradcheck(LearnerDivergenceRegularizer(3, 2.0), x)


def test_it_sees_directions_only_and_no_common_rotation_or_order_of_learners():
    regularizer, x = LearnerDivergenceRegularizer(3, 2.0), embeddings()
    parts = split_learners(x, 3)
    rotation = torch.linalg.qr(embeddings(4, 1, 4, seed=1))[0]
    expected = regularizer.sample_losses(x)
    lengths = torch.tensor([0.1, 2.0, 30.0], dtype=torch.float64)[:, None]
    for same in (parts @ rotation, parts[:, [2, 0, 1]], parts * lengths):
        torch.testing.assert_close(regularizer.sample_losses(same.flatten(1)), expected)
    private = torch.cat([parts[:, :1] @ rotation, parts[:, 1:]], dim=1).flatten(1)
    assert not torch.allclose(regularizer.sample_losses(private), expected)


def test_one_learner_has_nothing_to_diverge_from_and_keeps_the_graph():
    x = embeddings().requires_grad_()
    loss = LearnerDivergenceRegularizer(1)(x)
    loss.backward()
    assert loss.item() == 0
    assert (x.grad == 0).all()


def test_it_joins_any_loss_of_pml_and_takes_a_reducer():
    x, labels = embeddings(6), torch.tensor([0, 0, 1, 1, 2, 2])
    regularizer = LearnerDivergenceRegularizer(3, reducer=SumReducer())
    value = SupConLoss(embedding_regularizer=regularizer, embedding_reg_weight=0.5)(x, labels)
    torch.testing.assert_close(value, SupConLoss()(x, labels) + 0.5 * sum(naive(x, 3, 1.0)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_left_before_anything_is_summed(dtype):
    x = embeddings().to(dtype)
    losses = LearnerDivergenceRegularizer(3, 2.0).sample_losses(x)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.double(), torch.tensor(naive(x, 3, 2.0), dtype=torch.float64), rtol=1e-5, atol=0)


def test_the_mean_cosine_between_learners_is_recorded_on_demand(monkeypatch):
    monkeypatch.setattr(c_f, "COLLECT_STATS", True)
    regularizer = LearnerDivergenceRegularizer(2)
    regularizer(torch.tensor([[1.0, 0.0, 1.0, 1.0], [1.0, 0.0, 0.0, 1.0]]))
    assert regularizer.self_pair_cosine == pytest.approx(0.5**0.5 / 2)


def test_nan_is_visible():
    x = embeddings()
    x[0, 0] = math.nan
    assert LearnerDivergenceRegularizer(3)(x).isnan()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_learners": 0}, "num_learners must be an integer >= 1, got 0"),
        ({"num_learners": 2, "margin": 0.0}, "margin must be a finite number > 0, got 0.0"),
        ({"num_learners": 2, "distance": None}, "distance is not supported"),
    ],
)
def test_invalid_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        LearnerDivergenceRegularizer(**arguments)


def test_a_width_that_the_learners_do_not_divide_is_named():
    with pytest.raises(ValueError, match=r"width divisible by num_learners 5, got shape \(5, 12\)"):
        LearnerDivergenceRegularizer(5)(embeddings())
