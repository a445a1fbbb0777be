from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pml_proxyext.geometry import ReLUBounds, hyperplane_regions, relu_bounds

FIXTURES = json.loads((Path(__file__).parents[1] / "golden" / "ot.json").read_text())


def naive_regions(count: int, dim: int) -> int:
    """A new hyperplane is itself cut by those before it, and doubles the parts that it passes."""
    return 1 if count == 0 or dim == 0 else naive_regions(count - 1, dim) + naive_regions(count - 1, dim - 1)


def naive_serra(rank: int, hidden: tuple[int, ...]) -> int:
    if not hidden:
        return 1
    width = hidden[0]
    found = 0
    for states in product([False, True], repeat=width):
        off = states.count(False)
        if off <= rank:
            found += naive_serra(min(rank, width - off), hidden[1:])
    return found


@pytest.mark.parametrize("case", FIXTURES["bounds"], ids=lambda case: str(case["widths"]))
def test_fixtures(case):
    expected = ReLUBounds(case["lei_all"], case["lei_hidden"], case["min_width"], case["serra"])
    assert relu_bounds(case["widths"]) == expected


@pytest.mark.parametrize("case", FIXTURES["relu2d"], ids=lambda case: str(case["widths"]))
def test_no_network_of_the_fixtures_has_more_regions_than_its_bounds(case):
    names = ("lei_bound_all_layers", "lei_bound_hidden_only", "min_width_bound", "serra_bound")
    bounds = relu_bounds(case["widths"])
    assert bounds == ReLUBounds(*(case[name] for name in names))
    assert case["n_activation_regions_in_box"] <= bounds.serra


@pytest.mark.parametrize(("dim", "count", "expected"), FIXTURES["zaslavsky"])
def test_parts_between_hyperplanes(dim, count, expected):
    assert hyperplane_regions(count, dim) == expected == naive_regions(count, dim)


@settings(max_examples=60, deadline=None)
@given(widths=st.lists(st.integers(1, 5), min_size=2, max_size=5))
def test_bounds_are_ordered_and_the_sharpest_is_that_of_a_loop_over_states(widths):
    bounds = relu_bounds(widths)
    assert 1 <= bounds.serra <= bounds.min_width <= bounds.hidden_only <= bounds.paper
    assert bounds.serra == naive_serra(widths[0], tuple(widths[1:-1]))


def test_a_linear_network_has_one_piece_and_the_papers_bound_more():
    assert relu_bounds([5, 3]) == ReLUBounds(paper=8, hidden_only=1, min_width=1, serra=1)


def test_wide_networks_have_exact_integers():
    bounds = relu_bounds([2000, 100, 100, 10])
    assert bounds.paper == 2**210
    assert bounds.hidden_only == bounds.min_width == 2**200
    assert 2**190 < bounds.serra < 2**200


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ([], r"widths must name an input and an output at least, got \[\]"),
        ([4], r"widths must name an input and an output at least, got \[4\]"),
        ([4, 0, 1], r"widths\[1\] must be an integer >= 1, got 0"),
        ([4, 2.0], r"widths\[1\] must be an integer >= 1, got 2.0"),
        ([torch.tensor(4), 2], r"widths\[0\] must be an integer >= 1, got tensor\(4\)"),
    ],
)
def test_unfit_widths_are_named(widths, message):
    with pytest.raises(ValueError, match=message):
        relu_bounds(widths)


def test_negative_counts_are_named():
    with pytest.raises(ValueError, match="dim must be an integer >= 0, got -1"):
        hyperplane_regions(3, -1)
