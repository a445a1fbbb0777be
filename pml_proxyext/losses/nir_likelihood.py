r"""The two ends of NIR's flow: noise on what goes in, and what the likelihood that comes out costs."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

__all__ = ["LIKELIHOODS", "NOISE_DISTRIBUTIONS", "Likelihood", "NoiseDistribution", "add_noise", "likelihood_loss"]

Likelihood = Literal["plain", "softplus", "exp"]
NoiseDistribution = Literal["gaussian", "uniform"]

LIKELIHOODS: tuple[Likelihood, ...] = ("plain", "softplus", "exp")
NOISE_DISTRIBUTIONS: tuple[NoiseDistribution, ...] = ("gaussian", "uniform")

# Beyond it exp goes on as its tangent. Adam squares gradients, and exp(20)^2 leaves float32 room for a factor of 1e21.
_EXP_CAP = 20.0


def likelihood_loss(nll: Tensor, dim: int, likelihood: Likelihood = "plain") -> Tensor:
    r"""Return the loss of each negative log-likelihood of a point in ``dim`` dimensions.

    ``"plain"``: :math:`\mathrm{nll} / D`; ``"softplus"``: :math:`\log(1 + e^{\mathrm{nll} / D})`; ``"exp"``:
    :math:`e^\mathrm{nll}`, and beyond 20 the tangent at 20, so that neither value nor gradient overflows or vanishes.

    Example:
        >>> likelihood_loss(torch.tensor([0.0, 1000.0]), dim=2, likelihood="exp").isfinite().all()
        tensor(True)
    """
    if likelihood == "exp":
        capped = nll.clamp(max=_EXP_CAP)
        return capped.exp() * (1 + nll - capped)
    return nll / dim if likelihood == "plain" else softplus(nll / dim)


def add_noise(
    directions: Tensor, scale: float, distribution: NoiseDistribution, generator: torch.Generator | None = None
) -> Tensor:
    r"""Return ``directions`` ``(N, D)`` with noise.

    ``"gaussian"``: plus normal noise whose vectors have the root mean square norm ``scale`` at any :math:`D`.
    ``"uniform"``: normalized after each coordinate received uniform noise in ``[0, scale)``, as released.

    Example:
        >>> noisy = add_noise(torch.zeros(1000, 64), 0.1, "gaussian", torch.Generator().manual_seed(0))
        >>> round(noisy.norm(dim=1).square().mean().sqrt().item(), 2)
        0.1
    """
    device = directions.device if generator is None else generator.device
    draw = torch.randn if distribution == "gaussian" else torch.rand
    noise = draw(directions.shape, generator=generator, dtype=directions.dtype, device=device).to(directions)
    if distribution == "gaussian":
        return directions + noise * (scale / directions.shape[1] ** 0.5)
    return normalize(directions + noise * scale)
