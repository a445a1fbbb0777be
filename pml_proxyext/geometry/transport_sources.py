r"""Simple laws to transport from: what a latent sampler draws first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from pml_proxyext.utils.checks import check_integer, check_number

__all__ = ["StandardNormal", "TransportSource", "UniformBox"]


class TransportSource(Protocol):
    """A law on :math:`R^d` with a density, for :class:`~pml_proxyext.geometry.SemiDiscreteOT`.

    Attributes:
        dim: d.
        mean: ``(d,)`` in float64.
        spread: root of the mean variance of a coordinate.
        mean_square: :math:`E |x|^2`.
    """

    dim: int
    mean: Tensor
    spread: float
    mean_square: float

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Return ``(count, dim)`` draws in float64 on the CPU."""

    def quantile(self, probabilities: Tensor) -> Tensor:
        """Return below which points a law on the line has these probabilities; asked for ``dim`` 1 alone."""

    def probability(self, ends: Tensor) -> Tensor:
        """Return the probability below points, infinite ones too; asked for ``dim`` 1 alone."""

    def mean_below(self, ends: Tensor) -> Tensor:
        """Return the part of the mean below points, :math:`E[x; x < end]`; asked for ``dim`` 1 alone."""


class UniformBox:
    """The uniform law between two corners; :meth:`unit` is the one on :math:`[0, 1]^d`.

    Args:
        low: the lower end of each coordinate.
        high: the upper end of each coordinate, above the lower one.

    Raises:
        ValueError: for no coordinates, ends that are not finite, of different number or in the wrong order.

    Example:
        >>> UniformBox([0.0, 0.0], [1.0, 2.0]).mean
        tensor([0.5000, 1.0000], dtype=torch.float64)
    """

    def __init__(self, low: Sequence[float], high: Sequence[float]) -> None:
        if not len(low) or len(low) != len(high):
            raise ValueError(f"low and high must have one number for each coordinate, got {len(low)} and {len(high)}")
        for i, (start, end) in enumerate(zip(low, high, strict=True)):
            check_number(f"low[{i}]", start)
            check_number(f"high[{i}]", end, low=start, open_low=True)
        self.low = torch.tensor(low, dtype=torch.float64)
        self.high = torch.tensor(high, dtype=torch.float64)
        self.dim = len(low)
        self.mean = (self.low + self.high) / 2
        variances = (self.high - self.low).square() / 12
        self.spread = variances.mean().sqrt().item()
        self.mean_square = (variances + self.mean.square()).sum().item()

    @classmethod
    def unit(cls, dim: int) -> UniformBox:
        """Return the uniform law on the unit cube."""
        return cls([0.0] * check_integer("dim", dim), [1.0] * dim)

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        shares = torch.rand(count, self.dim, generator=generator, dtype=torch.float64, device=_device(generator))
        return torch.lerp(self.low, self.high, shares.cpu())

    def quantile(self, probabilities: Tensor) -> Tensor:
        return torch.lerp(self.low, self.high, probabilities)

    def probability(self, ends: Tensor) -> Tensor:
        return (torch.clamp(ends, self.low, self.high) - self.low) / (self.high - self.low)

    def mean_below(self, ends: Tensor) -> Tensor:
        inside = torch.clamp(ends, self.low, self.high)
        return (inside.square() - self.low.square()) / 2 / (self.high - self.low)

    def __repr__(self) -> str:
        return f"UniformBox({self.low.tolist()}, {self.high.tolist()})"


class StandardNormal:
    """The normal law of mean zero and unit variance.

    Args:
        dim: number of coordinates, at least 1.
    """

    def __init__(self, dim: int) -> None:
        self.dim = check_integer("dim", dim)
        self.mean = torch.zeros(dim, dtype=torch.float64)
        self.spread = 1.0
        self.mean_square = float(dim)

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(count, self.dim, generator=generator, dtype=torch.float64, device=_device(generator)).cpu()

    def quantile(self, probabilities: Tensor) -> Tensor:
        return torch.special.ndtri(probabilities)

    def probability(self, ends: Tensor) -> Tensor:
        return torch.special.ndtr(ends)

    def mean_below(self, ends: Tensor) -> Tensor:
        return -torch.exp(-ends.square() / 2) / math.sqrt(2 * math.pi)

    def __repr__(self) -> str:
        return f"StandardNormal({self.dim})"


def _device(generator: torch.Generator | None) -> torch.device:
    return torch.device("cpu") if generator is None else generator.device
