r"""Normal distributions with diagonal covariance, packed into one row: :math:`[\mu \mid \log \sigma^2]`."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["kl_to_standard_normal", "sample_normal", "split_normal"]


def split_normal(packed: Tensor, name: str = "packed") -> tuple[Tensor, Tensor]:
    r"""Return means and log-variances of packed normal distributions: ``(N, 2 Z)`` -> ``(N, Z)``, ``(N, Z)``.

    Raises:
        ValueError: if ``packed`` is no floating-point matrix of even width.

    Example:
        >>> split_normal(torch.tensor([[1.0, 2.0, 0.0, -1.0]]))
        (tensor([[1., 2.]]), tensor([[ 0., -1.]]))
    """
    if packed.ndim != 2 or not packed.is_floating_point() or packed.shape[1] == 0 or packed.shape[1] % 2:
        raise ValueError(
            f"{name} must be [mu | log-variance], floating point of shape (N, 2 Z), got {packed.dtype} of shape "
            f"{tuple(packed.shape)}"
        )
    mu, log_variance = packed.chunk(2, dim=1)
    return mu, log_variance


def sample_normal(mu: Tensor, log_variance: Tensor, generator: torch.Generator | None = None) -> Tensor:
    r"""Return one sample of each, :math:`\mu + \sigma \epsilon`, differentiable in both.

    Args:
        mu: ``(N, Z)``.
        log_variance: ``(N, Z)``.
        generator: draws :math:`\epsilon`; None for torch's default generator.
    """
    device = mu.device if generator is None else generator.device
    noise = torch.randn(mu.shape, generator=generator, dtype=mu.dtype, device=device).to(mu)
    return mu + torch.exp(log_variance / 2) * noise


def kl_to_standard_normal(mu: Tensor, log_variance: Tensor) -> Tensor:
    r"""Return :math:`\frac12 \sum_z (\sigma_z^2 + \mu_z^2 - 1 - \log \sigma_z^2)` of each row, ``(N,)``, in nats.

    Example:
        >>> kl_to_standard_normal(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2))
        tensor([12.5000])
    """
    # expm1 keeps the digits near the standard normal, where exp(x) - 1 - x is a difference of nearly equal numbers.
    return (torch.expm1(log_variance) - log_variance + mu.square()).sum(1) / 2
