from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pml_proxyext.flows.coupling import MAX_LOG_SCALE, CouplingBlock, CouplingNet, FollowingLinear, soft_clamp


def test_soft_clamp_stays_below_its_bound_and_reaches_it():
    values = soft_clamp(torch.tensor([-1e9, -1.0, 0.0, 1.0, 1e9], dtype=torch.float64), clamp=2.0)
    bound = 0.636 * math.pi  # clamp * 0.636 * pi / 2
    assert pytest.approx(bound / 2) == MAX_LOG_SCALE
    expected = torch.tensor([-bound, -0.636 * math.pi / 2, 0.0, 0.636 * math.pi / 2, bound], dtype=torch.float64)
    torch.testing.assert_close(values, expected)


def test_coupling_net_has_the_layers_asked_for():
    net = CouplingNet(in_features=5, out_features=2, n_layers=3, hidden_size=7)
    shapes = [tuple(layer.weight.shape) for layer in net if isinstance(layer, FollowingLinear)]
    assert shapes == [(7, 5), (7, 7), (4, 7)]
    assert not isinstance(net[-1], torch.nn.ReLU)
    assert [tuple(p.shape) for p in CouplingNet(5, 2, n_layers=1, hidden_size=7).parameters()] == [(4, 5), (4,)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_following_linear_computes_in_the_dtype_of_its_input_and_keeps_its_own(dtype):
    layer = FollowingLinear(3, 2)
    outputs = layer(torch.ones(4, 3, dtype=dtype))
    outputs.sum().backward()
    assert outputs.dtype == dtype
    assert layer.weight.dtype == layer.weight.grad.dtype == torch.float32


@pytest.mark.parametrize(("dim", "split"), [(2, [1, 1]), (3, [2, 1]), (5, [2, 3]), (7, [4, 3]), (9, [4, 5])])
def test_block_rounds_halves_to_even_like_the_release(dim, split):
    assert CouplingBlock(dim, 0, n_layers=1, hidden_size=1, clamp=1.0, seed=0).split == split


def test_block_permutes_first_then_moves_both_halves():
    """With zero weights the block is its permutation, shifted by the biases of the two networks."""
    block = CouplingBlock(4, 0, n_layers=1, hidden_size=1, clamp=2.0, seed=3)
    order = np.random.RandomState(3).permutation(4)
    torch.nn.init.zeros_(block.second_moves_first[0].weight)
    torch.nn.init.zeros_(block.first_moves_second[0].weight)
    block.second_moves_first[0].bias.data = torch.tensor([0.0, 1.0, 10.0, 20.0])  # two scales, then two shifts
    block.first_moves_second[0].bias.data = torch.tensor([0.0, 0.0, 30.0, 40.0])
    inputs = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    outputs, log_det = block(inputs)
    scales = torch.tensor([1.0, math.exp(0.636 * 2 * math.pi / 4), 1.0, 1.0])
    expected = inputs[:, order] * scales + torch.tensor([10.0, 20.0, 30.0, 40.0])
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(log_det, torch.tensor([0.636 * 2 * math.pi / 4]))
    restored, back = block.inverse(outputs)
    torch.testing.assert_close(restored, inputs)
    torch.testing.assert_close(back, -log_det)
