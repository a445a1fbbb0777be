"""Counts over data against loops, exact counts and symmetries."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pml_proxyext.geometry import (
    chao1,
    line_regions,
    plane_regions,
    rectified_linear_complexity,
    relu_bounds,
)
from tests.geometry.relu_networks import FIXTURES, filled, fixture_network, mlp, randn


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def naive_patterns(encoder, data):
    """Neuron by neuron, in plain Python."""
    patterns = []
    for row in data.tolist():
        values, pattern = row, []
        for layer in encoder:
            if isinstance(layer, nn.Linear):
                weights, biases = layer.weight.tolist(), layer.bias.tolist()
                values = [
                    sum(w * v for w, v in zip(weight, values, strict=True)) + b
                    for weight, b in zip(weights, biases, strict=True)
                ]
            else:
                pattern += [value > 0 for value in values]
                values = [max(value, 0.0) for value in values]
        patterns.append(tuple(pattern))
    return patterns


@pytest.mark.parametrize("case", FIXTURES["relu2d"], ids=lambda case: str(case["widths"]))
def test_samples_of_the_fixtures_find_no_more_than_there_are(case):
    data = case["box"] * (2 * torch.rand(2000, 2, generator=generator(), dtype=torch.float64) - 1)
    encoder = fixture_network(case)
    found = rectified_linear_complexity(encoder, data, count_affine_maps=True, generator=generator())
    counts = Counter(naive_patterns(encoder, data))
    assert found.n_patterns == len(counts) <= case["n_activation_regions_in_box"]
    assert found.chao1 == pytest.approx(chao1(list(counts.values())))
    assert found.n_affine_maps <= case["n_distinct_affine_maps_in_box"]
    assert found.n_affine_maps >= found.n_patterns - 23  # the difference of the largest fixture
    assert found.bounds == relu_bounds(case["widths"])


def test_affine_maps_are_those_of_the_cells():
    case = FIXTURES["relu2d"][3]
    encoder, box = fixture_network(case), case["box"]
    corners = torch.tensor([[-box, -box], [box, -box], [box, box], [-box, box]])
    centres = torch.stack([cell.mean(0) for cell in plane_regions(encoder, corners).cells])
    found = rectified_linear_complexity(encoder, centres, count_affine_maps=True, batch_size=5)
    assert (found.n_patterns, found.n_affine_maps) == (47, 24)
    assert found.saturation == 1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 60))
def test_counts_grow_with_data_up_to_their_bounds(seed, rows):
    encoder, data = mlp([3, 4, 4, 2], seed), randn(60, 3, seed=seed)
    whole = rectified_linear_complexity(encoder, data, n_segments=1, count_affine_maps=True)
    part = rectified_linear_complexity(encoder, data[:rows], n_segments=1, count_affine_maps=True)
    assert 1 <= part.n_affine_maps <= part.n_patterns <= min(rows, whole.n_patterns)
    assert part.n_affine_maps <= whole.n_affine_maps
    assert whole.n_patterns <= whole.bounds.serra
    assert whole.saturation == whole.n_patterns / 60
    assert whole.chao1 >= whole.n_patterns


def test_order_and_scale_of_hidden_units_keep_all_counts():
    encoder, data = mlp([3, 8, 8, 2], seed=1), randn(200, 3)
    expected = rectified_linear_complexity(encoder, data, count_affine_maps=True, generator=generator())
    order, scales = torch.randperm(8, generator=generator()), randn(8, seed=2).abs() + 0.1
    with torch.no_grad():
        encoder[0].weight.copy_(encoder[0].weight[order] * scales[:, None])
        encoder[0].bias.copy_(encoder[0].bias[order] * scales)
        encoder[2].weight.copy_(encoder[2].weight[:, order] / scales)
    found = rectified_linear_complexity(encoder, data, count_affine_maps=True, generator=generator())
    assert found.n_patterns > 20
    assert found.breaks_per_length == pytest.approx(expected.breaks_per_length)
    assert vars(found) | {"breaks_per_length": 0} == vars(expected) | {"breaks_per_length": 0}


def test_segments_are_means_over_pairs_and_follow_the_generator():
    encoder, data = mlp([3, 8, 2], seed=1), randn(2, 3, seed=3) * 3
    found = rectified_linear_complexity(encoder, data, n_segments=3)
    segment = line_regions(encoder, *data)
    assert segment.n_regions > 1
    assert found.regions_per_segment == segment.n_regions
    assert found.pieces_per_segment == segment.n_pieces
    assert found.breaks_per_length == pytest.approx(len(segment.breakpoints) / segment.length)
    many = [rectified_linear_complexity(encoder, randn(50, 3), generator=generator(seed)) for seed in (0, 0, 1)]
    assert many[0] == many[1] != many[2]


def test_zero_weights_make_one_piece_and_equal_inputs_no_length():
    dead = filled(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), scale=0.0)
    found = rectified_linear_complexity(dead, randn(10, 3), count_affine_maps=True)
    assert (found.n_patterns, found.n_affine_maps, found.pieces_per_segment, found.breaks_per_length) == (1, 1, 1, 0)
    assert math.isnan(rectified_linear_complexity(dead, torch.ones(3, 3)).breaks_per_length)


def test_images_and_maxima_have_patterns_and_no_bounds():
    encoder = filled(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 2)))
    found = rectified_linear_complexity(encoder.float(), randn(30, 1, 4, 4).float(), generator=generator())
    assert found.bounds is None
    assert 10 < found.n_patterns <= 30
    assert encoder[0].weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("encoder", "widths"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2))), [3, 4, 2]),
        (nn.Sequential(nn.Linear(3, 4), nn.ReLU()), [3, 4, 4]),
        (nn.Linear(3, 2), [3, 2]),
        (nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(), nn.Linear(4, 2)), None),
        (nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), None),
    ],
    ids=["nested", "ReLU last", "linear", "leaky", "two linear"],
)
def test_bounds_are_given_to_chains_of_linear_layers_and_relu(encoder, widths):
    found = rectified_linear_complexity(encoder.eval(), torch.randn(5, 3, generator=generator()))
    assert found.bounds == (None if widths is None else relu_bounds(widths))


@pytest.mark.parametrize(
    ("counts", "expected"), [([], 0), ([2, 3], 2), ([1, 1, 1], 6), ([1, 1, 2, 2], 5), ([1, 1, 1, 2, 5], 9.5)]
)
def test_chao1_by_hand(counts, expected):
    assert chao1(counts) == expected


@pytest.mark.parametrize(
    ("data", "arguments", "message"),
    [
        (torch.zeros(0, 3), {}, r"data must hold finite numbers, one row at least, got shape \(0, 3\)"),
        (torch.zeros(1, 3), {}, r"data must have two rows or more, got shape \(1, 3\)"),
        (torch.full((2, 3), torch.nan), {}, "data must hold finite numbers"),
        (torch.zeros(2, 3).long(), {}, "data must be floating point"),
        (torch.zeros(2, 3), {"n_segments": 0}, "n_segments must be an integer >= 1, got 0"),
        (torch.zeros(2, 3), {"batch_size": 0}, "batch_size must be an integer >= 1, got 0"),
    ],
)
def test_unfit_data_is_named(data, arguments, message):
    with pytest.raises(ValueError, match=message):
        rectified_linear_complexity(nn.Linear(3, 2), data, **arguments)
