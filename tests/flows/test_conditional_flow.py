from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nflows.distributions import StandardNormal
from nflows.flows import Flow
from torch.func import jacrev

from pml_proxyext.flows import CONDITION_MODES, ConditionalFlow

SMALL = {"n_blocks": 3, "n_layers": 2, "hidden_size": 6}


def batch(rows: int, dim: int, context_dim: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(rows * 100 + dim)
    return tuple(torch.randn(rows, width, generator=generator, dtype=dtype) for width in (dim, context_dim))


def seeded_flow(*args: object, **kwargs: object) -> ConditionalFlow:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return ConditionalFlow(*args, **kwargs)


def numpy_flow(flow: ConditionalFlow, row: np.ndarray, context: np.ndarray) -> tuple[np.ndarray, float]:
    """One sample, straight from the definition: permute, split, scale and shift each half, and count the scales."""

    def run(net: torch.nn.Module, x: np.ndarray) -> np.ndarray:
        linears = [module for module in net.modules() if isinstance(module, torch.nn.Linear)]
        for k, layer in enumerate(linears):
            x = layer.weight.detach().numpy() @ x + layer.bias.detach().numpy()
            x = np.maximum(x, 0) if k < len(linears) - 1 else x
        return x

    mode, n, total, stacked = flow.condition_mode, len(flow.blocks), 0.0, context
    for k, block in enumerate(flow.blocks):
        row = row[np.random.RandomState(k).permutation(len(row))]
        half = round(len(row) / 2)
        if mode == "dense":
            seen = context
        elif mode == "dense_embed":
            seen = run(flow.embedders[0], context)
        elif mode == "dense_embed_multi":
            seen = run(flow.embedders[k], context)
        elif mode == "dense_embed_multi_stacked":
            seen = stacked = run(flow.embedders[k], stacked)
        else:
            seen = context if k == {"start": 0, "mid": n // 2, "end": n - 1}[mode] else np.zeros(0)
        first, second = row[:half], row[half:]
        scale, shift = np.split(run(block.second_moves_first, np.concatenate([second, seen])), 2)
        scale = 2.0 * 0.636 * np.arctan(scale)
        first, total = first * np.exp(scale) + shift, total + scale.sum()
        scale, shift = np.split(run(block.first_moves_second, np.concatenate([first, seen])), 2)
        scale = 2.0 * 0.636 * np.arctan(scale)
        second, total = second * np.exp(scale) + shift, total + scale.sum()
        row = np.concatenate([first, second])
    return row, total


def test_latents_and_log_determinants_match_the_release(released_nir):
    proxies = torch.nn.functional.normalize(released_nir.proxies_raw)[released_nir.labels]
    latents, log_det = released_nir.flow(released_nir.embeddings, proxies)
    torch.testing.assert_close(latents, released_nir.latents, rtol=0, atol=1e-10)
    torch.testing.assert_close(log_det, released_nir.log_det, rtol=0, atol=1e-10)
    brute_force = torch.tensor(released_nir.log_det_bruteforce_jacobian, dtype=torch.float64)
    torch.testing.assert_close(log_det, brute_force, rtol=0, atol=1e-10)
    torch.testing.assert_close(released_nir.flow.inverse(latents, proxies)[0], released_nir.embeddings)


@pytest.mark.parametrize("mode", CONDITION_MODES)
@pytest.mark.parametrize("dim", [2, 7])
def test_every_condition_mode_matches_a_loop_over_samples(mode, dim):
    flow = seeded_flow(dim, 3, **SMALL, condition_mode=mode).double()
    inputs, context = batch(4, dim, 3)
    latents, log_det = flow(inputs, context)
    for i in range(len(inputs)):
        expected, change = numpy_flow(flow, inputs[i].numpy(), context[i].numpy())
        np.testing.assert_allclose(latents[i].detach().numpy(), expected, rtol=1e-12, atol=1e-12)
        assert log_det[i].item() == pytest.approx(change, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("mode", CONDITION_MODES)
@pytest.mark.parametrize("dim", [2, 3, 8])
def test_log_determinant_is_that_of_the_jacobian(mode, dim):
    flow = seeded_flow(dim, 4, **SMALL, condition_mode=mode).double()
    inputs, context = batch(3, dim, 4)
    log_det = flow(inputs, context)[1]
    for i in range(len(inputs)):
        jacobian = jacrev(lambda row, i=i: flow(row[None], context[i : i + 1])[0][0])(inputs[i])
        torch.testing.assert_close(log_det[i], torch.linalg.slogdet(jacobian).logabsdet)


@pytest.mark.parametrize("mode", CONDITION_MODES)
@pytest.mark.parametrize("dim", [2, 5, 64])
def test_inverse_undoes_forward(mode, dim):
    flow = seeded_flow(dim, 4, **SMALL, condition_mode=mode).double()
    inputs, context = batch(6, dim, 4)
    latents, log_det = flow(inputs, context)
    restored, back = flow.inverse(latents, context)
    torch.testing.assert_close(restored, inputs, rtol=0, atol=1e-10)
    torch.testing.assert_close(back, -log_det, rtol=0, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    dim=st.integers(2, 9),
    n_blocks=st.integers(0, 4),
    clamp=st.floats(0.1, 4.0),
    gain=st.sampled_from([1.0, 1e3, 1e6]),
)
def test_log_determinant_is_bounded_by_clamp(dim, n_blocks, clamp, gain):
    flow = seeded_flow(dim, 2, n_blocks, 2, 6, clamp).double()
    for block in flow.blocks:
        for net in (block.second_moves_first, block.first_moves_second):
            net[-1].weight.data *= gain  # saturates the soft clamp
    log_det = flow(*batch(5, dim, 2))[1]
    bound = n_blocks * dim * clamp * 0.636 * math.pi / 2
    assert (log_det.abs() <= bound * (1 + 1e-12)).all()


def test_log_determinant_reaches_its_bound():
    flow = seeded_flow(4, 2, n_blocks=3, n_layers=1, clamp=2.0).double()
    for block in flow.blocks:
        for net in (block.second_moves_first, block.first_moves_second):
            net[0].weight.data.zero_()
            net[0].bias.data = torch.full_like(net[0].bias.data, 1e12)
    assert flow(*batch(1, 4, 2))[1].item() == pytest.approx(3 * 4 * 0.99903 * 2, rel=1e-5)


def test_no_blocks_is_the_identity():
    inputs, context = batch(4, 5, 3)
    latents, log_det = seeded_flow(5, 3, n_blocks=0)(inputs, context)
    torch.testing.assert_close(latents, inputs, rtol=0, atol=0)
    assert (log_det == 0).all()


@pytest.mark.parametrize(
    ("mode", "seeing", "embedders"),
    [
        ("dense", [0, 1, 2, 3], 0),
        ("dense_embed", [0, 1, 2, 3], 1),
        ("dense_embed_multi", [0, 1, 2, 3], 4),
        ("dense_embed_multi_stacked", [0, 1, 2, 3], 4),
        ("start", [0], 0),
        ("mid", [2], 0),
        ("end", [3], 0),
    ],
)
def test_condition_mode_decides_which_blocks_see_the_context(mode, seeing, embedders):
    flow = seeded_flow(4, 3, n_blocks=4, condition_mode=mode)
    widths = [block.second_moves_first[0].in_features for block in flow.blocks]
    assert widths == [2 + 3 * (k in seeing) for k in range(4)]
    assert len(flow.embedders) == embedders
    context = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    flow(torch.ones(2, 4), context)[0].sum().backward()
    assert (context.grad != 0).any()
    assert all((p.grad is not None) for p in flow.parameters())


def test_permutations_come_from_the_seed_and_leave_global_generators_alone():
    before = np.random.get_state()[1].copy()
    flow = ConditionalFlow(16, 2, n_blocks=3, permutation_seed=7)
    for k, block in enumerate(flow.blocks):
        assert block.permutation.tolist() == np.random.RandomState(7 + k).permutation(16).tolist()
    assert (np.random.get_state()[1] == before).all()
    state = torch.get_rng_state()
    flow(*batch(3, 16, 2, torch.float32))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("autocast", [False, True])
def test_arithmetic_follows_the_inputs_and_parameters_keep_their_dtype(dtype, autocast):
    flow = seeded_flow(6, 3, **SMALL, condition_mode="dense_embed_multi")
    inputs, context = batch(4, 6, 3)
    inputs, context = inputs.to(dtype), context.to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        latents, log_det = flow(inputs, context)
        restored, _ = flow.inverse(latents, context)
    expected_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    assert latents.dtype == log_det.dtype == restored.dtype == expected_dtype
    (latents.sum() + log_det.sum()).backward()
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in flow.parameters())
    exact = copy.deepcopy(flow).double()(inputs.double(), context.double())
    torch.testing.assert_close(latents.double(), exact[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(log_det.double(), exact[1], rtol=1e-4, atol=1e-4)


def test_it_serves_as_the_transform_of_an_nflows_flow():
    flow, (inputs, context) = seeded_flow(4, 3, **SMALL), batch(5, 4, 3, torch.float32)
    latents, log_det = flow(inputs, context)
    expected = -latents.square().sum(1) / 2 - 2 * math.log(2 * math.pi) + log_det
    torch.testing.assert_close(Flow(flow, StandardNormal([4])).log_prob(inputs, context), expected)


@pytest.mark.parametrize("mode", ["dense", "dense_embed_multi_stacked", "mid"])
def test_it_compiles_without_graph_breaks(mode):
    flow, (inputs, context) = seeded_flow(4, 3, **SMALL, condition_mode=mode), batch(5, 4, 3, torch.float32)
    latents, log_det = torch.compile(flow, fullgraph=True, backend="aot_eager")(inputs, context)
    expected = flow(inputs, context)
    torch.testing.assert_close((latents, log_det), expected)


def test_an_empty_batch_and_one_row_pass():
    flow = seeded_flow(4, 3, **SMALL)
    for rows in (0, 1):
        latents, log_det = flow(torch.ones(rows, 4), torch.ones(rows, 3))
        assert latents.shape == (rows, 4)
        assert log_det.shape == (rows,)


def test_state_and_pickle_round_trip():
    flow, other = seeded_flow(4, 3, **SMALL), ConditionalFlow(4, 3, **SMALL, permutation_seed=9)
    inputs = batch(5, 4, 3, torch.float32)
    other.load_state_dict(flow.state_dict())
    for again in (other, pickle.loads(pickle.dumps(flow)), copy.deepcopy(flow)):
        torch.testing.assert_close(again(*inputs), flow(*inputs), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 1}, "dim must be an integer >= 2, got 1"),
        ({"context_dim": 0}, "context_dim must be an integer >= 1, got 0"),
        ({"n_blocks": -1}, "n_blocks must be an integer >= 0, got -1"),
        ({"n_layers": 0}, "n_layers must be an integer >= 1, got 0"),
        ({"hidden_size": 1.5}, "hidden_size must be an integer >= 1, got 1.5"),
        ({"clamp": 0.0}, "clamp must be a finite number > 0, got 0.0"),
        ({"permutation_seed": -1}, "permutation_seed must be an integer >= 0, got -1"),
        ({"condition_mode": "dens"}, "condition_mode must be one of .*, got 'dens'; did you mean 'dense'"),
    ],
)
def test_invalid_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConditionalFlow(**({"dim": 4, "context_dim": 3} | arguments))


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize(
    ("inputs", "context", "message"),
    [
        (torch.ones(2, 5), torch.ones(2, 3), "inputs must have embedding_size 4, got shape"),
        (torch.ones(2, 4), torch.ones(2, 4), "context must have embedding_size 3, got shape"),
        (torch.ones(2, 4), torch.ones(3, 3), "context must have one row per input, got 3 for 2"),
        (torch.ones(2, 4, dtype=torch.int64), torch.ones(2, 3), "inputs must be floating point"),
    ],
)
def test_invalid_inputs_are_named(direction, inputs, context, message):
    with pytest.raises(ValueError, match=message):
        getattr(ConditionalFlow(4, 3), direction)(inputs, context)
