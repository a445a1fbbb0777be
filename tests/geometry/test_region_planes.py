"""Regions on a square against the fixtures, samples, areas and symmetries."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pml_proxyext.geometry import hyperplane_regions, line_regions, plane_regions, relu_bounds
from tests.geometry.relu_networks import FIXTURES, filled, fixture_network, mlp, randn

SQUARE = torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=torch.float64)


class HiddenBend(nn.Module):
    def forward(self, x):
        return torch.relu(x)


def area(polygon):
    x, y = polygon.unbind(1)
    return (x * y.roll(-1) - y * x.roll(-1)).sum() / 2


def states(encoder, points):
    """Return which units are on, for each point that differs in it."""
    found = []
    for layer in encoder:
        points = layer(points)
        if isinstance(layer, nn.ReLU):
            found.append(points > 0)
    return {tuple(row) for row in torch.cat(found, dim=1).int().tolist()}


@pytest.mark.parametrize("case", FIXTURES["relu2d"], ids=lambda case: str(case["widths"]))
def test_fixtures(case):
    found = plane_regions(fixture_network(case), case["box"] * SQUARE)
    assert found.n_regions == case["n_activation_regions_in_box"]
    assert found.n_affine_maps == case["n_distinct_affine_maps_in_box"]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), widths=st.sampled_from([(2, 5, 1), (2, 4, 4, 2), (2, 3, 3, 3, 3)]))
def test_cells_cover_the_square_and_samples_find_no_other_pattern(seed, widths):
    encoder = mlp(widths, seed)
    found = plane_regions(encoder, 3 * SQUARE)
    areas = torch.stack([area(cell) for cell in found.cells])
    assert (areas > 0).all()
    assert areas.sum().item() == pytest.approx(36, rel=1e-12)
    assert found.n_regions <= relu_bounds(widths).serra
    centres = states(encoder, torch.stack([cell.mean(0) for cell in found.cells]))
    assert len(centres) == found.n_regions  # a state is a convex set: no two cells share one
    points = 6 * torch.rand(300, 2, generator=torch.Generator().manual_seed(seed)).double() - 3
    assert states(encoder, points) <= centres


@pytest.mark.parametrize("width", [1, 2, 5, 9])
def test_one_hidden_layer_in_general_position_reaches_the_bound_in_a_large_square(width):
    found = plane_regions(mlp([2, width, width], seed=1), 1e4 * SQUARE)
    assert found.n_regions == found.n_affine_maps == hyperplane_regions(width, 2)


def test_an_edge_is_cut_where_the_segment_is():
    encoder, corners = mlp([5, 7, 7, 2], seed=2), 3 * randn(3, 5, seed=3)
    found = plane_regions(encoder, corners)
    edge = line_regions(encoder, corners[0], corners[1])
    points = torch.lerp(corners[0], corners[1], edge.breakpoints[:, None])
    vertices = torch.cat(found.cells)
    assert edge.n_regions > 2
    assert ((points[:, None] - vertices).norm(dim=2).min(1).values < 1e-9).all()


def test_leaky_units_with_two_kinks_and_constants():
    assert plane_regions(nn.Linear(2, 2), SQUARE).n_regions == 1
    tanh = nn.Hardtanh(-0.5, 0.5)
    found = plane_regions(tanh, SQUARE)  # three strips each way
    assert (found.n_regions, found.n_affine_maps) == (9, 9)
    dead = filled(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), scale=0.0)
    assert plane_regions(dead, SQUARE).n_regions == 1


def test_units_at_their_kink_on_a_corner_cut_nothing():
    encoder = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU()).double()
    with torch.no_grad():
        encoder[0].weight.copy_(torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
    triangle = torch.tensor([[0.0, 0.0], [1.0, -1.0], [1.0, 1.0]])
    assert plane_regions(encoder, triangle).n_regions == 1
    assert plane_regions(encoder, SQUARE).n_regions == 4


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match=r"corners must be a matrix of three rows or more, got shape \(2, 2\)"):
        plane_regions(nn.Identity(), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="corners must hold finite numbers"):
        plane_regions(nn.Identity(), torch.full((3, 2), torch.inf))
    pool = nn.Sequential(nn.Unflatten(1, (1, 2)), nn.MaxPool1d(2), nn.Flatten())
    with pytest.raises(ValueError, match="no layer of maxima"):
        plane_regions(pool, SQUARE)
    with pytest.raises(ValueError, match="a GELU: not supported"):
        plane_regions(nn.GELU(), SQUARE)
    with pytest.raises(ValueError, match="got a bend"):
        plane_regions(HiddenBend(), SQUARE)
