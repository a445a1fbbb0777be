"""Critics that learn the information between Gaussians: their form, their groups of candidates, and what they reach."""

from __future__ import annotations

import pytest
import torch

from pml_proxyext.benchmark.gaussian_information import GaussianViews, decomposed_estimates, mean_and_error
from pml_proxyext.benchmark.learned_information import CRITICS, QuadraticCritic, learned_estimates, split_groups


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("candidates", [2, 3, 6])
def test_groups_are_those_of_a_loop(candidates):
    scores = torch.randn(6, 6, generator=generator())
    positive, negatives = split_groups(scores, candidates)
    assert positive.tolist() == [scores[i, i] for i in range(6)]
    for i in range(6):
        first = i // candidates * candidates
        assert negatives[i].tolist() == [scores[i, j] for j in range(first, first + candidates) if j != i]


def test_the_quadratic_critic_can_be_the_best_one_up_to_functions_of_x():
    views = GaussianViews(6.0, 3)
    critic = QuadraticCritic(6, 3)
    a, b, y = views.draw(5, generator())
    x = torch.cat([a, b], dim=1)
    assert not critic(x, y).any()
    with torch.no_grad():
        weights = torch.cat([views.weight_a * torch.eye(3), views.weight_b * torch.eye(3)])
        critic.bilinear.copy_(weights / views.noise)
        critic.quadratic.fill_(0.5 - 0.5 / views.noise)
    difference = critic(x, y) - sum(views.log_ratios(a, b, y))
    torch.testing.assert_close(difference, difference[:, :1].expand(-1, 5), rtol=0, atol=1e-4)
    torch.testing.assert_close(critic.aligned(x, y), critic(x, y).diagonal())


@pytest.mark.parametrize("kind", CRITICS)
def test_learned_critics_come_near_the_best_ones_and_follow_the_generator(kind):
    """A tenth of a nat is four standard errors of the evaluation, and what is not learned in so few steps."""
    views, candidates = GaussianViews(2.0, 4), 8
    state = torch.random.get_rng_state()
    lr = 5e-2 if kind == "quad" else 5e-3
    found = learned_estimates(kind, views, candidates, 150, lr, generator(1), rows=64)
    best = mean_and_error(decomposed_estimates(views, candidates, 100, generator(2)))
    assert found["infonce_sub"] == pytest.approx(best["infonce_sub"], abs=0.1)
    assert found["infonce_direct"] == pytest.approx(best["infonce_direct"], abs=0.1)
    assert found["boosted_total"] == pytest.approx(best["infonce_direct"], abs=0.1)
    assert found["importance_boosted"] == pytest.approx(best["cnce_importance"], abs=0.1)
    # The critic that is trained on the estimate drives it up.
    assert found["importance_importance"] > found["importance_boosted"] + 0.05
    assert found["sum_boosted"] == pytest.approx(found["infonce_sub"] + found["importance_boosted"], abs=1e-6)
    assert found["sum_importance"] == pytest.approx(found["infonce_sub"] + found["importance_importance"], abs=1e-6)
    assert torch.equal(torch.random.get_rng_state(), state)
    few = [learned_estimates(kind, views, 4, 3, 1e-2, generator(1), rows=8, held_out=2) for _ in range(2)]
    assert few[0] == few[1]


def test_unknown_critics_are_refused():
    with pytest.raises(ValueError, match="kind must be one of 'quad', 'mlp', got 'cube'"):
        learned_estimates("cube", GaussianViews(1.0), 4, 1, 1e-2, generator())
