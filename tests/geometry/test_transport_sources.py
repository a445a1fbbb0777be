from __future__ import annotations

import math

import pytest
import torch

from pml_proxyext.geometry import StandardNormal, UniformBox

SOURCES = [UniformBox([-1.0, 2.0], [3.0, 2.5]), UniformBox.unit(3), StandardNormal(2)]
LINES = [UniformBox([-1.0], [3.0]), StandardNormal(1)]


@pytest.mark.parametrize("source", SOURCES, ids=repr)
def test_moments_are_those_of_samples(source):
    """200000 draws; five standard errors, a false alarm in 1e-6."""
    draws = source.sample(200_000, torch.Generator().manual_seed(0))
    assert draws.shape == (200_000, source.dim)
    assert draws.dtype == torch.float64
    error = 5 / math.sqrt(len(draws))
    torch.testing.assert_close(draws.mean(0), source.mean, rtol=0, atol=error * draws.std().item())
    squares = draws.square().sum(1)
    assert squares.mean().item() == pytest.approx(source.mean_square, abs=error * squares.std().item())
    variance = draws.var(0).mean().item()
    assert math.sqrt(variance) == pytest.approx(source.spread, rel=0.02)


def test_a_box_is_filled_between_its_corners():
    draws = UniformBox([-1.0, 2.0], [3.0, 2.5]).sample(10_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.min(0).values, torch.tensor([-1, 2.0]).double(), rtol=0, atol=4e-3)
    torch.testing.assert_close(draws.max(0).values, torch.tensor([3, 2.5]).double(), rtol=0, atol=4e-3)
    assert (draws.min(0).values >= torch.tensor([-1.0, 2.0])).all()


@pytest.mark.parametrize("source", LINES, ids=repr)
def test_probabilities_and_partial_means_on_the_line_are_integrals(source):
    probabilities = torch.tensor([0.01, 0.2, 0.5, 0.9], dtype=torch.float64)
    ends = source.quantile(probabilities)
    torch.testing.assert_close(source.probability(ends), probabilities)
    levels = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    points = source.quantile(levels)  # equally likely
    expected = torch.stack([(points * (points < end)).mean() for end in ends])
    infinity = torch.tensor([-torch.inf, torch.inf], dtype=torch.float64)
    below = source.mean_below(ends) - source.mean_below(infinity[0])
    torch.testing.assert_close(below, expected, rtol=0, atol=1e-4)
    assert source.probability(infinity).tolist() == [0, 1]
    assert (source.mean_below(infinity[1]) - source.mean_below(infinity[0])).item() == pytest.approx(source.mean.item())


def test_draws_follow_the_generator_and_leave_the_default_one_alone():
    for source in SOURCES:
        state = torch.get_rng_state()
        first, second = (source.sample(5, torch.Generator().manual_seed(7)) for _ in range(2))
        assert torch.equal(first, second)
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        ([], [], "low and high must have one number for each coordinate, got 0 and 0"),
        ([0.0], [1.0, 2.0], "low and high must have one number for each coordinate, got 1 and 2"),
        ([0.0, 1.0], [1.0, 1.0], r"high\[1\] must be a finite number > 1, got 1.0"),
        ([0.0, math.nan], [1.0, 1.0], r"low\[1\] must be a finite number, got nan"),
    ],
)
def test_unfit_boxes_are_named(low, high, message):
    with pytest.raises(ValueError, match=message):
        UniformBox(low, high)


def test_no_dimension_is_named():
    for make in (StandardNormal, UniformBox.unit):
        with pytest.raises(ValueError, match="dim must be an integer >= 1, got 0"):
            make(0)
