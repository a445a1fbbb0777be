"""Packed normal distributions against stored numbers and torch's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from pml_proxyext.distributions import kl_to_standard_normal, sample_normal, split_normal

CASES = json.loads((Path(__file__).parents[1] / "golden" / "crossgan.json").read_text())["gaussian"]


def tensor(numbers: list) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def moments(seed: int = 0, rows: int = 5, width: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    both = torch.randn(2, rows, width, generator=generator, dtype=torch.float64)
    return both[0], both[1]


@pytest.mark.parametrize("case", CASES, ids=["small", "large"])
def test_divergence_is_the_stored_one(case):
    found = kl_to_standard_normal(tensor(case["mu"]), tensor(case["logvar"]))
    torch.testing.assert_close(found, tensor(case["kl_std_normal_per_row"]), rtol=1e-9, atol=1e-9)


def test_divergence_and_gradients_are_those_of_torch():
    leaves = [part.requires_grad_() for part in moments()]
    mu, log_variance = leaves
    found = kl_to_standard_normal(mu, log_variance)
    expected = kl_divergence(Normal(mu, torch.exp(log_variance / 2)), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(found, expected)
    for mine, theirs in zip(*(torch.autograd.grad(v.sum(), leaves) for v in (found, expected)), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_divergence_keeps_its_digits_next_to_the_prior():
    log_variance = torch.full((1, 1), 1e-3)  # the divergence is x^2 / 4 + x^3 / 12 + ...
    expected = torch.tensor([2.5e-7 + 1e-9 / 12])
    torch.testing.assert_close(kl_to_standard_normal(torch.zeros(1, 1), log_variance), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("case", CASES, ids=["small", "large"])
def test_samples_are_the_stored_ones_for_the_stored_noise(case, monkeypatch):
    noise = tensor(case["eps"])
    monkeypatch.setattr(torch, "randn", lambda *args, **kwargs: noise)
    found = sample_normal(tensor(case["mu"]), tensor(case["logvar"]))
    torch.testing.assert_close(found, tensor(case["z"]), rtol=1e-9, atol=1e-9)


def test_samples_have_the_moments_and_let_gradients_through():
    """Of 40 000 samples the mean of each is within 5 standard errors: a false alarm in 10^5 (of 4 numbers)."""
    mu, log_variance = torch.tensor([[2.0, -1.0]]), torch.tensor([[0.0, -2.0]])
    generator = torch.Generator().manual_seed(0)
    z = sample_normal(mu.expand(40_000, 2), log_variance.expand(40_000, 2), generator)
    deviation = torch.exp(log_variance[0] / 2)
    assert ((z.mean(0) - mu[0]).abs() < 5 * deviation / 200).all()
    assert ((z.var(0) / deviation**2 - 1).abs() < 5 * 2**0.5 / 200).all()
    mu, log_variance = (part.requires_grad_() for part in moments())
    z = sample_normal(mu, log_variance, generator)
    grads = torch.autograd.grad(z.sum(), [mu, log_variance])
    torch.testing.assert_close(grads[0], torch.ones_like(mu))
    torch.testing.assert_close(grads[1], (z - mu).detach() / 2)


def test_a_generator_makes_samples_repeatable_and_leaves_the_default_one_alone():
    mu, log_variance = moments()
    state = torch.get_rng_state()
    first, second = (sample_normal(mu, log_variance, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(sample_normal(mu, log_variance, torch.Generator().manual_seed(4)), first)


def test_splitting_takes_the_columns_apart():
    mu, log_variance = moments()
    found = split_normal(torch.cat([mu, log_variance], dim=1))
    assert all(torch.equal(one, other) for one, other in zip(found, (mu, log_variance), strict=True))


@pytest.mark.parametrize("packed", [torch.zeros(3, 5), torch.zeros(4), torch.zeros(3, 4).long(), torch.zeros(3, 0)])
def test_what_is_not_packed_is_named(packed):
    with pytest.raises(ValueError, match=r"codes must be \[mu \| log-variance\], floating point of shape \(N, 2 Z\)"):
        split_normal(packed, "codes")
