"""The alignment against stored numbers, a loop, counted bits, and its relations."""

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

from pml_proxyext.losses import HammingAlignmentLoss
from pml_proxyext.models import binarize

CASES = json.loads((Path(__file__).parents[1] / "golden" / "dcvh.json").read_text())["cases"]


def tensor(numbers: list) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def views(n: int, bits: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    both = torch.rand(2, n, bits, generator=generator, dtype=torch.float64) * 2 - 0.5
    return both[0].clamp(0, 1), both[1].clamp(0, 1)


def by_loop(a: Tensor, b: Tensor, labels: list[int]) -> float:
    """Return the loss from its definition, one bit of one pair after another."""
    total = 0.0
    for i, row in enumerate(a.tolist()):
        partners = [other for j, other in enumerate(b.tolist()) if labels[i] == labels[j]]
        for other in partners:
            xors = [x * (1 - y) + (1 - x) * y for x, y in zip(row, other, strict=True)]
            total += sum(xors) / len(xors) / len(partners)
    return total / len(a)


@pytest.mark.parametrize("with_labels", [False, True])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_value_is_the_stored_one(case, with_labels):
    a, b = tensor(case["z_view1"]), tensor(case["z_view2"])
    labels = torch.arange(len(a)) * 7 if with_labels else None
    value = HammingAlignmentLoss()(a, labels, ref_emb=b)
    assert value.item() == pytest.approx(case["alignment"], rel=1e-9)


@pytest.mark.parametrize("with_labels", [False, True])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_gradients_are_the_stored_ones(case, with_labels):
    a, b = tensor(case["z_view1"]).requires_grad_(), tensor(case["z_view2"]).requires_grad_()
    labels = torch.arange(len(a)) if with_labels else None
    (case["align_weight"] * HammingAlignmentLoss()(a, labels, ref_emb=b)).backward()
    torch.testing.assert_close(a.grad, tensor(case["grad_z_view1"]), rtol=0, atol=1e-8)
    torch.testing.assert_close(b.grad, tensor(case["grad_z_view2"]), rtol=0, atol=1e-8)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(1, 12), st.integers(0, 10_000))
def test_repeated_ids_match_the_loop(labels, bits, seed):
    a, b = views(len(labels), bits, seed)
    value = HammingAlignmentLoss()(a, torch.tensor(labels), ref_emb=b)
    assert value.item() == pytest.approx(by_loop(a, b, labels), rel=1e-12, abs=1e-14)


@given(st.integers(1, 10), st.integers(1, 40), st.integers(0, 10_000))
def test_relations(n, bits, seed):
    a, b = views(n, bits, seed)
    loss_func, generator = HammingAlignmentLoss(), torch.Generator().manual_seed(seed)
    value = loss_func(a, ref_emb=b).item()
    assert -1e-12 <= value <= 1 + 1e-12
    hamming = (binarize(a) != binarize(b)).double().mean().item()
    assert hamming <= 2 * value + 1e-12
    assert value >= (a - b).abs().mean().item() - 1e-12
    flips = torch.rand(bits, generator=generator) < 0.5
    order = torch.randperm(bits, generator=generator)
    flipped = [torch.where(flips, 1 - part, part)[:, order] for part in (a, b)]
    assert loss_func(flipped[0], ref_emb=flipped[1]).item() == pytest.approx(value, abs=1e-12)
    assert loss_func(b, ref_emb=a).item() == pytest.approx(value, abs=1e-12)
    assert loss_func(binarize(a), ref_emb=binarize(b)).item() == pytest.approx(hamming)


def test_it_is_zero_for_equal_bits_alone_and_pushes_equal_codes_out_of_the_middle():
    a, _ = views(4, 8)
    bits = binarize(a)
    assert HammingAlignmentLoss()(bits, ref_emb=bits.clone()).item() == 0
    same = HammingAlignmentLoss()(a, ref_emb=a.clone())
    assert same.item() == pytest.approx((2 * a * (1 - a)).mean().item())
    leaning = torch.tensor([[0.4, 0.6]], requires_grad=True)
    HammingAlignmentLoss()(leaning, ref_emb=torch.tensor([[0.4, 0.6]])).backward()
    assert leaning.grad[0, 0] > 0 > leaning.grad[0, 1]


@pytest.mark.parametrize("labels", [None, [0, 1, 0, 2]])
def test_gradcheck_of_both_views(labels):
    a, b = (part.clamp(0.1, 0.9).requires_grad_() for part in views(4, 5))
    labels = None if labels is None else torch.tensor(labels)
    assert torch.autograd.gradcheck(lambda a, b: HammingAlignmentLoss()(a, labels, ref_emb=b), (a, b))


def test_class_weights_reach_their_rows():
    a, b = views(3, 6)
    rows = [by_loop(a[i : i + 1], b[i : i + 1], [0]) for i in range(3)]
    loss_func = HammingAlignmentLoss(reducer=ClassWeightedReducer(torch.tensor([1.0, 10.0, 100.0])))
    value = loss_func(a, torch.tensor([2, 0, 1]), ref_emb=b)
    assert value.item() == pytest.approx((100 * rows[0] + rows[1] + 10 * rows[2]) / 3)


def test_one_labels_tensor_for_both_views_is_no_trap():
    """PML drops all pairs (i, i) then, which are the partners here."""
    a, b = views(5, 8)
    labels = torch.arange(5)
    value = HammingAlignmentLoss()(a, labels, ref_emb=b, ref_labels=labels)
    assert value.item() == pytest.approx(by_loop(a, b, labels.tolist()))


def test_nan_in_either_view_is_visible():
    a, b = views(3, 4)
    broken = a.clone()
    broken[1, 2] = math.nan
    for labels in (None, torch.arange(3)):
        assert HammingAlignmentLoss()(broken, labels, ref_emb=b).isnan()
        assert HammingAlignmentLoss()(b, labels, ref_emb=broken).isnan()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "ref_emb must be the second view"),
        ({"ref_emb": torch.zeros(2, 4)}, r"ref_emb must have one row for each row of embeddings, got .*\(2, 4\)"),
        ({"ref_emb": torch.zeros(3, 5)}, r"ref_emb must have embedding_size 4, got shape \(3, 5\)"),
        ({"ref_emb": torch.full((3, 4), -1.0)}, r"ref_emb must lie in \[0, 1\], got values from -1 to -1"),
        ({"ref_emb": torch.zeros(3, 4), "ref_labels": torch.arange(3)}, "ref_labels must be the labels"),
        ({"ref_emb": torch.zeros(3, 4), "labels": torch.rand(3)}, "labels must be integers"),
        ({"ref_emb": torch.zeros(3, 4), "indices_tuple": (torch.arange(3),) * 3}, "indices_tuple is not supported"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        HammingAlignmentLoss()(torch.zeros(3, 4), **arguments)


def test_codes_of_minus_one_and_one_and_other_distances_are_refused():
    with pytest.raises(ValueError, match=r"embeddings must lie in \[0, 1\], got values from -1 to 1"):
        HammingAlignmentLoss()(torch.tensor([[-1.0, 1.0]]), ref_emb=torch.ones(1, 2))
    with pytest.raises(ValueError, match="distance is not supported"):
        HammingAlignmentLoss(distance=LpDistance())


def test_compiles_into_one_graph_without_labels():
    a, b = views(6, 8)
    loss_func = HammingAlignmentLoss()
    compiled = torch.compile(loss_func, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(a, ref_emb=b), loss_func(a, ref_emb=b))
