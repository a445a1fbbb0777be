"""The four alignments against stored numbers, loops, and what they must not see."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.reducers import ClassWeightedReducer
from torch import Tensor

from pml_proxyext.losses import CrossViewAlignmentLoss

CASES = json.loads((Path(__file__).parents[1] / "golden" / "crossgan.json").read_text())["alignment"]
KINDS = ["paired", "mean", "moment", "mmd"]
STORED = {"paired": "mse_pair", "mean": "mean_gap_sq", "moment": "coral", "mmd": "mmd2_biased_gauss_s1"}


def make(kind: str) -> CrossViewAlignmentLoss:
    return CrossViewAlignmentLoss(kind, bandwidth=1.0 if kind == "mmd" else None)


def views(n: int = 6, width: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n, width, generator=generator, dtype=torch.float64)
    return a, a + 0.5 + 0.7 * torch.randn(n, width, generator=generator, dtype=torch.float64)


def by_loop(kind: str, a: Tensor, b: Tensor) -> float:
    """Return the value from its definition, one number after another."""
    n, width, a, b = *a.shape, a.tolist(), b.tolist()

    def square(x: list[float], y: list[float]) -> float:
        return sum((p - q) ** 2 for p, q in zip(x, y, strict=True))

    means = [[sum(row[d] for row in rows) / n for d in range(width)] for rows in (a, b)]
    if kind == "paired":
        return sum(square(x, y) for x, y in zip(a, b, strict=True)) / n
    if kind == "mean":
        return square(*means)
    if kind == "mmd":
        pairs = [(a[i], a[j], b[i], b[j]) for i in range(n) for j in range(n)]
        k = [[math.exp(-square(x, y) / 2) for x, y in ((p, q), (r, s), (p, s))] for p, q, r, s in pairs]
        return sum(x + y - 2 * z for x, y, z in k) / n**2

    def covariance(rows: list[list[float]], mean: list[float], d: int, e: int) -> float:
        return sum((row[d] - mean[d]) * (row[e] - mean[e]) for row in rows) / max(n - 1, 1)

    places = [(d, e) for d in range(width) for e in range(width)]
    gaps = (covariance(a, means[0], d, e) - covariance(b, means[1], d, e) for d, e in places)
    return sum(gap**2 for gap in gaps) / (4 * width**2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=["small", "large"])
def test_value_is_the_stored_one(case, kind):
    a, b = (torch.tensor(case[name], dtype=torch.float64) for name in ("zx", "zy"))
    assert make(kind)(a, ref_emb=b).item() == pytest.approx(case[STORED[kind]], rel=1e-9)


@given(st.sampled_from(KINDS), st.integers(1, 7), st.integers(1, 4), st.integers(0, 10_000))
def test_value_is_that_of_a_loop_and_obeys_its_relations(kind, n, width, seed):
    a, b = views(n, width, seed)
    loss_func = make(kind)
    value = loss_func(a, ref_emb=b).item()
    assert value == pytest.approx(by_loop(kind, a, b), rel=1e-9, abs=1e-12)
    assert value >= -1e-12
    assert loss_func(b, ref_emb=a).item() == pytest.approx(value, abs=1e-12)
    assert loss_func(a, ref_emb=a.clone()).item() == pytest.approx(0, abs=1e-12)
    assert loss_func(a + 3, ref_emb=b + 3).item() == pytest.approx(value, rel=1e-9, abs=1e-12)
    assert make("mean")(a, ref_emb=b).item() <= make("paired")(a, ref_emb=b).item() + 1e-12
    if kind == "mmd":
        assert value <= 2


@pytest.mark.parametrize("kind", KINDS)
def test_only_pairs_see_the_order_of_one_view(kind):
    a, b = views()
    loss_func, other = make(kind), torch.tensor([1, 2, 3, 4, 5, 0])
    same = loss_func(a, ref_emb=b[other]).item() == pytest.approx(loss_func(a, ref_emb=b).item(), rel=1e-12)
    assert same == (kind != "paired")


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck_of_both_views(kind):
    a, b = (part.requires_grad_() for part in views(4, 3))
    assert torch.autograd.gradcheck(lambda a, b: make(kind)(a, ref_emb=b), (a, b))


def test_gradient_of_pairs_and_of_means_by_hand():
    for kind, expected in (
        ("paired", lambda a, b: 2 * (a - b) / len(a)),
        ("mean", lambda a, b: (2 * (a.mean(0) - b.mean(0)) / len(a)).expand_as(a)),
    ):
        a, b = views()
        a.requires_grad_()
        make(kind)(a, ref_emb=b).backward()
        torch.testing.assert_close(a.grad, expected(a.detach(), b))


def test_the_bandwidth_follows_the_width_unless_it_is_given():
    a, b = views(5, 4)
    free, fixed = CrossViewAlignmentLoss("mmd"), CrossViewAlignmentLoss("mmd", bandwidth=2.0)
    torch.testing.assert_close(free(a, ref_emb=b), fixed(a, ref_emb=b))
    torch.testing.assert_close(free(a, ref_emb=b), make("mmd")(a / 2, ref_emb=b / 2))


def test_the_kernel_keeps_its_digits_far_from_the_origin():
    a, b = (part.float() for part in views(20, 4))
    far = make("mmd")(a + 3000, ref_emb=b + 3000)
    torch.testing.assert_close(far, make("mmd")(a, ref_emb=b), rtol=2e-3, atol=0)


def test_class_weights_reach_their_rows():
    a, b = views(3, 4)
    rows = [by_loop("paired", a[i : i + 1], b[i : i + 1]) for i in range(3)]
    loss_func = CrossViewAlignmentLoss(reducer=ClassWeightedReducer(torch.tensor([1.0, 10.0, 100.0])))
    value = loss_func(a, torch.tensor([2, 0, 1]), ref_emb=b)
    assert value.item() == pytest.approx((100 * rows[0] + rows[1] + 10 * rows[2]) / 3)


@pytest.mark.parametrize("kind", KINDS)
def test_nan_in_either_view_is_visible(kind):
    a, b = views(3, 4)
    broken = a.clone()
    broken[1, 2] = math.nan
    assert make(kind)(broken, ref_emb=b).isnan()
    assert make(kind)(b, ref_emb=broken).isnan()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "ref_emb must be the second view"),
        ({"ref_emb": torch.zeros(2, 4)}, r"ref_emb must have one row for each row of embeddings, got .*\(2, 4\)"),
        ({"ref_emb": torch.zeros(3, 5)}, r"ref_emb must have embedding_size 4, got shape \(3, 5\)"),
        ({"ref_emb": torch.zeros(3, 4), "indices_tuple": (torch.arange(3),) * 3}, "indices_tuple is not supported"),
        (
            {"ref_emb": torch.zeros(3, 4), "labels": torch.arange(3), "ref_labels": torch.arange(3).flip(0)},
            "ref_labels must be the labels",
        ),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CrossViewAlignmentLoss()(torch.zeros(3, 4), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "moments"}, "kind must be one of .*; did you mean 'moment'"),
        ({"kind": "mmd", "bandwidth": 0.0}, "bandwidth must be a finite number > 0"),
        ({"bandwidth": 1.0}, "bandwidth must be None for kind 'paired', which has no kernel, got 1.0"),
        ({"distance": LpDistance()}, "distance is not supported"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        CrossViewAlignmentLoss(**arguments)
