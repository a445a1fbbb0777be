"""VonMisesFisher against scipy, quadrature and torch's conventions for distributions."""

import math
import pickle

import pytest
import torch
from scipy import stats
from torch.distributions import kl_divergence
from torch.nn.functional import normalize

from pml_proxyext.distributions import VonMisesFisher, log_sphere_area


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def directions(*shape, seed=0, dtype=torch.float64):
    return normalize(torch.randn(*shape, generator=generator(seed), dtype=dtype), dim=-1)


@pytest.mark.parametrize("kappa", [0.3, 7.0, 90.0])
@pytest.mark.parametrize("dim", [2, 3, 10])
def test_log_prob_and_entropy_agree_with_scipy(dim, kappa):
    loc, values = directions(dim), directions(20, dim, seed=1)
    vmf = VonMisesFisher(loc, torch.tensor(kappa, dtype=torch.float64))
    witness = stats.vonmises_fisher(loc.numpy(), kappa)
    torch.testing.assert_close(
        vmf.log_prob(values), torch.from_numpy(witness.logpdf(values.numpy())), rtol=1e-9, atol=1e-9
    )
    assert vmf.entropy().item() == pytest.approx(witness.entropy(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("kappa", [0.0, 2.0, 500.0])
@pytest.mark.parametrize("dim", [2, 3, 8, 200])
def test_density_integrates_to_one_over_polar_angles(dim, kappa):
    # The area of the sphere at angle t is that of the sphere one dimension lower, times sin(t)^(dim - 2).
    angle = torch.linspace(0, math.pi, 20_001, dtype=torch.float64)
    values = torch.zeros(len(angle), dim, dtype=torch.float64)
    values[:, 0], values[:, 1] = angle.cos(), angle.sin()
    loc = torch.eye(dim, dtype=torch.float64)[0]
    log_prob = VonMisesFisher(loc, torch.tensor(kappa, dtype=torch.float64)).log_prob(values)
    log_area = log_sphere_area(dim - 1) if dim > 2 else math.log(2)
    integrand = torch.exp(log_prob + log_area) * angle.sin() ** (dim - 2)
    assert torch.trapezoid(integrand, angle).item() == pytest.approx(1, abs=2e-6)
    mean = torch.trapezoid(integrand * angle.cos(), angle).item()
    assert mean == pytest.approx(VonMisesFisher(loc, torch.tensor(kappa, dtype=torch.float64)).mean[0].item(), abs=2e-6)


def test_kl_divergence_matches_the_mean_log_ratio_and_vanishes_for_equals():
    # E_p[log p - log q] is linear in z, so the mean vector gives it exactly.
    p = VonMisesFisher(directions(6, 5), torch.tensor([0.0, 0.5, 3.0, 20.0, 100.0, 1e3], dtype=torch.float64))
    q = VonMisesFisher(directions(6, 5, seed=1), torch.tensor([4.0, 0.0, 3.0, 50.0, 1.0, 2e3], dtype=torch.float64))
    samples = p.sample((20_000,), generator())
    ratios = p.log_prob(samples) - q.log_prob(samples)
    divergence = kl_divergence(p, q)
    assert (divergence > 0).all()
    # False alarm: 6 z-scores beyond 4.5, 4e-5.
    assert ((ratios.mean(0) - divergence).abs() < 4.5 * ratios.std(0) / math.sqrt(20_000) + 1e-12).all()
    torch.testing.assert_close(kl_divergence(p, p), torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-11)
    uniform = VonMisesFisher(q.loc, torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(kl_divergence(p, uniform), log_sphere_area(5) - p.entropy())


def test_kl_divergence_of_different_dimensions_is_refused():
    p, q = (VonMisesFisher(torch.eye(dim)[0], torch.tensor(1.0)) for dim in (3, 4))
    with pytest.raises(ValueError, match=r"q must have event_shape \(3,\) as p has, got \(4,\)"):
        kl_divergence(p, q)


def test_entropy_falls_with_concentration_at_the_rate_of_its_gradient():
    # d/dk [-log C - k A] = -k A', which an independent formula of A' gives.
    kappa = torch.tensor([1e-3, 1.0, 30.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(VonMisesFisher(torch.eye(3, dtype=torch.float64), kappa).entropy().sum(), kappa)
    variance = 1 / kappa**2 - 1 / torch.sinh(kappa) ** 2  # A' for D = 3
    torch.testing.assert_close(slope, -kappa * variance, rtol=1e-8, atol=1e-12)


def test_shapes_broadcast_and_expand():
    vmf = VonMisesFisher(directions(4, 1, 5), torch.ones(3))
    assert (vmf.batch_shape, vmf.event_shape) == ((4, 3), (5,))
    assert vmf.sample((2, 6)).shape == (2, 6, 4, 3, 5)
    assert vmf.sample().shape == (4, 3, 5)
    assert vmf.log_prob(directions(5)).shape == (4, 3)
    assert vmf.entropy().shape == (4, 3)
    assert vmf.mean.shape == vmf.mode.shape == (4, 3, 5)
    wide = vmf.expand((7, 4, 3))
    assert isinstance(wide, VonMisesFisher)
    assert wide.rsample(generator=generator()).shape == (7, 4, 3, 5)
    torch.testing.assert_close(wide.log_prob(directions(5))[3], vmf.log_prob(directions(5)))
    assert pickle.loads(pickle.dumps(wide)).batch_shape == (7, 4, 3)


def test_rsample_carries_gradients_and_sample_does_not():
    loc, kappa = directions(3, 4).requires_grad_(), torch.ones(3, dtype=torch.float64, requires_grad=True)
    vmf = VonMisesFisher(loc, kappa)
    assert not vmf.sample((2,), generator()).requires_grad
    vmf.rsample((2,), generator())[..., 0].sum().backward()
    assert loc.grad.abs().min() > 0
    assert kappa.grad.abs().min() > 0
    assert torch.equal(vmf.sample((2,), generator(5)), vmf.rsample((2,), generator(5)).detach())


def test_samples_find_their_parameters_again():
    # The mean of unit vectors is A mu. False alarm: 8 z-scores beyond 4.5, 5e-5.
    vmf = VonMisesFisher(directions(8), torch.tensor(12.0, dtype=torch.float64))
    samples = vmf.sample((20_000,), generator(1))
    assert ((samples.mean(0) - vmf.mean).abs() < 4.5 * samples.std(0) / math.sqrt(20_000)).all()
    assert bool(vmf.support.check(samples).all())


def test_invalid_arguments_and_values_are_refused():
    with pytest.raises(ValueError, match="loc"):
        VonMisesFisher(torch.ones(3), torch.tensor(1.0), validate_args=True)
    with pytest.raises(ValueError, match="concentration"):
        VonMisesFisher(torch.eye(3), torch.tensor(-1.0), validate_args=True)
    with pytest.raises(ValueError, match=r"loc must have shape \(\.\.\., D\) with D >= 2, got shape \(3, 1\)"):
        VonMisesFisher(torch.ones(3, 1), torch.tensor(1.0))
    with pytest.raises(ValueError, match="value"):
        VonMisesFisher(torch.eye(3), torch.tensor(1.0), validate_args=True).log_prob(torch.ones(3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_dtypes_of_results(dtype):
    vmf = VonMisesFisher(directions(4, 64, dtype=torch.float32).to(dtype), torch.full((4,), 40.0))
    assert vmf.sample(generator=generator()).dtype == dtype
    assert vmf.log_prob(vmf.loc).dtype == vmf.entropy().dtype == vmf.mean.dtype == torch.float32
    exact = VonMisesFisher(vmf.loc.double(), vmf.concentration.double(), validate_args=False)
    torch.testing.assert_close(vmf.log_prob(vmf.loc).double(), exact.log_prob(vmf.loc.double()), rtol=1e-5, atol=1e-4)


def test_compiles_into_one_graph_without_validation():
    def objective(loc, kappa):
        vmf = VonMisesFisher(loc, kappa, validate_args=False)
        return vmf.log_prob(vmf.rsample((3,))).sum()

    kappa = torch.tensor([1.0, 5.0], requires_grad=True)
    torch.compile(objective, fullgraph=True, backend="aot_eager")(
        directions(2, 64, dtype=torch.float32), kappa
    ).backward()
    assert kappa.grad.isfinite().all()
