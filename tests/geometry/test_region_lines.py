"""Breakpoints along lines against the fixtures, bends of a fine grid, and symmetries."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pml_proxyext.geometry import line_regions
from tests.geometry.relu_networks import FIXTURES, filled, fixture_network, mlp, randn


class Residual(nn.Module):
    """A unit that is used twice, in place, and a path around both uses."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        hidden = self.relu(self.first(x))
        return self.last(hidden + self.relu(self.second(hidden)))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.LeakyReLU(0.3), nn.MaxPool2d(2), nn.Dropout2d(),
        nn.Conv2d(3, 4, 2), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3), nn.PReLU(3),
    )  # fmt: skip


def bends(encoder, start, end, count=20_000):
    """Return the places of a grid beside which the outputs are not on one line, and the grid's spacing."""
    encoder = copy.deepcopy(encoder).double()
    shares = torch.linspace(0, 1, count + 1, dtype=torch.float64).view(-1, *[1] * start.ndim)
    with torch.no_grad():
        values = encoder(start * (1 - shares) + end * shares).flatten(1)
    second = (values[2:] - 2 * values[1:-1] + values[:-2]).abs().max(1).values
    return (second > 1e-11 * values.abs().max()).nonzero()[:, 0] + 1, 1 / count


@pytest.mark.parametrize("case", FIXTURES["relu1d"], ids=lambda case: str(case["widths"]))
def test_fixtures(case):
    ends = torch.tensor([[-1e4], [1e4]], dtype=torch.float64)
    found = line_regions(fixture_network(case), *ends)
    expected = torch.tensor(case["breakpoints"], dtype=torch.float64)
    torch.testing.assert_close(2e4 * found.breakpoints - 1e4, expected, rtol=0, atol=1e-9)
    assert found.n_regions == case["n_activation_regions"]
    assert found.n_regions == case["n_distinct_patterns"]
    assert found.n_affine_maps == case["n_distinct_affine_maps"]
    assert found.length == 2e4


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: mlp([3, 8, 8, 2]), (3,)),
        (Residual, (4,)),
        (convolutional, (2, 6, 6)),
        (lambda: nn.Sequential(nn.Conv1d(1, 4, 3), nn.Hardtanh(-0.5, 2.0), nn.MaxPool1d(3, 2), nn.Flatten()), (1, 9)),
        (lambda: nn.Sequential(nn.Linear(3, 5), nn.Hardsigmoid(), nn.Linear(5, 2)), (3,)),
    ],
    ids=["mlp", "residual", "convolutional", "maxima", "hard sigmoid"],
)
def test_the_outputs_bend_at_the_breakpoints_and_nowhere_else(make, shape, seed):
    encoder = filled(make(), seed)
    start, end = 5 * randn(2, *shape, seed=seed + 10)
    found = line_regions(encoder, start, end)
    places, spacing = bends(encoder, start, end)
    near = (found.breakpoints[:, None] / spacing - places).abs()  # (B, bends)
    assert (near.min(0).values < 1).all()
    heard, apart = int((near.min(1).values < 1).sum()), 1 + int((places.diff() > 1).sum())
    assert 1 <= apart <= found.n_pieces - 1 <= heard  # fewer are apart only where a grid's spacing holds two
    assert heard - apart <= 1


def test_maxima_that_win_at_neither_end_are_found():
    encoder = nn.MaxPool1d(3)
    start, end = torch.tensor([[0.0, -1.0, -0.4]]), torch.tensor([[-1.0, 0.0, -0.4]])
    found = line_regions(encoder, start, end)
    torch.testing.assert_close(found.breakpoints, torch.tensor([0.4, 0.6]).double(), atol=1e-7, rtol=0)
    assert (found.n_regions, found.n_pieces, found.n_affine_maps) == (3, 3, 3)
    below = line_regions(encoder, torch.tensor([[0.0, -1.0, -0.6]]), torch.tensor([[-1.0, 0.0, -0.6]]))
    torch.testing.assert_close(below.breakpoints, torch.tensor([0.5]).double())


def test_units_that_are_not_heard_make_regions_and_no_pieces():
    encoder = mlp([2, 6, 3])
    with torch.no_grad():
        encoder[2].weight.zero_()
    found = line_regions(encoder, randn(2), -5 * randn(2))
    assert found.n_regions > 1
    assert (found.n_pieces, found.n_affine_maps) == (1, 1)


def test_pieces_that_come_back_are_counted_once_among_the_maps():
    hat = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 1))
    with torch.no_grad():
        hat[0].weight.fill_(1.0)
        hat[0].bias.copy_(torch.tensor([1.0, 0.0, -1.0]))
        hat[2].weight.copy_(torch.tensor([[1.0, -2.0, 1.0]]))
        hat[2].bias.zero_()
    found = line_regions(hat, torch.tensor([-3.0]), torch.tensor([3.0]))
    assert (found.n_regions, found.n_pieces, found.n_affine_maps) == (4, 4, 3)
    torch.testing.assert_close(6 * found.breakpoints - 3, torch.tensor([-1.0, 0.0, 1.0]).double())


def test_a_segment_is_the_sum_of_its_parts_and_has_no_direction():
    encoder, (start, end) = mlp([4, 9, 9, 2], seed=3), randn(2, 4, seed=4) * 4
    whole = line_regions(encoder, start, end)
    middle = 0.7 * start + 0.3 * end
    first, second = line_regions(encoder, start, middle), line_regions(encoder, middle, end)
    torch.testing.assert_close(
        torch.cat([0.3 * first.breakpoints, 0.3 + 0.7 * second.breakpoints]), whole.breakpoints, rtol=0, atol=1e-12
    )
    back = line_regions(encoder, end, start)
    torch.testing.assert_close(1 - back.breakpoints.flip(0), whole.breakpoints, rtol=0, atol=1e-12)
    assert (back.n_pieces, back.n_affine_maps, back.length) == (whole.n_pieces, whole.n_affine_maps, whole.length)


def test_order_and_scale_of_hidden_units_do_not_matter():
    encoder = mlp([4, 9, 2], seed=5)
    start, end = randn(2, 4, seed=6) * 4
    expected = line_regions(encoder, start, end)
    order, scales = torch.randperm(9, generator=torch.Generator().manual_seed(0)), randn(9).abs() + 0.1
    with torch.no_grad():
        encoder[0].weight.copy_(encoder[0].weight[order] * scales[:, None])
        encoder[0].bias.copy_(encoder[0].bias[order] * scales)
        encoder[2].weight.copy_(encoder[2].weight[:, order] / scales)
    found = line_regions(encoder, start, end)
    torch.testing.assert_close(found.breakpoints, expected.breakpoints, rtol=0, atol=1e-12)
    assert found.n_pieces == expected.n_pieces


def test_no_units_and_no_length_make_one_piece():
    for encoder in (nn.Linear(3, 2), nn.Identity(), mlp([3, 5, 2])):
        found = line_regions(encoder, torch.ones(3), torch.ones(3))
        assert (found.n_regions, found.n_pieces, found.n_affine_maps, found.length) == (1, 1, 1, 0)
    assert line_regions(nn.Linear(3, 2), torch.zeros(3), torch.ones(3)).n_pieces == 1


def test_the_encoder_is_left_as_it_was():
    encoder = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).train()
    before = copy.deepcopy(encoder.state_dict())
    line_regions(encoder, torch.zeros(3), torch.ones(3))
    assert encoder.training
    assert not encoder[1]._forward_pre_hooks
    for name, value in encoder.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before[name])


def test_unfit_ends_are_named():
    with pytest.raises(ValueError, match=r"end must have the shape of start, got \(3,\) and \(2,\)"):
        line_regions(nn.Identity(), torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match="end must hold finite numbers"):
        line_regions(nn.Identity(), torch.zeros(2), torch.tensor([0.0, torch.nan]))
    with pytest.raises(ValueError, match="start must be floating point"):
        line_regions(nn.Identity(), torch.zeros(2).long(), torch.zeros(2))
