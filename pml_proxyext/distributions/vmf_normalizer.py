r"""Normaliser and mean length of the von Mises-Fisher distribution, for every dimension and concentration.

All of it rests on the log-partition function :math:`\phi_D(\kappa) = \log E[e^{\kappa u_1}]`, the mean taken over
the uniform distribution on the sphere. It is zero at zero and smooth in :math:`\kappa^2`, so nothing cancels,
underflows or divides by zero, in single precision either. For Bessel orders :math:`n` from 31 on (D >= 64) it is the
uniform asymptotic expansion; lower orders are reached from there by the recurrence of Bessel functions, which is
stable downwards. ``scipy.special.ive`` would underflow where embeddings live (D = 512 and concentrations below 10).
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

import torch
from numpy.polynomial import Polynomial
from torch import Tensor

from pml_proxyext.utils.checks import check_integer
from pml_proxyext.utils.precision import upcast

__all__ = ["bessel_ratio", "log_sphere_area", "log_vmf_normalizer", "vmf_log_partition", "vmf_mean_factor"]

_LOWEST_EXPANDED_ORDER = 31
_FLOAT64_TOLERANCE = 2e-13  # of the terms left out; float32 asks for no more than its own resolution


def _expansion_terms(count: int) -> list[Polynomial]:
    r"""Return the polynomials :math:`d_j(t)` of the series :math:`S = \sum_j d_j(t) / n^j` in :math:`\log I_n`.

    With :math:`t = n / r`, :math:`r = \sqrt{n^2 + \kappa^2}` and :math:`h = t^2 (1 - t^2)`, Bessel's equation for
    :math:`\log I_n = r + n \log(\kappa / (n + r)) - \tfrac12 \log(2 \pi r) + S` reads
    :math:`2 n S' = (h S')' + h S'^2 + (1 - 5 t^2) / 4`, and equal powers of :math:`n` give one term after another.
    """
    half_h = Polynomial([0.0, 0.0, 0.5, 0.0, -0.5])
    terms = [Polynomial([0.0, 1 / 8, 0.0, -5 / 24])]
    while len(terms) < count:
        slopes = [term.deriv() for term in terms]
        convolution = sum((a * b for a, b in zip(slopes[:-1], slopes[-2::-1], strict=True)), Polynomial([0.0]))
        terms.append(half_h * slopes[-1] + (half_h * convolution).integ())
    return terms


_TERMS = [[float(c) for c in term.coef] for term in _expansion_terms(9)]
_TERM_BOUNDS = [max(abs(math.fsum(c * (t / 99) ** m for m, c in enumerate(p))) for t in range(100)) for p in _TERMS]


def _series_coefficients(order: float, dtype: torch.dtype) -> list[float]:
    """Return the coefficients of ``S(t)`` for one order, cut where the next term falls below the tolerance."""
    tolerance = max(torch.finfo(dtype).eps, _FLOAT64_TOLERANCE)
    count = 1
    while count < len(_TERMS) - 1 and _TERM_BOUNDS[count] / order ** (count + 1) > tolerance:
        count += 1
    length = len(_TERMS[count - 1])
    return [sum(p[m] / order ** (j + 1) for j, p in enumerate(_TERMS[:count]) if m < len(p)) for m in range(length)]


def _horner(coefficients: list[float], variable: Tensor) -> Tensor:
    result = variable * coefficients[-1] + coefficients[-2]
    for coefficient in reversed(coefficients[:-2]):
        result = result * variable + coefficient
    return result


def _expanded_partition(squared: Tensor, order: float) -> Tensor:
    radius = torch.sqrt(squared + order * order)
    excess = squared / (radius + order)  # radius - order, without cancellation
    leading = excess - order * torch.log1p(excess / (2 * order)) - 0.5 * torch.log1p(excess / order)
    # S(t) - S(1) = (t - 1) Q(t), where t - 1 = -excess / radius: exact near zero concentration.
    quotient = list(accumulate(reversed(_series_coefficients(order, squared.dtype)[1:])))[::-1]
    return leading - excess / radius * _horner(quotient, order / radius)


def _expanded_ratio(squared: Tensor, order: float) -> Tensor:
    radius = torch.sqrt(squared + order * order)
    series = _series_coefficients(order, squared.dtype)
    slope = [m * c for m, c in enumerate(series)]  # t S'(t)
    slope[0] = 0.5
    return 1 / (order + radius) - _horner(slope, order / radius) / (radius * radius)


def _orders_below_expansion(order: float) -> list[float]:
    """Return the orders that the recurrence passes, downwards, to end at ``order``."""
    steps = max(0, math.ceil(_LOWEST_EXPANDED_ORDER - order))
    return [order + step for step in reversed(range(steps))]


def _ratio(squared: Tensor, order: float) -> Tensor:
    r"""Return :math:`I_{n+1}(\kappa) / (\kappa I_n(\kappa))` of order :math:`n` as a function of :math:`\kappa^2`."""
    passed = _orders_below_expansion(order)
    ratio = _expanded_ratio(squared, order + len(passed))
    for lower in passed:
        ratio = 1 / (2 * (lower + 1) + squared * ratio)
    return ratio


class _LogPartition(torch.autograd.Function):
    """Keeps its input alone for the backward pass, whose formula is shorter and as accurate as the forward one."""

    generate_vmap_rule = True

    @staticmethod
    def forward(squared: Tensor, order: float) -> Tensor:
        passed = _orders_below_expansion(order)
        ratio = _expanded_ratio(squared, order + len(passed)) if passed else squared
        partition = _expanded_partition(squared, order + len(passed))
        for lower in passed:
            growth = squared * ratio / (2 * (lower + 1))
            partition = partition + torch.log1p(growth)
            ratio = 1 / (2 * (lower + 1) * (1 + growth))
        return partition

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        squared, ctx.order = inputs
        ctx.save_for_backward(squared)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (squared,) = ctx.saved_tensors
        return gradient * _ratio(squared, ctx.order) / 2, None


def log_sphere_area(dim: int) -> float:
    r"""Return the log of the area of the unit sphere in :math:`R^D`, :math:`\log(2 \pi^{D/2} / \Gamma(D/2))`.

    Example:
        >>> round(log_sphere_area(3) - math.log(4 * math.pi), 12)
        0.0
    """
    check_integer("dim", dim, low=2)
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


def vmf_log_partition(squared_concentration: Tensor, dim: int) -> Tensor:
    r"""Return :math:`\phi_D(\kappa) = \log C_D(0) - \log C_D(\kappa)` from :math:`\kappa^2`.

    .. math:: \phi_D(\kappa) = \log \frac{\Gamma(D/2)\, I_{D/2-1}(\kappa)}{(\kappa / 2)^{D/2-1}}

    Use it instead of :func:`log_vmf_normalizer` where constants cancel, as in a softmax over classes: it keeps its
    relative accuracy near zero, where the normaliser has a large constant. In :math:`\kappa^2 = \|a\|^2` it is
    smooth, so that the gradient with respect to a vector :math:`a` is finite at :math:`a = 0`.

    Args:
        squared_concentration: :math:`\kappa^2 \ge 0`, any shape.
        dim: :math:`D \ge 2`.

    Shapes:
        any -> the same, in float32 for half precision.

    Raises:
        ValueError: if ``dim`` is not an integer of at least 2.

    Example:
        >>> vmf_log_partition(torch.tensor([0.0, 4.0]), dim=3)  # log(sinh(2) / 2)
        tensor([0.0000, 0.5952])
    """
    check_integer("dim", dim, low=2)
    partition: Tensor = _LogPartition.apply(upcast(squared_concentration), dim / 2 - 1)
    return partition


def vmf_mean_factor(squared_concentration: Tensor, dim: int) -> Tensor:
    r"""Return :math:`A_D(\kappa) / \kappa` from :math:`\kappa^2`: what turns :math:`a = \kappa\mu` into the mean.

    It is twice the derivative of :func:`vmf_log_partition` in :math:`\kappa^2`, and :math:`1 / D` at zero.

    Args:
        squared_concentration: :math:`\kappa^2 \ge 0`, any shape.
        dim: :math:`D \ge 2`.

    Shapes:
        any -> the same, in float32 for half precision.

    Raises:
        ValueError: if ``dim`` is not an integer of at least 2.

    Example:
        >>> vmf_mean_factor(torch.tensor([0.0, 4.0]), dim=3)  # 1/3, then (coth(2) - 1/2) / 2
        tensor([0.3333, 0.2687])
    """
    check_integer("dim", dim, low=2)
    return _ratio(upcast(squared_concentration), dim / 2 - 1)


def log_vmf_normalizer(concentration: Tensor, dim: int) -> Tensor:
    r"""Return the log-normaliser :math:`\log C_D(\kappa)` of the density :math:`C_D(\kappa) e^{\kappa \mu \cdot z}`.

    .. math:: \log C_D(\kappa) = (D/2 - 1) \log \kappa - (D/2) \log 2\pi - \log I_{D/2-1}(\kappa)

    Its derivative is :math:`-A_D(\kappa)`, see :func:`bessel_ratio`; both can be differentiated again. The error is
    below 1e-12 relative to :math:`\max(1, |\log C_D|)` in float64; float32 inputs are computed in float32, to its
    resolution, with about the work of 15 elementwise logarithms forward and 12 backward for D >= 64.

    Args:
        concentration: :math:`\kappa \ge 0`, any shape; zero is the uniform distribution.
        dim: :math:`D \ge 2`, the number of coordinates (not of the sphere's dimensions).

    Shapes:
        any -> the same, in float32 for half precision.

    Raises:
        ValueError: if ``dim`` is not an integer of at least 2.

    Departs from the paper or the release:
        exact for every D; the release of nivMF fits parabolas for D = 128 and 512 and uses the latter for all others.

    Example:
        >>> log_vmf_normalizer(torch.tensor([0.0, 2.0]), dim=3)  # -log(4 pi), then log(2 / (4 pi sinh 2))
        tensor([-2.5310, -3.1262])
    """
    return -vmf_log_partition(upcast(concentration).square(), dim) - log_sphere_area(dim)


def bessel_ratio(concentration: Tensor, dim: int) -> Tensor:
    r"""Return :math:`A_D(\kappa) = I_{D/2}(\kappa) / I_{D/2-1}(\kappa)`, the length of the distribution's mean.

    It rises from 0 at zero to 1 and is the mean cosine to the mean direction; its derivative is the variance of that
    cosine, :math:`A_D' = 1 - A_D^2 - (D - 1) A_D / \kappa`.

    Args:
        concentration: :math:`\kappa \ge 0`, any shape.
        dim: :math:`D \ge 2`.

    Shapes:
        any -> the same, in float32 for half precision.

    Raises:
        ValueError: if ``dim`` is not an integer of at least 2.

    Example:
        >>> bessel_ratio(torch.tensor([0.0, 2.0]), dim=3)  # coth(2) - 1/2
        tensor([0.0000, 0.5373])
    """
    kappa = upcast(concentration)
    return kappa * vmf_mean_factor(kappa.square(), dim)
