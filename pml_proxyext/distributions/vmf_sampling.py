r"""Samples of the von Mises-Fisher distribution that can be differentiated in both parameters.

A sample is :math:`z = \cos\theta\, \mu + \sin\theta\, t` with a uniform tangent direction :math:`t` and a polar angle
:math:`\theta` of density proportional to :math:`\sin^{D-2}\theta\, e^{\kappa \cos\theta}`. The angle is drawn by
rejection (Ulrich 1984, corrected by Wood 1994), here in angles: the colatitude :math:`\varphi` of a uniform direction,
moved by :math:`\tan(\theta/2) = \sqrt{b} \tan(\varphi/2)`. Angles keep their precision at both poles, where cosines
lose it, so that every gradient is finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import normalize

from pml_proxyext.distributions.vmf_normalizer import bessel_ratio
from pml_proxyext.utils.checks import check_integer
from pml_proxyext.utils.precision import accumulation_dtype, upcast

__all__ = ["sample_polar_angles", "sample_vmf"]

# At worst about a third of the proposals is rejected, whatever the dimension and the concentration.
_ROUNDS = 8
_COMPILED_ROUNDS = 24
# Gauss-Legendre nodes and weights, exact to 1e-7 and 1e-11 at worst, by the precision that the gradient will have.
_QUADRATURE = {
    torch.float32: [values.tolist() for values in leggauss(24)],
    torch.float64: [values.tolist() for values in leggauss(40)],
}


def _envelope_scale(concentration: Tensor, dim: int) -> Tensor:
    """Return ``b``, for which the proposals fit best. (The release of nivMF replaces it by its limit too early.)"""
    return (dim - 1) / (2 * concentration + torch.sqrt(4 * concentration.square() + (dim - 1) ** 2))


def _widths(colatitude: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the derivative factor :math:`\cos^2(\varphi/2) + b \sin^2(\varphi/2)` and :math:`1 - \cos\theta`."""
    sine = torch.sin(colatitude / 2).square()
    width = torch.cos(colatitude / 2).square() + scale * sine
    return width, 2 * scale * sine / width


def _proposals(
    concentration: Tensor, dim: int, rounds: int, shape: torch.Size, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Return angles ``shape`` and whether each was accepted: the first of ``rounds`` proposals that was, if any."""
    uniform = torch.rand(
        (3, rounds, *shape), generator=generator, dtype=concentration.dtype, device=concentration.device
    )
    # Ulrich's symmetric beta variate as a point on the circle; for dim = 2 the exponent is infinite and the power 0.
    power = torch.log(uniform[0]) * (2 / (dim - 2) if dim > 2 else math.inf)
    turn = 2 * math.pi * uniform[1]
    off_circle = -torch.expm1(power)
    cosine = torch.sin(turn) * torch.sqrt(off_circle)
    sine = torch.sqrt(torch.exp(power) + off_circle * torch.cos(turn).square())
    colatitude = torch.atan2(sine, cosine)
    scale = _envelope_scale(concentration, dim)
    width, drop = _widths(colatitude, scale)
    log_acceptance = concentration * (2 * scale / (1 + scale) - drop) + (dim - 1) * torch.log((1 + scale) / (2 * width))
    accepted = ~(torch.log(uniform[2]) > log_acceptance)  # accepts NaN, which must come out rather than loop
    first = accepted.int().argmax(0, keepdim=True)
    angles = 2 * torch.atan2(scale.sqrt() * torch.sin(colatitude / 2), torch.cos(colatitude / 2))
    return angles.gather(0, first).squeeze(0), accepted.any(0)


class _PolarAngle(torch.autograd.Function):
    r"""Attaches to drawn angles their implicit derivative with respect to the concentration.

    A quantile moves by :math:`d\theta / d\kappa = -\int_0^\theta (\cos s - A) f(s) ds / f(\theta)`, or by the integral
    over the rest with the other sign. Of the two the one is taken whose integrand keeps its sign; it runs outwards
    from the angle, where the density falls, so that Gauss-Legendre nodes over a few widths see all of it.
    """

    @staticmethod
    def forward(concentration: Tensor, angles: Tensor, dim: int) -> Tensor:
        return angles.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
        concentration, angles, ctx.dim = inputs
        ctx.save_for_backward(concentration, angles)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        concentration, angles = ctx.saved_tensors
        slope = _angle_slope(concentration, angles, ctx.dim).to(gradient)
        return (gradient * slope).sum_to_size(concentration.shape), None, None


def _angle_slope(concentration: Tensor, angles: Tensor, dim: int) -> Tensor:
    """Return the derivative of each angle in float64."""
    nodes, weights = torch.tensor(_QUADRATURE[angles.dtype], dtype=torch.float64, device=angles.device) / 2
    nodes = nodes + 0.5  # in (0, 1)
    angles, kappa = angles.double(), concentration[..., None].double()
    complement = 1 - bessel_ratio(kappa, dim)
    scale = _envelope_scale(kappa, dim)
    start = 2 * torch.atan2(torch.sin(angles / 2)[..., None], scale.sqrt() * torch.cos(angles / 2)[..., None])
    start = start.clamp(1e-30, math.pi)
    width, drop = _widths(start, scale)
    reach = 9 / math.sqrt(dim - 2) if dim > 2 else math.pi  # the proposals' density falls by exp(-9^2 / 2) within
    length = torch.where(drop < complement, (start - reach).clamp_min(0), (start + reach).clamp_max(math.pi)) - start
    inner = start + length * nodes
    inner_width, inner_drop = _widths(inner, scale)
    log_density = (
        (dim - 2) * torch.log(torch.sin(inner) / torch.sin(start))
        + kappa * (drop - inner_drop)
        + (dim - 1) * torch.log(width / inner_width)
    )
    integral = (weights * (complement - inner_drop) * torch.exp(log_density)).sum(-1, keepdim=True) * length
    return (integral * scale.sqrt() / width).squeeze(-1)


def sample_polar_angles(
    concentration: Tensor, dim: int, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
) -> Tensor:
    r"""Return angles :math:`\theta` between samples and their mean direction, differentiable in the concentration.

    Args:
        concentration: :math:`\kappa \ge 0`, any shape; zero gives the uniform distribution.
        dim: :math:`D \ge 2`.
        sample_shape: how many to draw for each concentration.
        generator: source of randomness; None is torch's own (a compiled graph takes no other).

    Shapes:
        concentration ``B`` -> angles ``sample_shape + B`` in ``[0, pi]``, in float32 for half precision.

    Under ``torch.compile`` the number of proposals is fixed: one sample in 10^11 or fewer is a proposal that would
    have been rejected.

    Raises:
        ValueError: if ``dim`` is not an integer of at least 2.

    Reference:
        Ulrich, "Computer generation of distributions on the m-sphere", Applied Statistics 33, 1984;
        Wood, "Simulation of the von Mises Fisher distribution", Communications in Statistics 23, 1994;
        Figurnov, Mohamed, Mnih, "Implicit reparameterization gradients", NeurIPS 2018, arXiv:1805.08498.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> kappa = torch.tensor([5.0, 500.0])
        >>> cosines = sample_polar_angles(kappa, 8, (4000,), generator).cos()
        >>> (cosines.mean(0) - bessel_ratio(kappa, 8)).abs() < 0.02
        tensor([True, True])
    """
    check_integer("dim", dim, low=2)
    kappa = upcast(concentration)
    shape = torch.Size([*sample_shape, *kappa.shape])
    with torch.no_grad():
        if torch.compiler.is_compiling():
            angles, _ = _proposals(kappa, dim, _COMPILED_ROUNDS, shape, generator)
        else:
            angles, found = _proposals(kappa, dim, _ROUNDS, shape, generator)
            while not bool(found.all()):
                again, accepted = _proposals(kappa, dim, _ROUNDS, shape, generator)
                angles, found = torch.where(found, angles, again), found | accepted
    reparametrized: Tensor = _PolarAngle.apply(kappa, angles, dim)
    return reparametrized


def sample_vmf(loc: Tensor, concentration: Tensor, n_samples: int, generator: torch.Generator | None = None) -> Tensor:
    r"""Return samples of von Mises-Fisher distributions, differentiable in mean direction and concentration.

    The lean form of ``VonMisesFisher(...).rsample`` for losses: no object, no validation of values.

    Args:
        loc: mean directions of unit length, ``(..., D)``.
        concentration: :math:`\kappa \ge 0`, broadcastable to ``loc.shape[:-1]``.
        n_samples: number of samples of each.
        generator: source of randomness; None is torch's own (a compiled graph takes no other).

    Shapes:
        loc ``(N, D)``, concentration ``(N,)`` -> ``(n_samples, N, D)`` of unit length, in the dtype of ``loc``.

    Example:
        >>> sample_vmf(torch.eye(3), torch.tensor([1.0, 10.0, 100.0]), n_samples=5).shape
        torch.Size([5, 3, 3])
    """
    check_integer("n_samples", n_samples, low=0)
    dtype = torch.promote_types(accumulation_dtype(loc.dtype), accumulation_dtype(concentration.dtype))
    mean = loc.to(dtype)
    shape = torch.Size([n_samples, *torch.broadcast_shapes(mean.shape[:-1], concentration.shape)])
    kappa = concentration.to(dtype).expand(shape[1:])
    angles = sample_polar_angles(kappa, mean.shape[-1], shape[:1], generator)[..., None]
    noise = torch.randn((*shape, mean.shape[-1]), generator=generator, dtype=dtype, device=mean.device)
    tangent = normalize(noise - (noise * mean).sum(-1, keepdim=True) * mean, dim=-1)
    # The last normalisation takes away what rounding left of the mean in the tangent.
    return normalize(torch.cos(angles) * mean + torch.sin(angles) * tangent, dim=-1).to(loc.dtype)
