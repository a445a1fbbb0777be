"""What networks have beyond other critics: initial weights as torch has them, and chunks of pairs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from pml_proxyext.information.mlp_critics import ConcatenatedCritic, SeparableCritic

X_SIZE, Y_SIZE = 5, 3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def test_layers_start_as_those_of_torch_do():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        expected = [nn.Linear(X_SIZE + Y_SIZE, 6), nn.Linear(6, 1)]
    critic = ConcatenatedCritic(X_SIZE, Y_SIZE, (6,), generator=generator(3))
    for layer, other in zip([m for m in critic.modules() if isinstance(m, nn.Linear)], expected, strict=True):
        assert torch.equal(layer.weight, other.weight)
        assert torch.equal(layer.bias, other.bias)


def test_chunks_keep_values_gradients_and_do_not_store_all_pairs():
    whole = ConcatenatedCritic(X_SIZE, Y_SIZE, (16, 16), generator=generator())
    chunked = copy.deepcopy(whole)
    chunked.chunk_size = 4
    x, y = normal(10, X_SIZE).float(), normal(9, Y_SIZE, seed=1).float()
    largest = {}
    for critic in (whole, chunked):
        stored: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, stored=stored: (stored.append(t.numel()), t)[1], lambda t: t
        ):
            scores = critic(x, y)
        scores.square().mean().backward()
        largest[critic.chunk_size] = max(stored)
    assert largest[None] == 10 * 9 * 16
    assert largest[4] < 10 * 9 * 16 / 4
    for a, b in zip(whole.parameters(), chunked.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SeparableCritic(3, 3, (8, 0)), "the width of a layer must be an integer >= 1, got 0"),
        (lambda: SeparableCritic(3, 3, embedding_size=0), "embedding_size must be an integer >= 1, got 0"),
        (lambda: ConcatenatedCritic(3, 3, ()), r"hidden_sizes must name at least one layer, got \(\)"),
        (lambda: ConcatenatedCritic(3, 3, chunk_size=0), "chunk_size must be an integer >= 1, got 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
