"""Estimates of the concentration of von Mises-Fisher distributions."""

from __future__ import annotations

import torch
from torch import Tensor

from pml_proxyext.distributions.vmf_normalizer import bessel_ratio

__all__ = ["concentration_from_mean_length", "pooled_concentration"]

_NEWTON_STEPS = 20


def concentration_from_mean_length(mean_length: Tensor, dim: int) -> Tensor:
    r"""Return :math:`\kappa = A_D^{-1}(\bar R)`, the maximum-likelihood concentration of unit vectors.

    Newton's method on :math:`A_D(\kappa) = \bar R` from the start :math:`\bar R (D - \bar R^2) / (1 - \bar R^2)`
    (Banerjee et al., "Clustering on the Unit Hypersphere using von Mises-Fisher Distributions", JMLR 2005).

    Args:
        mean_length: length :math:`\bar R` of the mean of the vectors, in [0, 1), any shape.
        dim: dimension :math:`D >= 2`.

    Example:
        >>> kappa = torch.tensor([0.5, 40.0], dtype=torch.float64)
        >>> concentration_from_mean_length(bessel_ratio(kappa, 16), 16)
        tensor([ 0.5000, 40.0000], dtype=torch.float64)
    """
    kappa = mean_length * (dim - mean_length**2) / (1 - mean_length**2)
    for _ in range(_NEWTON_STEPS):
        ratio = bessel_ratio(kappa, dim)
        slope = 1 - ratio**2 - (dim - 1) * torch.where(kappa > 0, ratio / kappa.clamp_min(1e-30), 1 / dim)
        kappa = (kappa - (ratio - mean_length) / slope).clamp_min(0.0)
    return kappa


def pooled_concentration(sums: Tensor, counts: Tensor) -> Tensor:
    r"""Return one concentration for several groups of unit vectors, each with a mean direction of its own.

    The squared mean length of a group is estimated without bias by the mean cosine of its pairs,
    :math:`(|s|^2 - n) / (n (n - 1))`; their average over the groups is inverted by
    :func:`concentration_from_mean_length`.

    Args:
        sums: the groups' vector sums :math:`s`, ``(G, D)``.
        counts: the groups' sizes :math:`n \ge 2`, ``(G,)``.
    """
    n = counts.to(sums)
    squared_lengths = (sums.square().sum(1) - n) / (n * (n - 1))
    mean_length = squared_lengths.mean().clamp(0.0, 1 - 1e-6).sqrt()
    return concentration_from_mean_length(mean_length, sums.shape[1])
