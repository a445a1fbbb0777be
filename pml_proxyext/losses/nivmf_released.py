"""Two approximations inside the official release of nivMF, kept so that its numbers can be reproduced."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["released_log_normalizer", "released_vmf_samples"]


def released_log_normalizer(concentration: Tensor, dim: int) -> Tensor:
    r"""Return the release's quadratic fits to :math:`\log C_D(\kappa)`: one for D = 128, one for all else.

    The second was made at D = 512. Far from those two dimensions, and beyond concentrations of about 100, they are
    wrong by hundreds of nats.
    """
    constant, linear, quadratic = (127.0, 0.01909, 0.003355) if dim == 128 else (868.0, 0.0002662, 0.0009685)
    return constant - linear * concentration - quadratic * concentration**2


def released_vmf_samples(
    directions: Tensor, concentrations: Tensor, n_samples: int, generator: torch.Generator | None = None
) -> Tensor:
    r"""Draw ``(n_samples, N, D)`` unit vectors as the release does, which is NOT the von Mises-Fisher distribution.

    Wood's rejection sampler needs the envelope parameter :math:`b = (\sqrt{4\kappa^2 + (D-1)^2} - 2\kappa) / (D - 1)`.
    From :math:`\kappa = 11` on the release puts :math:`(D - 1) / (4 \kappa)` in its place, which holds for
    :math:`\kappa \gg D` only: for D = 512 and concentrations of tens the samples point away from the mean.

    Gradients pass through :math:`b` and through the directions; the effect of the rejection is ignored, as released.

    Args:
        directions: unit vectors ``(N, D)``.
        concentrations: ``(N,)``, positive.
        n_samples: draws per direction.
        generator: source of randomness; torch's default generator when None.
    """
    n, dim = directions.shape
    m = dim - 1.0
    root = torch.sqrt(4 * concentrations**2 + m**2)
    blend = (concentrations - 10).clamp(0, 1)
    exact = m / (root + 2 * concentrations)
    b = m / (4 * concentrations) * blend + exact * (1 - blend)  # (N,)
    with torch.no_grad():
        a = (m + 2 * concentrations + root) / 4
        d = 4 * a * b / (1 + b) - m * math.log(m)
        epsilon = torch.empty(n_samples, n, dtype=directions.dtype, device=directions.device)
        waiting = torch.ones_like(epsilon, dtype=torch.bool)
        while waiting.any():
            # A symmetric Beta(m / 2, m / 2) variate, from the first coordinate of a uniform direction in D dimensions.
            normals = torch.randn(*epsilon.shape, dim, dtype=epsilon.dtype, device=epsilon.device, generator=generator)
            proposal = (1 + normals[..., 0] / normals.norm(dim=-1)) / 2
            uniform = torch.rand(epsilon.shape, dtype=epsilon.dtype, device=epsilon.device, generator=generator)
            t = 2 * a * b / (1 - (1 - b) * proposal)
            accepted = waiting & ~(m * t.log() - t + d <= uniform.log())  # NaN counts as accepted, and stays visible
            epsilon = torch.where(accepted, proposal, epsilon)
            waiting &= ~accepted
    cosine = (1 - (1 + b) * epsilon) / (1 - (1 - b) * epsilon)  # (n, N)
    noise = torch.randn(n_samples, n, dim, dtype=directions.dtype, device=directions.device, generator=generator)
    tangent = normalize(noise - (noise * directions).sum(-1, keepdim=True) * directions, dim=-1)
    return cosine[..., None] * directions + torch.sqrt((1 - cosine**2).clamp_min(0.0))[..., None] * tangent
