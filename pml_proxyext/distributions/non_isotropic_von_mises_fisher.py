r"""The non-isotropic von Mises-Fisher distribution, normalised exactly."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import normalize

from pml_proxyext.distributions.unit_sphere import unit_sphere
from pml_proxyext.distributions.vmf_normalizer import log_vmf_normalizer
from pml_proxyext.distributions.von_mises_fisher import VonMisesFisher
from pml_proxyext.utils.precision import upcast

__all__ = ["NonIsotropicVonMisesFisher"]


class NonIsotropicVonMisesFisher(Distribution):
    r"""Von Mises-Fisher distribution with one concentration per coordinate, :math:`K = \mathrm{diag}(k)`.

    .. math:: \log f(z) = \log C_D(\|K\mu\|) + \sum_d \log k_d - D \log \|K z\|
        + \|K\mu\| \cos(K z, K \mu)

    It is the law of :math:`K^{-1} w / \|K^{-1} w\|` for :math:`w` von Mises-Fisher with mean direction
    :math:`K\mu / \|K\mu\|` and concentration :math:`\|K\mu\|`; the middle terms are the Jacobian of that map. With
    :math:`K = c I` it is the von Mises-Fisher distribution of concentration c. Large :math:`k_d` make coordinate d
    sharp. Mean and entropy have no closed form: torch's NotImplementedError is raised for them.

    Args:
        loc: direction :math:`\mu` of unit length (checked, not imposed). It is the mode only where K is isotropic or
            :math:`\mu` lies on an axis.
        concentration: :math:`k > 0`, one per coordinate, broadcast against ``loc``.
        validate_args: whether to check arguments and values; None is torch's global setting. Compiled graphs need
            False, as for every distribution of torch.

    Shapes:
        loc and concentration ``(..., D)`` with D >= 2; ``event_shape`` is ``(D,)``. Densities come in float32 for half
        precision; samples have the dtype of ``loc``.

    Raises:
        ValueError: for a ``loc`` without coordinates or not of unit length, and for a ``concentration`` <= 0.

    Departs from the paper or the release:
        the release writes :math:`-\log \|K\mu\|` for :math:`-D \log \|K z\|`, which does not integrate to one (its
        integral is :math:`c^{D-1}` for :math:`K = c I`) and so rewards large concentrations whatever the data.

    Reference:
        Kirchhof, Roth, Akata, Kasneci, "A Non-isotropic Probabilistic Take on Proxy-based Deep Metric Learning",
        ECCV 2022, arXiv:2207.03784.

    Example:
        >>> nivmf = NonIsotropicVonMisesFisher(torch.tensor([0.6, 0.8, 0.0]), torch.tensor([10.0, 5.0, 1.0]))
        >>> nivmf.sample((7,), generator=torch.Generator().manual_seed(0)).shape
        torch.Size([7, 3])
        >>> isotropic = NonIsotropicVonMisesFisher(torch.tensor([0.6, 0.8, 0.0]), torch.full((3,), 10.0))
        >>> isotropic.log_prob(torch.eye(3)) - VonMisesFisher(isotropic.loc, torch.tensor(10.0)).log_prob(torch.eye(3))
        tensor([0., 0., 0.])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": unit_sphere,
        "concentration": constraints.independent(constraints.positive, 1),
    }
    support = unit_sphere
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor, validate_args: bool | None = None) -> None:
        if loc.ndim < 1 or loc.shape[-1] < 2:
            raise ValueError(f"loc must have shape (..., D) with D >= 2, got shape {tuple(loc.shape)}")
        if concentration.shape[-1:] != loc.shape[-1:]:
            raise ValueError(
                f"concentration must have one value for each of the {loc.shape[-1]} coordinates of loc, "
                f"got shape {tuple(concentration.shape)}"
            )
        shape = torch.broadcast_shapes(loc.shape, concentration.shape)
        self.loc, self.concentration = loc.expand(shape), concentration.expand(shape)
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> NonIsotropicVonMisesFisher:
        new: NonIsotropicVonMisesFisher = self._get_checked_instance(NonIsotropicVonMisesFisher, _instance)
        batch_shape = torch.Size(batch_shape)
        new.loc = self.loc.expand(batch_shape + self.event_shape)
        new.concentration = self.concentration.expand(batch_shape + self.event_shape)
        super(NonIsotropicVonMisesFisher, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density with respect to the area of the sphere."""
        if self._validate_args:
            self._validate_sample(value)
        dim, k = self.event_shape[0], upcast(self.concentration)
        scaled_loc, scaled_value = k * upcast(self.loc), k * upcast(value)
        value_length = torch.linalg.vector_norm(scaled_value, dim=-1)
        exponent = (scaled_loc * scaled_value).sum(-1) / value_length
        log_jacobian = k.log().sum(-1) - dim * value_length.log()
        return log_vmf_normalizer(torch.linalg.vector_norm(scaled_loc, dim=-1), dim) + log_jacobian + exponent

    def rsample(self, sample_shape: Any = (), generator: torch.Generator | None = None) -> Tensor:
        """Return samples ``sample_shape + batch_shape + (D,)`` with gradients in both parameters.

        Args:
            sample_shape: how many to draw.
            generator: source of randomness; None is torch's own.
        """
        k = upcast(self.concentration)
        scaled_loc = k * upcast(self.loc)
        length = torch.linalg.vector_norm(scaled_loc, dim=-1)
        isotropic = VonMisesFisher(scaled_loc / length[..., None], length, validate_args=False)
        return normalize(isotropic.rsample(sample_shape, generator) / k, dim=-1).to(self.loc.dtype)

    def sample(self, sample_shape: Any = (), generator: torch.Generator | None = None) -> Tensor:
        """Return samples as :meth:`rsample` does, without gradients."""
        with torch.no_grad():
            return self.rsample(sample_shape, generator)
