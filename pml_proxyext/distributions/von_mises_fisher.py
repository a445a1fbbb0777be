r"""The von Mises-Fisher distribution: the Gaussian of directions."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints, register_kl

from pml_proxyext.distributions.unit_sphere import unit_sphere
from pml_proxyext.distributions.vmf_normalizer import bessel_ratio, log_vmf_normalizer, vmf_log_partition
from pml_proxyext.distributions.vmf_sampling import sample_vmf
from pml_proxyext.utils.precision import upcast

__all__ = ["VonMisesFisher"]


class VonMisesFisher(Distribution):
    r"""Distribution of unit vectors around a mean direction.

    .. math:: f(z) = C_D(\kappa)\, e^{\kappa\, \mu \cdot z}, \qquad
        C_D(\kappa) = \frac{\kappa^{D/2-1}}{(2\pi)^{D/2} I_{D/2-1}(\kappa)}

    Args:
        loc: mean direction :math:`\mu` of unit length (checked, not imposed; see ``validate_args``).
        concentration: :math:`\kappa \ge 0`, broadcast against ``loc.shape[:-1]``; zero is the uniform distribution.
        validate_args: whether to check arguments and values; None is torch's global setting. Compiled graphs need
            False, as for every distribution of torch.

    Shapes:
        loc ``(..., D)`` with D >= 2, concentration ``(...)``; ``event_shape`` is ``(D,)``. Densities, entropies and
        means come in float32 for half precision; samples have the dtype of ``loc``.

    Raises:
        ValueError: for a ``loc`` without coordinates or not of unit length, and for a negative ``concentration``.

    Departs from the paper or the release:
        nothing, but the release of nivMF replaces normaliser and sampler by approximations that are off in high
        dimension; its samples point away from the mean where D is large and the concentration just above 10.

    Reference:
        Mardia and Jupp, "Directional Statistics", Wiley 2000, Section 9.3. For normaliser and sampler see
        :func:`~pml_proxyext.distributions.log_vmf_normalizer` and
        :func:`~pml_proxyext.distributions.sample_polar_angles`.

    Example:
        >>> vmf = VonMisesFisher(torch.eye(3), torch.tensor([1.0, 10.0, 100.0]))
        >>> vmf.rsample((5,), generator=torch.Generator().manual_seed(0)).shape
        torch.Size([5, 3, 3])
        >>> vmf.log_prob(torch.tensor([0.0, 0.0, 1.0]))
        tensor([-2.6925, -9.5353,  2.7673])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": unit_sphere,
        "concentration": constraints.nonnegative,
    }
    support = unit_sphere
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor, validate_args: bool | None = None) -> None:
        if loc.ndim < 1 or loc.shape[-1] < 2:
            raise ValueError(f"loc must have shape (..., D) with D >= 2, got shape {tuple(loc.shape)}")
        batch_shape = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc = loc.expand(*batch_shape, -1)
        self.concentration = concentration.expand(batch_shape)
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> VonMisesFisher:
        new: VonMisesFisher = self._get_checked_instance(VonMisesFisher, _instance)
        batch_shape = torch.Size(batch_shape)
        new.loc = self.loc.expand(batch_shape + self.event_shape)
        new.concentration = self.concentration.expand(batch_shape)
        super(VonMisesFisher, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        r"""The mean vector :math:`A_D(\kappa) \mu`, inside the sphere."""
        return bessel_ratio(self.concentration, self.event_shape[0])[..., None] * upcast(self.loc)

    @property
    def mode(self) -> Tensor:
        return self.loc

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density with respect to the area of the sphere."""
        if self._validate_args:
            self._validate_sample(value)
        cosine = (upcast(self.loc) * upcast(value)).sum(-1)
        return upcast(self.concentration) * cosine + log_vmf_normalizer(self.concentration, self.event_shape[0])

    def entropy(self) -> Tensor:
        r"""Return :math:`-\log C_D(\kappa) - \kappa A_D(\kappa)`."""
        dim, kappa = self.event_shape[0], upcast(self.concentration)
        return -log_vmf_normalizer(kappa, dim) - kappa * bessel_ratio(kappa, dim)

    def rsample(self, sample_shape: Any = (), generator: torch.Generator | None = None) -> Tensor:
        """Return samples ``sample_shape + batch_shape + (D,)`` with gradients in both parameters.

        Args:
            sample_shape: how many to draw.
            generator: source of randomness; None is torch's own.
        """
        shape = torch.Size(sample_shape)
        samples = sample_vmf(self.loc, self.concentration, shape.numel(), generator)
        return samples.reshape(shape + self.batch_shape + self.event_shape)

    def sample(self, sample_shape: Any = (), generator: torch.Generator | None = None) -> Tensor:
        """Return samples as :meth:`rsample` does, without gradients."""
        with torch.no_grad():
            return self.rsample(sample_shape, generator)


def _kl_vmf_vmf(p: VonMisesFisher, q: VonMisesFisher) -> Tensor:
    if p.event_shape != q.event_shape:
        raise ValueError(f"q must have event_shape {tuple(p.event_shape)} as p has, got {tuple(q.event_shape)}")
    dim = p.event_shape[0]
    p_kappa, q_kappa = upcast(p.concentration), upcast(q.concentration)
    cosine = (upcast(p.loc) * upcast(q.loc)).sum(-1)
    partitions = vmf_log_partition(q_kappa.square(), dim) - vmf_log_partition(p_kappa.square(), dim)
    return partitions + bessel_ratio(p_kappa, dim) * (p_kappa - q_kappa * cosine)


register_kl(VonMisesFisher, VonMisesFisher)(_kl_vmf_vmf)
