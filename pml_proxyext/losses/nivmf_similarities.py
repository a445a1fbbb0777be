r"""The similarities of nivMF between an embedded image and a proxy, as matrix products over a whole batch.

Notation: an embedding :math:`e` stands for the von Mises-Fisher distribution with mean direction
:math:`\mu = e / |e|` and concentration :math:`|e|`; a proxy has a unit direction :math:`m` and a concentration
:math:`k`, a number or, for nivMF, one number per dimension, and :math:`a = k \odot m`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from pml_proxyext.distributions import bessel_ratio, log_sphere_area, vmf_log_partition
from pml_proxyext.losses.nivmf_released import released_log_normalizer

__all__ = [
    "DETERMINISTIC_SIMILARITIES",
    "Proxies",
    "TemperedSimilarity",
    "expected_likelihood_closed_form",
    "expected_likelihood_of_samples",
    "polar",
]


def polar(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Split ``(N, D)`` into unit directions and norms ``(N,)``; a zero row gets the first axis, and no gradient."""
    norms = torch.linalg.vector_norm(embeddings, dim=1)
    is_zero = (norms == 0)[:, None]
    first_axis = torch.eye(1, embeddings.shape[1], dtype=embeddings.dtype, device=embeddings.device)
    return torch.where(is_zero, first_axis, embeddings / torch.where(is_zero, 1.0, norms[:, None])), norms


class TemperedSimilarity(NamedTuple):
    r"""A similarity over the temperature, in three parts so that large constants cannot drown differences in float32.

    The whole is ``pairs + proxy_constants / temperature + row_constants``.
    """

    pairs: Tensor  # (N, C)
    proxy_constants: Tensor  # (C,) in float64, before the temperature
    row_constants: Tensor | float = 0.0  # (N, 1); no softmax over the proxies sees it

    def centred(self, temperature: Tensor, centre: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the logits ``(N, C)`` less an offset ``(N, 1)`` or ``(1, 1)``, and that offset.

        Args:
            temperature: a scalar.
            centre: the constant that becomes zero, before the temperature; None for the mean of all.
        """
        centre = self.proxy_constants.mean() if centre is None else centre
        differences = (self.proxy_constants - centre) / temperature.to(self.proxy_constants)
        offset = (centre / temperature.to(centre)).to(self.pairs) + self.row_constants
        return self.pairs + differences.to(self.pairs), offset


class Proxies(NamedTuple):
    """Directions ``(C, D)`` of unit length and concentrations ``(C,)`` or ``(C, D)``."""

    directions: Tensor
    concentrations: Tensor
    normalization: str

    @property
    def dim(self) -> int:
        return self.directions.shape[1]

    @property
    def means(self) -> Tensor:
        """``(C, D)``: the directions, scaled by the concentrations."""
        k = self.concentrations
        return self.directions * (k if k.ndim == 2 else k[:, None])

    def log_normalizer(self, squared_concentration: Tensor, released_dim: int | None = None) -> Tensor:
        """Return log C_D of a squared concentration, exact or as the release fits it (with D = 512 in some files)."""
        if self.normalization == "released":
            return released_log_normalizer(_root(squared_concentration), released_dim or self.dim)
        return -vmf_log_partition(squared_concentration, self.dim) - log_sphere_area(self.dim)

    def density_constants(self, means: Tensor, warped: bool, released_dim: int | None = None) -> Tensor:
        r"""Return what the log-density of nivMF adds per proxy: ``(C,)`` in float64.

        It is :math:`\log C_D(|a|) + \sum_d \log k_d`; the release also subtracts :math:`\log |a|`. If the samples are
        not warped by the concentrations, a normalised density has no determinant.
        """
        squared_norms = means.square().sum(1, dtype=torch.float64)
        constants = self.log_normalizer(squared_norms, released_dim)
        if self.normalization == "exact" and not warped:
            return constants
        constants = constants + self.concentrations.log().sum(1, dtype=torch.float64)
        return constants if self.normalization == "exact" else constants - squared_norms.log() / 2


def density_similarity(points: Tensor, proxies: Proxies, means: Tensor, temperature: Tensor, warped: bool) -> Tensor:
    r"""Return the part of nivMF's log-density that depends on both the point and the proxy, over T: ``(M, C)``.

    With :math:`K = \mathrm{diag}(k)` it is :math:`|a| \cos(K z, a) - D \log |K z|` (the second term is the Jacobian
    that the release leaves out), from the two products :math:`z \cdot (k \odot a)` and
    :math:`|K z|^2 = z^2 \cdot k^2`. Without warping it is :math:`z \cdot a`.
    """
    means = means / temperature  # (C, D): cheaper than a division of what comes out
    if not warped:
        return points @ means.T
    squared_norms = points.square() @ proxies.concentrations.square().T
    pairs = (points @ (proxies.concentrations * means).T) * squared_norms.rsqrt()
    if proxies.normalization == "exact":
        pairs = pairs - (proxies.dim / 2 / temperature) * squared_norms.log()
    return pairs


def point_similarity(embeddings: Tensor, proxies: Proxies, temperature: Tensor) -> TemperedSimilarity:
    r"""Return nivMF's log-density :math:`\log f_c(\mu)` at the images' mean directions."""
    means = proxies.means
    pairs = density_similarity(polar(embeddings)[0], proxies, means, temperature, warped=True)
    return TemperedSimilarity(pairs, proxies.density_constants(means, warped=True, released_dim=512))


def expected_likelihood_of_samples(
    samples: Tensor, proxies: Proxies, temperature: Tensor, warped: bool
) -> TemperedSimilarity:
    r"""Return :math:`\log \frac{1}{n} \sum_n f_c(z_n)^{1/T}` for samples ``(n, N, D)`` of the images' distributions."""
    means = proxies.means
    n_samples, n, dim = samples.shape
    pairs = density_similarity(samples.reshape(-1, dim), proxies, means, temperature, warped)
    pairs = pairs.reshape(n_samples, n, -1)
    pairs = pairs.logsumexp(0) - torch.log(torch.full_like(temperature, n_samples))
    return TemperedSimilarity(pairs, proxies.density_constants(means, warped))


def expected_likelihood_closed_form(embeddings: Tensor, proxies: Proxies, temperature: Tensor) -> TemperedSimilarity:
    r"""Return :math:`\log E_z f_c(z)^{1/T}` exactly, for densities that do not warp the samples.

    The integrand is then the exponential of a linear function of z, so that

    .. math:: \log E = \frac{\text{const}_c}{T} + \log C_D(|e|) - \log C_D(|e + a_c / T|).
    """
    means = proxies.means
    tempered = means / temperature
    squared_norms = embeddings.square().sum(1, keepdim=True)
    pairs = vmf_log_partition(_squared_sums(embeddings, tempered, squared_norms, tempered.square().sum(1)), proxies.dim)
    return TemperedSimilarity(
        pairs, proxies.density_constants(means, warped=False), -vmf_log_partition(squared_norms, proxies.dim)
    )


def product_kernel_similarity(
    embeddings: Tensor, proxies: Proxies, temperature: Tensor, rho: float
) -> TemperedSimilarity:
    r"""Return the log of the probability product kernel of two von Mises-Fisher distributions.

    .. math:: \rho \log C_D(|e|) + \rho \log C_D(k_c) - \log C_D(\rho |e + a_c|)

    The order :math:`\rho = 1` is the expected likelihood, :math:`\rho = 1/2` the Bhattacharyya coefficient.
    """
    squared_norms = embeddings.square().sum(1, keepdim=True)
    squared_k = proxies.concentrations.square()
    squared_sums = _squared_sums(embeddings, proxies.means, squared_norms, squared_k)
    pairs = -proxies.log_normalizer(rho**2 * squared_sums) / temperature
    rows = rho * proxies.log_normalizer(squared_norms) / temperature
    return TemperedSimilarity(pairs, rho * proxies.log_normalizer(squared_k.double()), rows)


def kl_similarity(embeddings: Tensor, proxies: Proxies, temperature: Tensor) -> TemperedSimilarity:
    r"""Return minus the Kullback-Leibler divergence from the image's to the proxy's von Mises-Fisher distribution.

    .. math:: -\mathrm{KL} = \log C_D(k_c) - \log C_D(|e|) - A_D(|e|) \, (|e| - \mu \cdot a_c)

    The release has the opposite sign, and 1 in the place of the Bessel ratio :math:`A_D`.
    """
    directions, norms = polar(embeddings)
    norms = norms[:, None]
    released = proxies.normalization == "released"
    ratio = torch.ones_like(norms) if released else bessel_ratio(norms, proxies.dim)
    sign = -1.0 if released else 1.0
    pairs = sign * (ratio * directions) @ proxies.means.T / temperature
    rows = -sign * (proxies.log_normalizer(norms.square(), released_dim=512) + ratio * norms) / temperature
    squared_k = proxies.concentrations.double().square()
    return TemperedSimilarity(pairs, sign * proxies.log_normalizer(squared_k, released_dim=512), rows)


def l2_similarity(embeddings: Tensor, proxies: Proxies, temperature: Tensor) -> TemperedSimilarity:
    r"""Return :math:`-|e - a_c|^2`."""
    pairs = 2 * (embeddings @ proxies.means.T) / temperature
    rows = -embeddings.square().sum(1, keepdim=True) / temperature
    return TemperedSimilarity(pairs, -proxies.concentrations.double().square(), rows)


def cosine_similarity(embeddings: Tensor, proxies: Proxies, temperature: Tensor) -> TemperedSimilarity:
    r"""Return :math:`\mu \cdot m_c`."""
    pairs = polar(embeddings)[0] @ proxies.directions.T / temperature
    return TemperedSimilarity(pairs, torch.zeros_like(pairs[0], dtype=torch.float64))


def _squared_sums(embeddings: Tensor, means: Tensor, squared_norms: Tensor, squared_lengths: Tensor) -> Tensor:
    """Return the squared norms of all sums of an embedding and a mean, ``(N, C)``, from one matrix product."""
    return (squared_norms + squared_lengths + 2 * (embeddings @ means.T)).clamp_min(0.0)


def _root(squared: Tensor) -> Tensor:
    """Return the square root, with a zero (not infinite) gradient at zero."""
    is_zero = squared == 0
    return torch.where(is_zero, 0.0, torch.where(is_zero, 1.0, squared).sqrt())


#: The similarities that need no sampling, by their names in :class:`~pml_proxyext.losses.NivMFLoss`.
DETERMINISTIC_SIMILARITIES: dict[str, Callable[[Tensor, Proxies, Tensor], TemperedSimilarity]] = {
    "nivmf": point_similarity,
    "el_vmf": partial(product_kernel_similarity, rho=1.0),
    "b_vmf": partial(product_kernel_similarity, rho=0.5),
    "kl_vmf": kl_similarity,
    "l2": l2_similarity,
    "cosine": cosine_similarity,
}
