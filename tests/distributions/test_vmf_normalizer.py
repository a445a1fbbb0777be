"""The normaliser against mpmath at 40 digits, scipy, closed forms, a public table, and its own calculus."""

import json
import math
from pathlib import Path

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ive

from pml_proxyext.distributions import bessel_ratio, log_sphere_area, log_vmf_normalizer, vmf_log_partition

DIMS = [2, 3, 5, 8, 33, 63, 64, 65, 128, 512, 2048, 4096]
KAPPAS = [1e-6, 1e-3, 0.1, 1.0, 8.0, 50.0, 300.0, 1e4, 1e5]
ROWS = json.loads((Path(__file__).parents[1] / "golden" / "log_cp.json").read_text())["rows"]


def float64(values):
    return torch.tensor(values, dtype=torch.float64)


def exact_values(dim, kappa):
    """Return log C, A, A', 1 - A and log C(0) - log C by mpmath, at the float64 value of kappa."""
    with mpmath.workdps(40):
        k, half = mpmath.mpf(kappa), mpmath.mpf(dim) / 2
        bessel = mpmath.besseli(half - 1, k)
        ratio = mpmath.besseli(half, k) / bessel
        log_c = (half - 1) * mpmath.log(k) - half * mpmath.log(2 * mpmath.pi) - mpmath.log(bessel)
        log_c0 = mpmath.loggamma(half) - mpmath.log(2) - half * mpmath.log(mpmath.pi)
        slope = 1 - ratio**2 - (dim - 1) / k * ratio
        return [float(x) for x in (log_c, ratio, slope, 1 - ratio, log_c0 - log_c)]


def assert_relative(got, expected, tolerance, floor=0.0):
    got, expected = float64(got) if isinstance(got, list) else got, float64(expected)
    error = ((got - expected).abs() / expected.abs().clamp_min(floor)).max().item()
    assert error < tolerance


@pytest.mark.parametrize("dim", DIMS)
def test_values_and_gradients_match_mpmath_to_1e_9(dim):
    log_c, ratio, slope, complement, partition = zip(*(exact_values(dim, k) for k in KAPPAS), strict=True)
    kappa = float64(KAPPAS).requires_grad_()
    value = log_vmf_normalizer(kappa, dim)
    assert_relative(value.detach(), log_c, 1e-9, floor=1.0)  # log C crosses zero: there the error is absolute
    (first,) = torch.autograd.grad(value.sum(), kappa, create_graph=True)
    assert_relative(-first.detach(), ratio, 1e-9)
    (second,) = torch.autograd.grad(first.sum(), kappa)
    assert_relative(-second, slope, 1e-9)
    mean = bessel_ratio(kappa, dim)
    assert_relative(mean.detach(), ratio, 1e-9)
    assert_relative(1 - mean.detach(), complement, 1e-9)
    (mean_slope,) = torch.autograd.grad(mean.sum(), kappa)
    assert_relative(mean_slope, slope, 1e-9)
    assert_relative(vmf_log_partition(kappa.detach().square(), dim), partition, 1e-9)


@pytest.mark.parametrize("dim", sorted({row["p"] for row in ROWS}))
def test_table_is_met_to_1e_9(dim):
    rows = [row for row in ROWS if row["p"] == dim]
    kappa = float64([row["kappa"] for row in rows]).requires_grad_()
    value = log_vmf_normalizer(kappa, dim)
    (slope,) = torch.autograd.grad(value.sum(), kappa, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), kappa)
    assert_relative(value.detach(), [row["log_cp_exact"] for row in rows], 1e-9, floor=1.0)
    assert_relative(slope.detach(), [row["d_log_cp_d_kappa"] for row in rows], 1e-9)
    assert_relative(curvature, [row["d2_log_cp_d_kappa2"] for row in rows], 1e-8)  # the table's own digits


@pytest.mark.parametrize("dim", [2, 7, 64, 200])
def test_scipy_agrees_where_it_does_not_underflow(dim):
    kappa = float64([5.0, 60.0, 700.0, 5e3])
    order = dim / 2 - 1
    log_bessel = float64(ive(order, kappa.numpy())).log() + kappa
    expected = order * kappa.log() - dim / 2 * math.log(2 * math.pi) - log_bessel
    torch.testing.assert_close(log_vmf_normalizer(kappa, dim), expected, rtol=1e-11, atol=1e-11)


def test_dimension_three_has_its_closed_form():
    kappa = torch.linspace(0.01, 30, 50, dtype=torch.float64)
    expected = torch.log(kappa / (4 * math.pi * torch.sinh(kappa)))
    torch.testing.assert_close(log_vmf_normalizer(kappa, 3), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(bessel_ratio(kappa, 3), 1 / torch.tanh(kappa) - 1 / kappa, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dim", [2, 3, 64, 4096])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_zero_concentration_is_uniform_with_finite_gradients(dim, dtype):
    kappa = torch.zeros(1, dtype=dtype, requires_grad=True)
    value = log_vmf_normalizer(kappa, dim)
    assert value.item() == pytest.approx(-log_sphere_area(dim), rel=torch.finfo(dtype).eps * 2)
    (slope,) = torch.autograd.grad(value, kappa, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, kappa)
    assert slope.item() == 0
    assert curvature.item() == pytest.approx(-1 / dim, rel=1e-6)  # the variance of one coordinate of a direction
    assert vmf_log_partition(kappa.detach(), dim).item() == 0


def test_sphere_area_of_low_dimensions():
    assert [log_sphere_area(d) for d in (2, 3, 4)] == pytest.approx(
        [math.log(2 * math.pi), math.log(4 * math.pi), math.log(2 * math.pi**2)], rel=1e-14
    )


@pytest.mark.parametrize("dim", DIMS)
def test_float32_is_accurate_to_its_resolution(dim):
    log_c, ratio, _, _, partition = zip(*(exact_values(dim, k) for k in KAPPAS), strict=True)
    kappa = float64(KAPPAS).float().requires_grad_()
    value = log_vmf_normalizer(kappa, dim)
    assert value.dtype == torch.float32
    (slope,) = torch.autograd.grad(value.sum(), kappa)
    tolerance = 8 * torch.finfo(torch.float32).eps  # also for the rounding of kappa itself
    assert_relative(value.detach().double(), log_c, tolerance, floor=1.0)
    assert_relative(-slope.double(), ratio, tolerance)
    assert_relative(vmf_log_partition(kappa.detach().square(), dim).double(), partition, tolerance)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_computes_and_returns_float32(dtype):
    kappa = torch.tensor([0.0, 3.0, 500.0], dtype=dtype)  # 500^2 exceeds float16
    for function in (log_vmf_normalizer, bessel_ratio):
        assert torch.equal(function(kappa, 512), function(kappa.float(), 512))
        assert function(kappa, 512).dtype == torch.float32
    assert vmf_log_partition(kappa, 512).dtype == torch.float32


@pytest.mark.parametrize("dim", [2, 5, 64, 300])
def test_gradients_of_both_orders_pass_gradcheck(dim):
    kappa = float64([0.0, 0.3, 4.0, 40.0]).requires_grad_()
    assert torch.autograd.gradcheck(lambda k: log_vmf_normalizer(k, dim), kappa)
    assert torch.autograd.gradgradcheck(lambda k: log_vmf_normalizer(k, dim), kappa)
    assert torch.autograd.gradcheck(lambda k: bessel_ratio(k, dim), kappa)


@given(st.integers(2, 600), st.floats(0, 1e5), st.floats(1e-3, 10.0))
def test_normalizer_falls_concavely_with_slope_above_minus_one(dim, kappa, step):
    kappas = float64([kappa, kappa + step, kappa + 2 * step])
    first, second, third = log_vmf_normalizer(kappas, dim).tolist()
    slack = 1e-13 * max(1.0, abs(first), abs(third))
    assert -step - slack <= second - first <= slack
    assert third - second <= second - first + 3 * slack
    ratios = bessel_ratio(kappas, dim)
    assert 0 <= ratios[0] < 1
    assert (ratios.diff() > -1e-15).all()


@given(st.integers(2, 600), st.floats(0.01, 1e4))
def test_ratios_of_neighbouring_dimensions_obey_the_recurrence(dim, kappa):
    k = float64([kappa])
    product = bessel_ratio(k, dim) * (dim / k + bessel_ratio(k, dim + 2))
    assert product.item() == pytest.approx(1, rel=1e-11)


def test_backward_keeps_nothing_but_the_input():
    saved = []
    squared = torch.rand(3, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        vmf_log_partition(squared, 512)
    assert [x.data_ptr() for x in saved] == [squared.data_ptr()]


@pytest.mark.parametrize("dim", [3, 128])
def test_compiles_into_one_graph_and_maps(dim):
    kappa = torch.rand(4, dtype=torch.float64).requires_grad_()
    compiled = torch.compile(
        lambda k: log_vmf_normalizer(k, dim) + bessel_ratio(k, dim), fullgraph=True, backend="aot_eager"
    )
    value, expected = compiled(kappa), log_vmf_normalizer(kappa, dim) + bessel_ratio(kappa, dim)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(
        torch.autograd.grad(value.sum(), kappa)[0], torch.autograd.grad(expected.sum(), kappa)[0]
    )
    mapped = torch.func.vmap(torch.func.grad(lambda k: log_vmf_normalizer(k, dim)))(kappa.detach())
    torch.testing.assert_close(mapped, -bessel_ratio(kappa.detach(), dim))


def test_nan_stays_visible_and_shapes_are_kept():
    value = log_vmf_normalizer(torch.tensor([[1.0, math.nan]]), 16)
    assert value.isnan().tolist() == [[False, True]]
    assert log_vmf_normalizer(torch.zeros(0, 3), 16).shape == (0, 3)
    assert bessel_ratio(torch.tensor(2.0), 16).shape == ()


@pytest.mark.parametrize("dim", [1, 0, 2.5])
def test_invalid_dimension_is_refused(dim):
    for function in (log_vmf_normalizer, bessel_ratio, vmf_log_partition):
        with pytest.raises(ValueError, match=r"dim must be an integer >= 2, got"):
            function(torch.ones(1), dim)
