"""What is watched, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pml_proxyext.geometry import line_regions, rectified_linear_complexity
from pml_proxyext.geometry.piecewise_linear import PiecewiseLinearEncoder, count_distinct
from tests.geometry.relu_networks import filled, mlp, randn


class Calls(nn.Module):
    """A linear layer, a function that no module shows, and another linear layer."""

    def __init__(self, function):
        super().__init__()
        self.first, self.second, self.function = nn.Linear(3, 4), nn.Linear(4, 2), function

    def forward(self, x):
        return self.second(self.function(self.first(x)))


@pytest.mark.parametrize(
    "module",
    [nn.GELU(), nn.SiLU(), nn.Softmax(1), nn.Sigmoid(), nn.LayerNorm(3), nn.GroupNorm(1, 3), nn.Hardswish()],
    ids=lambda module: type(module).__name__,
)
def test_modules_that_bend_are_named(module):
    encoder = nn.Sequential(nn.Linear(3, 3), module).eval()
    with pytest.raises(ValueError, match=f"piecewise linear, got 1, a {type(module).__name__}: not supported"):
        rectified_linear_complexity(encoder, randn(4, 3))


@pytest.mark.parametrize(
    "function",
    [torch.relu, F.gelu, torch.tanh, F.normalize, lambda x: F.softmax(x, 1), lambda x: x * x],
    ids=["relu", "gelu", "tanh", "normalize", "softmax", "square"],
)
def test_functions_that_bend_without_a_module_are_found_out(function):
    encoder = filled(Calls(function))
    with pytest.raises(ValueError, match=r"kinks in modules \(nn.ReLU, not torch.relu\), got a bend"):
        rectified_linear_complexity(encoder, 3 * randn(10, 3))


def test_affine_functions_and_modules_of_ones_own_are_let_through():
    assert line_regions(filled(Calls(lambda x: 2 * x.flip(1) + 1)), *randn(2, 3)).n_pieces == 1


def test_only_what_training_mode_changes_must_leave_it():
    with pytest.raises(ValueError, match=r"evaluation mode, got 0 \(BatchNorm1d\) in training"):
        PiecewiseLinearEncoder(nn.Sequential(nn.BatchNorm1d(3)))
    with pytest.raises(ValueError, match=r"evaluation mode, got Dropout \(Dropout\) in training"):
        PiecewiseLinearEncoder(nn.Dropout())
    with pytest.raises(ValueError, match="0, a batch norm without running statistics"):
        PiecewiseLinearEncoder(nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)).eval())
    PiecewiseLinearEncoder(nn.Sequential(nn.Linear(3, 3), nn.ReLU()).train())


def test_states_are_those_of_the_units():
    encoder, inputs = mlp([3, 5, 4, 2]), randn(6, 3)
    first, second = PiecewiseLinearEncoder(encoder).units(inputs)
    assert torch.equal(first.states(), encoder[0](inputs) > 0)
    assert torch.equal(second.states(), encoder[:3](inputs) > 0)
    (clipped,) = PiecewiseLinearEncoder(nn.ReLU6()).units(torch.tensor([[-1.0, 3.0, 7.0]]))
    assert clipped.states().tolist() == [[False, True, True, False, False, True]]


def test_winners_are_places_among_all_channels():
    inputs = torch.tensor([[[[1.0, 5.0], [2.0, 3.0]], [[0.0, 1.0], [9.0, 8.0]]]])
    (units,) = PiecewiseLinearEncoder(nn.MaxPool2d(2)).units(inputs)
    assert units.winners.tolist() == [[1, 6]]
    assert units.values[0, units.winners[0]].tolist() == [5, 9]


def test_readouts_are_affine_maps_of_the_encoder():
    encoder, inputs = PiecewiseLinearEncoder(mlp([3, 5, 4, 2])), randn(6, 3)
    maps, moved = encoder.affine_maps(inputs), encoder.affine_maps(inputs + 1e-9)
    torch.testing.assert_close(maps, moved)
    weights = torch.linalg.lstsq(encoder(inputs), (maps[:, :3] * inputs).sum(1) + maps[:, 3]).solution
    readout = encoder(inputs) @ weights
    torch.testing.assert_close(readout, (maps[:, :3] * inputs).sum(1) + maps[:, 3])


def test_distinct_rows_are_counted_up_to_rounding():
    rows = randn(40, 7)
    assert count_distinct(rows) == 40
    assert count_distinct(torch.cat([rows, rows + 1e-14 * randn(40, 7, seed=1)])) == 40
    assert count_distinct(torch.cat([rows, rows + 1e-8 * randn(40, 7, seed=1)])) == 80
    assert count_distinct(torch.zeros(3, 2)) == 1
