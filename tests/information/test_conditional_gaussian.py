"""What the conditional Gaussian has beyond other critics: precision far out, a likelihood, and draws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pml_proxyext.information.conditional_gaussian import ConditionalGaussian

X_SIZE, Y_SIZE = 5, 3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def test_far_from_the_origin_gaussian_scores_keep_their_precision():
    critic = ConditionalGaussian(X_SIZE, Y_SIZE, (6,), generator=generator())
    x, y = normal(5, X_SIZE), normal(4, Y_SIZE, seed=1) + 1000
    with torch.no_grad():
        critic.network[2].bias[:Y_SIZE] += 1000
    torch.testing.assert_close(critic(x.float(), y.float()).double(), critic(x, y), rtol=1e-3, atol=1e-2)


def test_gaussian_density_agrees_with_its_distribution_and_its_loss():
    critic = ConditionalGaussian(X_SIZE, Y_SIZE, generator=generator())
    x, y = normal(6, X_SIZE), normal(6, Y_SIZE, seed=1)
    log_prob = critic.distribution(x).log_prob(y)
    torch.testing.assert_close(critic(x, y).diagonal(), log_prob)
    torch.testing.assert_close(critic.loss(x, y), -log_prob.mean())
    assert critic.loss(x[:0], y[:0]) == 0
    # Log-variances are bounded, however far the network goes.
    spread = critic.distribution(1e6 * x).variance
    assert spread.min() >= math.exp(-5) * (1 - 1e-9)
    assert spread.max() <= math.exp(5) * (1 + 1e-9)
    assert spread.max() / spread.min() > math.exp(9)


def test_maximum_likelihood_finds_a_linear_gaussian():
    """y = 2 x + 0.5 noise: 400 steps on 512 pairs; the likelihood comes near the entropy of the noise."""
    x = normal(512, 1).float()
    y = 2 * x + 0.5 * normal(512, 1, seed=1).float()
    critic = ConditionalGaussian(1, 1, (16,), generator=generator(2))
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    before = critic.loss(x, y).item()
    for _ in range(400):
        optimizer.zero_grad()
        critic.loss(x, y).backward()
        optimizer.step()
    entropy = 0.5 * math.log(2 * math.pi * math.e * 0.25)
    assert before > 1.5
    assert critic.loss(x, y).item() == pytest.approx(entropy, abs=0.08)
    assert critic.distribution(torch.ones(1, 1)).mean.item() == pytest.approx(2.0, abs=0.15)


def test_samples_have_the_moments_of_the_distribution():
    """Means and variances over 40,000 draws within 5 standard errors: off once in 10^5 seeds (12 comparisons)."""
    critic, x, draws = ConditionalGaussian(X_SIZE, Y_SIZE, generator=generator()), normal(2, X_SIZE), 40_000
    samples = critic.sample(x, draws, generator(1))
    assert samples.shape == (2, draws, Y_SIZE)
    assert not samples.requires_grad
    q = critic.distribution(x)
    assert ((samples.mean(1) - q.mean).abs() <= 5 * (q.variance / draws).sqrt()).all()
    assert ((samples.var(1) / q.variance - 1).abs() <= 5 * math.sqrt(2 / draws)).all()
    assert torch.equal(samples, critic.sample(x, draws, generator(1)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ConditionalGaussian(3, 3, max_log_variance=0), "max_log_variance must be a finite number > 0, got 0"),
        (lambda: ConditionalGaussian(3, 2).sample(torch.ones(2, 3), 0), "n_samples must be an integer >= 1, got 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
