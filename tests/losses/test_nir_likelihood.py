from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pml_proxyext.losses.nir_likelihood import add_noise, likelihood_loss

NLL = torch.tensor([-200.0, -3.0, 0.0, 2.5, 19.9], dtype=torch.float64)


def test_each_likelihood_is_its_formula():
    losses = [likelihood_loss(NLL, 8, likelihood) for likelihood in ("plain", "softplus", "exp")]
    for nll, plain, soft, exp in zip(NLL, *losses, strict=True):
        assert plain.item() == pytest.approx(nll.item() / 8, rel=1e-14)
        assert soft.item() == pytest.approx(math.log1p(math.exp(nll.item() / 8)), rel=1e-12)
        assert exp.item() == pytest.approx(math.exp(nll.item()), rel=1e-14)


@given(st.floats(20.0, 1e6), st.sampled_from([torch.float32, torch.float64]))
def test_exp_goes_on_as_its_tangent_with_a_gradient(value, dtype):
    nll = torch.tensor(value, dtype=dtype, requires_grad=True)
    loss = likelihood_loss(nll, 8, "exp")
    loss.backward()
    assert loss.item() == pytest.approx(math.exp(20) * (1 + nll.item() - 20), rel=1e-5)
    assert nll.grad.item() == pytest.approx(math.exp(20), rel=1e-5)
    assert nll.grad.square().isfinite()  # Adam needs it


@pytest.mark.parametrize("likelihood", ["plain", "softplus", "exp"])
def test_more_likely_costs_less_and_nan_stays_visible(likelihood):
    losses = likelihood_loss(torch.linspace(-50, 50, 101, dtype=torch.float64), 4, likelihood)
    assert (losses.diff() > 0).all()
    assert likelihood_loss(torch.tensor(math.nan), 4, likelihood).isnan()


def test_softplus_neither_runs_away_nor_overflows():
    nll = torch.tensor([-1e6, 1e6], requires_grad=True)
    losses = likelihood_loss(nll, 4, "softplus")
    losses.sum().backward()
    torch.testing.assert_close(losses, torch.tensor([0.0, 2.5e5]))
    torch.testing.assert_close(nll.grad, torch.tensor([0.0, 0.25]))


@pytest.mark.parametrize("dim", [4, 64])
def test_gaussian_noise_has_its_size_at_any_width(dim):
    """Mean of |noise|^2 over 4000 vectors within 6 standard errors: false alarm below 1e-8."""
    directions = torch.zeros(4000, dim, dtype=torch.float64)
    noise = add_noise(directions, 0.3, "gaussian", torch.Generator().manual_seed(1))
    error = 0.09 * math.sqrt(2 / dim / 4000)
    assert abs(noise.square().sum(1).mean().item() - 0.09) < 6 * error
    assert noise.mean(0).abs().max() < 6 * 0.3 / math.sqrt(dim * 4000)


def test_uniform_noise_is_that_of_the_release():
    directions = torch.eye(3, dtype=torch.float64)
    noisy = add_noise(directions, 0.5, "uniform", torch.Generator().manual_seed(1))
    drawn = torch.rand(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = directions + 0.5 * drawn
    torch.testing.assert_close(noisy, expected / expected.norm(dim=1, keepdim=True))
    assert (noisy >= 0).all()


@pytest.mark.parametrize("distribution", ["gaussian", "uniform"])
def test_noise_comes_from_the_generator_given(distribution):
    directions, state = torch.eye(3), torch.get_rng_state()
    first, second = (add_noise(directions, 0.1, distribution, torch.Generator().manual_seed(2)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, directions)
    assert not torch.equal(add_noise(directions, 0.1, distribution), add_noise(directions, 0.1, distribution))
