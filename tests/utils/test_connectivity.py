from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pml_proxyext.utils.connectivity import connectivity, influential, proximity_weights

SEEDS = st.integers(0, 10_000)


def features(rows: int = 7, seed: int = 0) -> Tensor:
    return torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, rows=st.integers(1, 9), filled=st.integers(1, 9), include_self=st.booleans())
def test_connectivity_is_the_mean_over_a_loop_and_rows_that_are_not_filled_do_not_count(
    seed, rows, filled, include_self
):
    pool = features(max(rows, filled), seed)
    rows = min(rows, filled)
    is_filled = torch.arange(len(pool)) < filled
    own = 0.0 if include_self else 1.0  # the cosine of a row with itself, taken out
    expected = [
        (sum(cosine(row.tolist(), pool[j].tolist()) for j in range(filled)) - own) / filled for row in pool[:rows]
    ]
    found = connectivity(pool[:rows], pool, is_filled, include_self)
    assert found.tolist() == pytest.approx(expected, abs=1e-12)
    if filled == len(pool):
        torch.testing.assert_close(connectivity(pool[:rows], pool, None, include_self), found)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, rows=st.integers(1, 9))
def test_connectivities_sum_to_the_squared_length_of_the_mean_direction_and_ignore_scales(seed, rows):
    x = features(rows, seed)
    found = connectivity(x)
    assert found.abs().max() <= 1 + 1e-12
    directions = x / x.norm(dim=1, keepdim=True)
    assert found.sum().item() == pytest.approx(directions.sum(0).square().sum().item() / rows, abs=1e-12)
    torch.testing.assert_close(connectivity(x * torch.rand(rows, 1, dtype=x.dtype).add(0.1)), found)


def test_equal_rows_have_equal_connectivity_to_the_last_bit():
    x = features(13).float().repeat(3, 1)
    found = connectivity(x)
    assert torch.equal(found[:13], found[13:26])
    assert torch.equal(found[:13], found[26:])


def test_half_precision_features_are_summed_in_float32():
    x = features(200).abs()
    found = connectivity(x.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, connectivity(x.bfloat16().double()).float(), rtol=1e-5, atol=1e-6)


def test_influence_is_strictly_above_the_threshold():
    scores = torch.tensor([0.5, 0.25, 1.0, 0.75])
    assert influential(scores, 0.5, "max").tolist() == [False, False, True, True]
    assert influential(scores / 2, 0.5, "max").tolist() == [False, False, True, True]
    assert influential(scores / 2, 0.25, "raw").tolist() == [False, False, True, True]
    assert not influential(scores, 1.0, "max").any()
    assert not influential(scores, None, "max").any()
    assert influential(scores, -1.0, "max").all()


def test_the_maximum_is_that_of_filled_rows():
    scores, is_filled = torch.tensor([0.5, 0.4, 9.0]), torch.tensor([True, True, False])
    assert influential(scores, 0.9, "max", is_filled)[:2].tolist() == [True, False]


@pytest.mark.parametrize("scores", [[-0.5, -0.2], [0.0, 0.0], [1e-17, -1e-17]])
def test_without_a_positive_connectivity_nothing_is_pruned_and_weights_are_uniform(scores):
    scores = torch.tensor(scores, dtype=torch.float64)
    assert not influential(scores, -5.0, "max").any()
    assert proximity_weights(scores, 0.01, "normalized").tolist() == [1, 1]


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, rows=st.integers(1, 9), scale=st.sampled_from([0.0035, 0.05, 1.0]))
def test_weights_are_the_exponentials_of_the_paper_over_their_mean(seed, rows, scale):
    scores = connectivity(features(rows, seed).abs())
    found = proximity_weights(scores, scale, "normalized")
    logits = [score / scale / sum(scores.tolist()) for score in scores.tolist()]
    exponentials = [math.exp(logit - max(logits)) for logit in logits]
    assert found.tolist() == pytest.approx([rows * x / sum(exponentials) for x in exponentials], rel=1e-9)
    assert found.mean().item() == pytest.approx(1, rel=1e-12)
    plain = proximity_weights(scores, 1.0, "eq5")
    assert plain.tolist() == pytest.approx([math.exp(score) for score in scores.tolist()], rel=1e-12)
    assert proximity_weights(scores, scale, "none").tolist() == [1] * rows


def test_the_papers_equation_overflows_at_its_own_scale_and_the_normalised_weights_do_not():
    scores = torch.tensor([0.6, 0.65])
    assert proximity_weights(scores, 0.0035, "eq5").isinf().all()
    assert proximity_weights(scores, 0.0035, "normalized").isfinite().all()


@pytest.mark.parametrize("weighting", ["normalized", "eq5", "none"])
def test_nan_features_give_nan_weights(weighting):
    x = features()
    x[2, 1] = torch.nan
    assert proximity_weights(connectivity(x), 0.1, weighting).isnan().all()
