"""The non-isotropic density integrates to one, and its samples follow it."""

import math

import pytest
import torch
from scipy import stats
from torch.nn.functional import normalize

from pml_proxyext.distributions import NonIsotropicVonMisesFisher, VonMisesFisher, log_sphere_area

SPREADS = {3: [6.0, 2.0, 0.7], 8: [5.0, 3.0, 2.0, 4.0, 1.0, 2.5, 1.5, 3.5]}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def directions(*shape, seed=0):
    return normalize(torch.randn(*shape, generator=generator(seed), dtype=torch.float64), dim=-1)


def nivmf_of(dim, isotropic=False):
    concentration = torch.full((dim,), 3.0) if isotropic else torch.tensor(SPREADS[dim])
    return NonIsotropicVonMisesFisher(directions(dim, seed=1), concentration.double())


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("dim", [3, 8])
def test_density_integrates_to_one_by_monte_carlo(dim, isotropic):
    # False alarm: 4 z-scores beyond 4, 0.03 %. The standard errors are 1 % or less.
    values = directions(400_000, dim, seed=2)
    densities = torch.exp(nivmf_of(dim, isotropic).log_prob(values) + log_sphere_area(dim))
    error = (densities.std() / math.sqrt(len(values))).item()
    assert error < 0.01
    assert abs(densities.mean().item() - 1) < 4 * error


@pytest.mark.parametrize("concentration", [[9.0, 2.0], [0.3, 5.0], [40.0, 30.0]])
def test_density_on_the_circle_integrates_to_one_exactly(concentration):
    turn = torch.arange(4000, dtype=torch.float64) * (2 * math.pi / 4000)
    values = torch.stack([turn.cos(), turn.sin()], dim=1)
    nivmf = NonIsotropicVonMisesFisher(directions(2), torch.tensor(concentration, dtype=torch.float64))
    assert nivmf.log_prob(values).exp().mean().item() * 2 * math.pi == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("scale", [0.01, 1.0, 20.0, 1e3])
@pytest.mark.parametrize("dim", [2, 3, 64, 512])
def test_equal_concentrations_give_von_mises_fisher(dim, scale):
    loc, values = directions(5, dim), directions(5, dim, seed=1)
    vmf = VonMisesFisher(loc, torch.tensor(scale, dtype=torch.float64))
    nivmf = NonIsotropicVonMisesFisher(loc, torch.full((dim,), scale, dtype=torch.float64))
    torch.testing.assert_close(nivmf.log_prob(values), vmf.log_prob(values), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(nivmf.sample((3,), generator(4)), vmf.sample((3,), generator(4)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("concentration", [[9.0, 2.0], [0.3, 5.0], [40.0, 30.0]])
def test_samples_on_the_circle_follow_the_density(concentration):
    # Kolmogorov-Smirnov against the integral of the density; false alarm: 3 x 1e-4.
    nivmf = NonIsotropicVonMisesFisher(directions(2), torch.tensor(concentration, dtype=torch.float64))
    turn = torch.linspace(-math.pi, math.pi, 20_001, dtype=torch.float64)
    density = nivmf.log_prob(torch.stack([turn.cos(), turn.sin()], dim=1)).exp()
    distribution = torch.cumulative_trapezoid(density, turn)
    samples = nivmf.sample((20_000,), generator(3))
    angles = torch.atan2(samples[:, 1], samples[:, 0])
    level = distribution[torch.searchsorted(turn, angles).clamp(1, 20_000) - 1]
    assert stats.kstest(level.numpy(), "uniform").pvalue > 1e-4


@pytest.mark.parametrize("dim", [3, 8])
def test_moments_of_samples_match_moments_weighted_by_the_density(dim):
    # Two independent estimates of E[z_d] and E[z_d^2]. False alarm: 22 z-scores beyond 4.5, 0.02 %.
    nivmf = nivmf_of(dim)
    values, samples = directions(400_000, dim, seed=5), nivmf.sample((100_000,), generator(6))
    weights = torch.exp(nivmf.log_prob(values) + log_sphere_area(dim))[:, None]
    for power in (1, 2):
        weighted, drawn = weights * values**power, samples**power
        error = torch.sqrt(weighted.var(0) / len(weighted) + drawn.var(0) / len(drawn))
        assert ((weighted.mean(0) - drawn.mean(0)).abs() < 4.5 * error).all()


def test_sampled_gradients_match_those_of_the_integral():
    # d/dk and the tangential d/dmu of E[z_0 + z_1^2] on the circle. False alarm: 3 z-scores beyond 4.5, 2e-5.
    loc = torch.tensor([0.6, 0.8], dtype=torch.float64)
    k = torch.tensor([4.0, 1.5], dtype=torch.float64, requires_grad=True)
    phase = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def turned(phase):
        return torch.stack([0.6 * phase.cos() - 0.8 * phase.sin(), 0.8 * phase.cos() + 0.6 * phase.sin()], dim=-1)

    turn = torch.arange(4000, dtype=torch.float64) * (2 * math.pi / 4000)
    values = torch.stack([turn.cos(), turn.sin()], dim=1)
    density = NonIsotropicVonMisesFisher(turned(phase), k).log_prob(values).exp() * (2 * math.pi / 4000)
    expected = torch.autograd.grad((density * (values[:, 0] + values[:, 1] ** 2)).sum(), [k, phase])

    many_k = k.detach().repeat(40_000, 1).requires_grad_()
    many_phases = torch.zeros(40_000, dtype=torch.float64, requires_grad=True)
    samples = NonIsotropicVonMisesFisher(turned(many_phases), many_k).rsample((), generator(7))
    slopes = torch.autograd.grad((samples[:, 0] + samples[:, 1] ** 2).sum(), [many_k, many_phases])
    assert torch.equal(turned(phase.detach()), loc)
    for slope, exact in zip(slopes, expected, strict=True):
        assert ((slope.mean(0) - exact).abs() < 4.5 * slope.std(0) / math.sqrt(len(slope))).all()


def test_shapes_broadcast_and_expand():
    nivmf = NonIsotropicVonMisesFisher(directions(4, 1, 5), torch.ones(3, 5, dtype=torch.float64))
    assert (nivmf.batch_shape, nivmf.event_shape) == ((4, 3), (5,))
    assert nivmf.rsample((2,)).shape == (2, 4, 3, 5)
    wide = nivmf.expand((7, 4, 3))
    assert isinstance(wide, NonIsotropicVonMisesFisher)
    assert wide.log_prob(directions(5)).shape == (7, 4, 3)
    assert bool(nivmf.support.check(nivmf.sample((50,))).all())


def test_what_has_no_closed_form_is_not_implemented():
    nivmf = nivmf_of(3)
    with pytest.raises(NotImplementedError):
        nivmf.entropy()
    with pytest.raises(NotImplementedError):
        _ = nivmf.mean
    with pytest.raises(NotImplementedError):
        torch.distributions.kl_divergence(nivmf, nivmf)


@pytest.mark.parametrize(
    ("loc", "concentration", "message"),
    [
        (torch.ones(3), torch.ones(3), "loc"),
        (torch.eye(3), torch.tensor([1.0, 0.0, 1.0]), "concentration"),
        (torch.eye(3), torch.ones(3, 1), r"concentration must have one value for each of the 3 coordinates"),
        (torch.ones(1), torch.ones(1), r"loc must have shape \(\.\.\., D\) with D >= 2"),
    ],
)
def test_invalid_arguments_are_refused(loc, concentration, message):
    with pytest.raises(ValueError, match=message):
        NonIsotropicVonMisesFisher(loc, concentration, validate_args=True)


def test_float32_and_half_precision_are_finite_in_high_dimension():
    loc = directions(4, 512).float()
    k = torch.full((4, 512), 20.0, requires_grad=True)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        nivmf = NonIsotropicVonMisesFisher(loc.to(dtype), k)
        samples = nivmf.rsample((2,), generator())
        assert samples.dtype == dtype
        log_prob = nivmf.log_prob(samples)
        assert log_prob.dtype == torch.float32
        (gradient,) = torch.autograd.grad(log_prob.sum(), k)
        assert gradient.isfinite().all()


def test_compiles_into_one_graph_without_validation():
    def objective(loc, k):
        nivmf = NonIsotropicVonMisesFisher(loc, k, validate_args=False)
        return nivmf.log_prob(nivmf.rsample((3,))).sum()

    k = torch.ones(2, 64, requires_grad=True)
    torch.compile(objective, fullgraph=True, backend="aot_eager")(directions(2, 64).float(), k).backward()
    assert k.grad.isfinite().all()
