"""The sampler's law, its gradients, and its behaviour at the edges.

Statistical tests have fixed seeds. Each states the chance with which another seed would raise a false alarm.
"""

import math

import mpmath
import pytest
import torch
from scipy import stats
from torch.nn.functional import normalize

from pml_proxyext.distributions import bessel_ratio, sample_polar_angles, sample_vmf, vmf_mean_factor

KAPPAS = [0.1, 1.0, 8.0, 11.0, 50.0, 300.0, 1e4]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drops(angles):
    """Return one minus the cosine, in float64 and without cancellation."""
    return 2 * torch.sin(angles.double() / 2).square()


def z_scores(samples, expected):
    return (samples.mean(0) - expected) / (samples.std(0) / math.sqrt(len(samples)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("dim", [2, 3, 8, 64, 128, 512, 2048])
def test_mean_cosine_is_the_bessel_ratio_within_four_standard_errors(dim, dtype):
    # False alarm: 49 cells beyond 4 standard errors with chance 6.3e-5 each, 0.3 % for each dtype.
    kappa = torch.tensor(KAPPAS, dtype=dtype)
    drop = drops(sample_polar_angles(kappa, dim, (10_000,), generator(dim)))
    assert z_scores(drop, 1 - bessel_ratio(kappa.double(), dim)).abs().max() < 4


def test_rejected_samples_are_drawn_again_until_accepted(monkeypatch):
    # With one proposal a round, a third of the samples needs another. False alarm: 6e-5.
    monkeypatch.setattr("pml_proxyext.distributions.vmf_sampling._ROUNDS", 1)
    kappa = torch.tensor(50.0, dtype=torch.float64)
    drop = drops(sample_polar_angles(kappa, 2, (20_000,), generator(11)))
    assert abs(z_scores(drop, 1 - bessel_ratio(kappa, 2))) < 4


@pytest.mark.parametrize("dim", [2, 3, 8, 64, 512])
def test_second_moment_of_cosine(dim):
    # E[(1 - w)^2] = 2 (1 - A) - (D - 1) A / kappa. False alarm: 35 cells, 0.2 %.
    kappa = torch.tensor(KAPPAS, dtype=torch.float64)
    drop = drops(sample_polar_angles(kappa, dim, (10_000,), generator(100 + dim)))
    expected = 2 * (1 - bessel_ratio(kappa, dim)) - (dim - 1) * vmf_mean_factor(kappa**2, dim)
    assert z_scores(drop.square(), expected).abs().max() < 4


@pytest.mark.parametrize("dim", [2, 3, 8, 64])
def test_zero_concentration_has_the_beta_law_of_uniform_directions(dim):
    # Kolmogorov-Smirnov; false alarm: 4 x 1e-4.
    angles = sample_polar_angles(torch.zeros((), dtype=torch.float64), dim, (20_000,), generator(dim))
    law = stats.beta((dim - 1) / 2, (dim - 1) / 2)
    assert stats.kstest(torch.sin(angles / 2).square().numpy(), law.cdf).pvalue > 1e-4


@pytest.mark.parametrize("kappa", [0.5, 5.0, 200.0])
def test_laws_on_the_circle_and_the_sphere(kappa):
    # Kolmogorov-Smirnov against scipy's von Mises law and the closed form for D = 3; false alarm: 6 x 1e-4.
    concentration = torch.tensor(kappa, dtype=torch.float64)
    on_circle = sample_polar_angles(concentration, 2, (20_000,), generator(1)).numpy()
    assert stats.kstest(on_circle, lambda t: 2 * stats.vonmises(kappa).cdf(t) - 1).pvalue > 1e-4
    on_sphere = drops(sample_polar_angles(concentration, 3, (20_000,), generator(2)))
    survival = torch.expm1(-kappa * on_sphere) / math.expm1(-2 * kappa)  # of the cosine, uniform in [0, 1]
    assert stats.kstest(survival.numpy(), "uniform").pvalue > 1e-4


def slope_by_quadrature(dim, kappa, angle):
    """Return the derivative of a quantile in the concentration from 25 digits of quadrature of its definition."""
    with mpmath.workdps(25):
        k, end = mpmath.mpf(kappa), mpmath.mpf(angle)
        ratio = mpmath.besseli(mpmath.mpf(dim) / 2, k) / mpmath.besseli(mpmath.mpf(dim) / 2 - 1, k)

        def integrand(t):
            density = (mpmath.sin(t) / mpmath.sin(end)) ** (dim - 2) * mpmath.exp(k * (mpmath.cos(t) - mpmath.cos(end)))
            return (mpmath.cos(t) - ratio) * density

        width = 1 / mpmath.sqrt(k + dim)
        nodes = {min(max(end - j * width, mpmath.mpf(0)), end) for j in range(13)}
        return -float(mpmath.quad(integrand, sorted(nodes | {mpmath.mpf(0)})))


@pytest.mark.parametrize(("dim", "kappa"), [(2, 0.1), (2, 300.0), (3, 8.0), (8, 50.0), (64, 1e3), (512, 11.0)])
def test_implicit_gradient_is_the_derivative_of_the_quantile(dim, kappa):
    concentration = torch.full((200,), kappa, dtype=torch.float64, requires_grad=True)
    angles = sample_polar_angles(concentration, dim, (), generator(3))
    (slopes,) = torch.autograd.grad(angles.sum(), concentration)
    order = angles.detach().argsort()[[0, 20, 100, 180, 199]]  # both tails and the middle
    expected = [slope_by_quadrature(dim, kappa, angles[i].item()) for i in order]
    torch.testing.assert_close(slopes[order].tolist(), expected, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("kappa", [1e-3, 2.0, 100.0, 1e5])
def test_implicit_gradient_has_the_closed_form_of_dimension_three(kappa):
    concentration = torch.full((1000,), kappa, dtype=torch.float64, requires_grad=True)
    angles = sample_polar_angles(concentration, 3, (), generator(4))
    (slopes,) = torch.autograd.grad(angles.sum(), concentration)
    drop = drops(angles.detach())
    level = torch.expm1(-kappa * drop) / math.expm1(-2 * kappa)  # the probability of a larger cosine
    quantile = -torch.log1p(level * torch.expm1(-2 * concentration)) / concentration
    (expected,) = torch.autograd.grad(quantile.sum(), concentration)
    # Where level is near 1 the closed form itself loses digits.
    good = level < 0.9
    torch.testing.assert_close((slopes * angles.detach().sin())[good], expected[good], rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize("kappa", [0.0, 0.5, 20.0, 1e3])
@pytest.mark.parametrize("dim", [2, 3, 16, 256])
def test_sampled_gradients_of_moments_match_the_moments_derivatives(dim, kappa):
    # d E[w] = A' and d E[w^2] = -(D - 1) (A / kappa)'. False alarm: 32 z-scores beyond 4.5, 0.02 %.
    concentration = torch.full((20_000,), kappa, dtype=torch.float64, requires_grad=True)
    cosine = sample_polar_angles(concentration, dim, (), generator(dim)).cos()
    for power in (1, 2):
        (slopes,) = torch.autograd.grad(cosine.pow(power).sum(), concentration, retain_graph=True)
        exact = torch.tensor(kappa, dtype=torch.float64, requires_grad=True)
        moment = bessel_ratio(exact, dim) if power == 1 else -(dim - 1) * vmf_mean_factor(exact**2, dim)
        (expected,) = torch.autograd.grad(moment, exact)
        # Both vanish with kappa for the square; on the circle at 0 the slope has no spread beyond rounding.
        assert abs(slopes.mean() - expected) < 4.5 * slopes.std() / math.sqrt(len(slopes)) + 1e-12


@pytest.mark.parametrize("kappa", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("dim", [2, 3, 64])
def test_gradients_are_finite_in_float32(dim, kappa):
    concentration = torch.full((40_000,), kappa, requires_grad=True)
    angles = sample_polar_angles(concentration, dim, (), generator(5))
    (slopes,) = torch.autograd.grad(angles.sum(), concentration)
    assert slopes.isfinite().all()
    assert ((angles >= 0) & (angles <= math.pi + 1e-6)).all()


@pytest.mark.parametrize("dim", [2, 8, 512])
def test_samples_have_unit_length_in_float64(dim):
    loc = normalize(torch.randn(500, dim, dtype=torch.float64, generator=generator(6)), dim=1)
    kappa = torch.logspace(-2, 6, 500, dtype=torch.float64)
    samples = sample_vmf(loc, kappa, 4, generator(7))
    assert samples.shape == (4, 500, dim)
    assert (torch.linalg.vector_norm(samples, dim=-1) - 1).abs().max() < 1e-15


@pytest.mark.parametrize(("dim", "kappa"), [(2, 3.0), (3, 1.0), (5, 20.0)])
def test_first_and_second_moments_of_samples(dim, kappa):
    # E[z] = A mu; E[z z'] = (A / k) I + (1 - D A / k) mu mu'. False alarm: at most 55 z-scores beyond 4.5, 0.04 %.
    loc = normalize(torch.arange(1.0, dim + 1, dtype=torch.float64), dim=0)
    samples = sample_vmf(loc, torch.tensor(kappa, dtype=torch.float64), 40_000, generator(8))
    factor = vmf_mean_factor(torch.tensor(kappa**2, dtype=torch.float64), dim)
    second = factor * torch.eye(dim) + (1 - dim * factor) * torch.outer(loc, loc)
    assert z_scores(samples, factor * kappa * loc).abs().max() < 4.5
    assert z_scores(samples[:, :, None] * samples[:, None, :], second).abs().max() < 4.5


@pytest.mark.parametrize(("dim", "kappa"), [(2, 3.0), (4, 0.5), (4, 30.0)])
def test_sampled_gradient_in_the_mean_direction(dim, kappa):
    # E[c z] = A c mu and E[(c z)^2] = ... + (1 - D A / k) (c mu)^2: their tangential gradients in mu.
    # False alarm: at most 24 z-scores beyond 4.5, 0.02 %.
    mean = normalize(torch.linspace(-1, 2, dim, dtype=torch.float64), dim=0)
    loc = mean.repeat(20_000, 1).requires_grad_()
    projection = torch.linspace(1, 2, dim, dtype=torch.float64)
    cosine = sample_vmf(loc, torch.tensor(kappa, dtype=torch.float64), 1, generator(9))[0] @ projection
    factor = vmf_mean_factor(torch.tensor(kappa**2, dtype=torch.float64), dim)
    slopes = {1: factor * kappa, 2: 2 * (1 - dim * factor) * (projection @ mean)}
    tangent = projection - (projection @ mean) * mean
    for power, slope in slopes.items():
        (gradient,) = torch.autograd.grad(cosine.pow(power).sum(), loc, retain_graph=True)
        gradient = gradient - (gradient @ mean)[:, None] * mean
        assert z_scores(gradient, slope * tangent).abs().max() < 4.5


def test_generator_alone_decides():
    loc, kappa = torch.eye(3), torch.tensor([0.0, 5.0, 500.0])
    state = torch.get_rng_state()
    first, second = sample_vmf(loc, kappa, 3, generator(1)), sample_vmf(loc, kappa, 3, generator(1))
    assert torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first, sample_vmf(loc, kappa, 3, generator(2)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_its_dtype_and_the_masters_theirs(dtype):
    loc = torch.eye(4, dtype=dtype)
    kappa = torch.full((4,), 30.0, requires_grad=True)
    samples = sample_vmf(loc, kappa, 6, generator())
    assert samples.dtype == dtype
    samples.float().sum().backward()
    assert kappa.grad.dtype == torch.float32
    assert kappa.grad.isfinite().all()
    assert sample_polar_angles(kappa.detach().to(dtype), 4, (), generator()).dtype == torch.float32


def test_compiles_into_one_graph_with_the_right_law():
    compiled = torch.compile(lambda k: sample_vmf(torch.eye(2)[:1], k, 20_000), fullgraph=True, backend="aot_eager")
    kappa = torch.tensor([50.0], requires_grad=True)
    torch.manual_seed(0)
    samples = compiled(kappa)
    samples[..., 0].mean().backward()
    # On the circle a third of the proposals is rejected. False alarm: two z-scores beyond 4, 0.01 %.
    assert z_scores(1 - samples[:, 0, 0].double().detach(), 1 - bessel_ratio(kappa.detach().double(), 2)).abs() < 4
    exact = kappa.detach().double().requires_grad_()
    (slope,) = torch.autograd.grad(bessel_ratio(exact, 2), exact)
    assert kappa.grad.item() == pytest.approx(slope.item(), rel=4 * math.sqrt(2 / 20_000))  # the slopes spread as w - 1


def test_edges_come_back_and_nan_stays_visible():
    kappa = torch.tensor([math.nan, 0.0, 1e12])
    angles = sample_polar_angles(kappa, 16, (5,), generator())
    assert angles.isnan().any(0).tolist() == [True, False, False]
    assert angles[:, 2].max() < 1e-4
    assert sample_vmf(torch.eye(3), torch.ones(3), 0).shape == (0, 3, 3)
    assert sample_vmf(torch.zeros(0, 3), torch.ones(0), 2).shape == (2, 0, 3)


def test_invalid_arguments_are_refused():
    with pytest.raises(ValueError, match=r"dim must be an integer >= 2, got 1"):
        sample_polar_angles(torch.ones(1), 1)
    with pytest.raises(ValueError, match=r"n_samples must be an integer >= 0, got 2.5"):
        sample_vmf(torch.eye(2), torch.ones(2), 2.5)
