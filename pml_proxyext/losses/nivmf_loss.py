r"""nivMF: proxies and images as (non-isotropic) von Mises-Fisher distributions on the sphere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pml_proxyext.distributions import bessel_ratio, pooled_concentration, sample_vmf
from pml_proxyext.losses.binomial_deviance import BinomialDeviance
from pml_proxyext.losses.nivmf_released import released_vmf_samples
from pml_proxyext.losses.nivmf_similarities import (
    DETERMINISTIC_SIMILARITIES,
    Proxies,
    TemperedSimilarity,
    expected_likelihood_closed_form,
    expected_likelihood_of_samples,
    polar,
)
from pml_proxyext.losses.proxy_loss import ProxyLoss, class_sums
from pml_proxyext.utils.checks import check_choice, check_embeddings, check_integer, check_number
from pml_proxyext.utils.precision import upcast

__all__ = ["NivMFLoss", "NivMFSimilarity"]

NivMFSimilarity = Literal["el_nivmf", "nivmf", "el_vmf", "b_vmf", "kl_vmf", "l2", "cosine"]
Estimator = Literal["monte_carlo", "closed_form", "released_monte_carlo"]
Normalization = Literal["exact", "released_determinant", "released"]
Objective = Callable[[Tensor, Tensor, Tensor], Tensor]

GUIDANCE = BinomialDeviance(alpha=32.0, positive_margin=0.1, negative_margin=-0.1, positives="samples")


class NivMFLoss(ProxyLoss):
    r"""Cross-entropy over similarities of distributions: images are vMF, proxies non-isotropic vMF.

    The embedding :math:`e` is NOT normalised: its direction :math:`\mu = e / |e|` is the mean and its norm the
    concentration (the certainty) of a von Mises-Fisher distribution. A proxy has a unit direction :math:`m_c` and
    concentrations :math:`k_c`, one per dimension for ``el_nivmf`` and ``nivmf``, and one in all for the others. With
    :math:`a_c = k_c \odot m_c`, :math:`K_c = \mathrm{diag}(k_c)`, the vMF normaliser :math:`C_D` and temperature
    :math:`T`,

    .. math::
        \ell_i = -\log \frac{\exp s(e_i, c = y_i)}{\sum_{c=1}^{C} \exp s(e_i, c)}, \qquad
        \log f_c(z) = \log C_D(|a_c|) + \sum_d \log k_{cd} - D \log |K_c z| + |a_c| \cos(K_c z, a_c)

    =============  ===============================================================================================
    similarity     :math:`s(e, c)`
    =============  ===============================================================================================
    ``el_nivmf``   :math:`\log \frac{1}{n} \sum_{j=1}^{n} f_c(z_j)^{1/T}`, :math:`z_j \sim \mathrm{vMF}(\mu, |e|)`
    ``nivmf``      :math:`\log f_c(\mu) / T`
    ``el_vmf``     :math:`[\log C_D(|e|) + \log C_D(k_c) - \log C_D(|e + a_c|)] / T`
    ``b_vmf``      :math:`[\frac12 \log C_D(|e|) + \frac12 \log C_D(k_c) - \log C_D(\frac12 |e + a_c|)] / T`
    ``kl_vmf``     :math:`-\mathrm{KL}(\mathrm{vMF}(\mu, |e|) \,\|\, \mathrm{vMF}(m_c, k_c)) / T`
    ``l2``         :math:`-|e - a_c|^2 / T`
    ``cosine``     :math:`\mu \cdot m_c / T`
    =============  ===============================================================================================

    Retrieval uses the cosine of the embeddings, as PML's testers do; :meth:`uncertainty` ranks images by certainty.

    Args:
        num_classes: number of training classes :math:`C`; labels must lie in ``[0, C)``.
        embedding_size: width :math:`D >= 2` of the embeddings.
        similarity: a row of the table; ``"el_nivmf"`` is the paper's.
        temperature: initial :math:`T > 0` (0.01: the release's parser; its CUB and Cars runs use 0.003). It is learned
            as :math:`\log T`, so that it stays positive.
        concentration: initial value of every :math:`k` (10: the release's parser; its runs use 6 to 22).
        n_samples: draws :math:`n` per image for ``el_nivmf`` (5: the release's CUB and Cars runs).
        guidance_weight: weight of Proxy Anchor on the directions (0: the release's parser; 0.1 to 5 in its runs).
        estimator: how ``el_nivmf`` takes the expectation: ``"monte_carlo"``; ``"closed_form"``, exact and without
            noise, for ``warp_samples=False`` only; ``"released_monte_carlo"``, with the release's biased sampler.
        normalization: ``"exact"``: densities integrate to one. ``"released_determinant"``: exact :math:`C_D`, but
            :math:`-\log |a_c|` in the place of :math:`-D \log |K_c z|`. ``"released"``: also the release's fits to
            :math:`\log C_D`, and the sign of its KL.
        warp_samples: apply :math:`K_c` to the samples of ``el_nivmf``, as the paper's density does and the release does
            not. Without, :math:`f_c` is isotropic around :math:`a_c`.
        norm_multiplier: a factor on the embeddings before all else, for networks whose norms start far from tens; the
            release multiplies the initial weights of the last layer by 10 to 150 instead.
        min_concentration: floor of every :math:`k` (0.1: the release).
        objective: what makes losses out of logits, labels and weights; cross-entropy by default. The release's
            ``bindev`` option is :class:`~pml_proxyext.losses.binomial_deviance.BinomialDeviance`.
        generator: source of the Monte Carlo noise; torch's default generator when None. ``torch.compile`` makes whole
            graphs only without one.
        **kwargs: ``reducer``, ``embedding_regularizer``, ``weight_regularizer``, ``weight_init_func``. ``distance`` is
            not supported: ``similarity`` takes its place.

    Shapes:
        embeddings ``(N, D)`` floating point, labels ``(N,)`` integers -> a scalar, in float32 for half precision. All
        arithmetic is in float32 for half precision and under autocast: the logits need it.

    Raises:
        ValueError: for invalid hyper-parameters or combinations of them, labels or embeddings.

    Requires an optimizer:
        ``param_groups(lr)`` has the release's factors for its lr of 1e-5: 5000 for the directions, 20000 for the
        concentrations, 200 for the (log) temperature. At a learning rate of 1e-3 that is too much: pass your own, such
        as ``param_groups(1e-3, proxies=100.0, concentrations=100.0, log_temperature=1.0)``.

    Reducer input:
        **loss**: one value per sample, type ``"element"``. Default reducer: mean.

    Departs from the paper or the release:
        The defaults follow the paper's mathematics as we know it from the code and third parties' quotations;
        :meth:`as_released` follows the code, which leaves out the Jacobian :math:`|K z|^{-D}`, does not apply
        :math:`K_c` to the samples, fits :math:`\log C_D` at D = 128 and 512 only, samples wrongly for concentrations
        above 10 in high dimension, has its KL with the opposite sign and without the Bessel ratio, and learns
        :math:`T` itself. The documentation's page on nivMF has the table.

    Reference:
        Kirchhof, Roth, Akata, Kasneci, "A Non-isotropic Probabilistic Take on Proxy-based Deep Metric Learning",
        ECCV 2022, arXiv:2207.03784.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> loss_func = NivMFLoss(num_classes=3, embedding_size=8, temperature=0.5)
        >>> loss_func(10 * torch.randn(6, 8), torch.tensor([0, 0, 1, 1, 2, 2])).shape
        torch.Size([])
    """

    lr_multipliers: ClassVar[dict[str, float]] = {
        "proxies": 5000.0,
        "concentrations": 20000.0,
        "log_temperature": 200.0,
    }

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        similarity: NivMFSimilarity = "el_nivmf",
        temperature: float = 0.01,
        concentration: float = 10.0,
        n_samples: int = 5,
        guidance_weight: float = 0.0,
        estimator: Estimator = "monte_carlo",
        normalization: Normalization = "exact",
        warp_samples: bool = True,
        norm_multiplier: float = 1.0,
        min_concentration: float = 0.1,
        objective: Objective | None = None,
        generator: torch.Generator | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("distance") is not None:
            raise ValueError("distance is not supported by NivMFLoss; choose a similarity instead")
        check_integer("embedding_size", embedding_size, low=2)
        super().__init__(num_classes, embedding_size, **kwargs)
        self.similarity = check_choice("similarity", similarity, get_args(NivMFSimilarity))
        self.estimator = check_choice("estimator", estimator, get_args(Estimator))
        self.normalization = check_choice("normalization", normalization, get_args(Normalization))
        self.warp_samples = warp_samples
        if estimator == "closed_form" and warp_samples:
            raise ValueError("estimator='closed_form' is not supported with warp_samples=True: no closed form is known")
        self.n_samples = check_integer("n_samples", n_samples)
        self.guidance_weight = check_number("guidance_weight", guidance_weight, low=0.0)
        self.norm_multiplier = check_number("norm_multiplier", norm_multiplier, low=0.0, open_low=True)
        self.min_concentration = check_number("min_concentration", min_concentration, low=0.0, open_low=True)
        check_number("concentration", concentration, low=0.0, open_low=True)
        check_number("temperature", temperature, low=0.0, open_low=True)
        self.objective = objective
        self.generator = generator
        if similarity != "cosine":
            shape = (num_classes, embedding_size) if similarity in ("el_nivmf", "nivmf") else (num_classes,)
            self.concentrations = nn.Parameter(torch.full(shape, float(concentration)))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        self.add_to_recordable_attributes(list_of_names=["n_samples", "guidance_weight", "norm_multiplier"])
        self.add_to_recordable_attributes(
            list_of_names=["learned_temperature", "mean_concentration", "mean_norm"], is_stat=True
        )

    @classmethod
    def as_released(
        cls, num_classes: int, embedding_size: int, similarity: NivMFSimilarity = "el_nivmf", **kwargs: Any
    ) -> NivMFLoss:
        """Return the loss with every switch where the official code has it, flaws included.

        What remains different: the temperature is learned as its logarithm.
        """
        released = {"estimator": "released_monte_carlo", "normalization": "released", "warp_samples": False}
        return cls(num_classes, embedding_size, similarity, **{**released, **kwargs})

    def _proxies(self, embeddings: Tensor) -> Proxies:
        """Return the proxies in the dtype and on the device of the embeddings."""
        own = [self.proxies] if self.similarity == "cosine" else [self.proxies, self.concentrations]
        return self.make_proxies(*(parameter.to(embeddings) for parameter in own))

    def make_proxies(self, proxies: Tensor, concentrations: Tensor | None = None) -> Proxies:
        """Return distributions from rows of the parameters of those names; ``cosine`` has no concentrations."""
        directions = polar(proxies)[0]
        if concentrations is None:
            return Proxies(directions, directions.new_ones(len(directions)), self.normalization)
        return Proxies(directions, concentrations.clamp_min(self.min_concentration), self.normalization)

    def _draw(self, embeddings: Tensor) -> Tensor:
        directions, norms = polar(embeddings)
        if self.estimator == "released_monte_carlo" and self.embedding_size != 3:  # there the release inverts the CDF
            return released_vmf_samples(directions, norms, self.n_samples, self.generator)
        return sample_vmf(directions, norms, self.n_samples, self.generator)

    def draw(self, embeddings: Tensor) -> Tensor | None:
        """Return samples ``(n_samples, N, D)`` of the images' distributions, or None if the similarity needs none."""
        is_sampled = self.similarity == "el_nivmf" and self.estimator != "closed_form"
        return self._draw(embeddings) if is_sampled else None

    def similarities(
        self, embeddings: Tensor, samples: Tensor | None, proxies: Proxies, temperature: Tensor
    ) -> TemperedSimilarity:
        """Return the similarities of scaled embeddings, with what :meth:`draw` made of them, to the proxies."""
        if samples is not None:
            return expected_likelihood_of_samples(samples, proxies, temperature, self.warp_samples)
        if self.similarity == "el_nivmf":
            return expected_likelihood_closed_form(embeddings, proxies, temperature)
        return DETERMINISTIC_SIMILARITIES[self.similarity](embeddings, proxies, temperature)

    def _logits(self, embeddings: Tensor, proxies: Proxies) -> tuple[Tensor, Tensor]:
        """Return centred logits ``(N, C)`` and the offset that was taken from them."""
        temperature = self.log_temperature.to(embeddings).exp()
        return self.similarities(embeddings, self.draw(embeddings), proxies, temperature).centred(temperature)

    def sample_losses(self, embeddings: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        with torch.autocast(embeddings.device.type, enabled=False):
            scaled = upcast(embeddings) * self.norm_multiplier
            proxies = self._proxies(scaled)
            logits, offset = self._logits(scaled, proxies)
            if self.objective is None:
                losses = cross_entropy(logits, labels, reduction="none") * weights
            else:
                losses = self.objective(logits + offset, labels, weights)
            if self.guidance_weight:
                cosines = polar(scaled)[0] @ proxies.directions.T
                losses = losses + self.guidance_weight * GUIDANCE(cosines, labels, weights)
        if self.collect_stats:
            self._record(scaled, proxies)
        return losses

    def get_logits(self, embeddings: Tensor) -> Tensor:
        """Return logits ``(N, C)``: larger is nearer, up to one constant; random with a Monte Carlo ``estimator``."""
        with torch.autocast(embeddings.device.type, enabled=False):
            scaled = upcast(embeddings) * self.norm_multiplier
            return self._logits(scaled, self._proxies(scaled))[0]

    def uncertainty(self, embeddings: Tensor) -> Tensor:
        r"""Return :math:`1 - A_D(|e|)` in [0, 1] for each row: one minus the mean cosine of the image's distribution.

        It falls as the norm grows; 1 means that nothing is known of the direction.
        """
        check_embeddings(embeddings, self.embedding_size)
        norms = torch.linalg.vector_norm(upcast(embeddings), dim=1) * self.norm_multiplier
        return 1 - bessel_ratio(norms, self.embedding_size)

    @torch.no_grad()
    def init_from(self, embeddings: Tensor, labels: Tensor) -> None:
        r"""Start from data: directions from the class means, one concentration from the spread within the classes.

        The concentration is :math:`A_D^{-1}(\bar R)`, the maximum-likelihood estimate for a mean resultant length
        :math:`\bar R` pooled over the classes and corrected for their sizes (per class, a handful of images says
        little). Without a class of at least two embeddings the concentrations stay as they are. The release
        warm-starts the directions only. For arguments and errors see
        :meth:`ProxyLoss.init_from <pml_proxyext.losses.proxy_loss.ProxyLoss.init_from>`.
        """
        super().init_from(embeddings, labels)
        sums, counts = class_sums(embeddings, labels, self.num_classes)
        if self.similarity != "cosine" and (counts > 1).any():
            pooled = pooled_concentration(sums[counts > 1], counts[counts > 1])
            self.concentrations.fill_(pooled.clamp_min(self.min_concentration))

    @torch.no_grad()
    def _record(self, embeddings: Tensor, proxies: Proxies) -> None:
        self.learned_temperature = self.log_temperature.exp().item()
        self.mean_concentration = proxies.concentrations.mean().item()
        self.mean_norm = torch.linalg.vector_norm(embeddings, dim=1).mean().item()

    def extra_repr(self) -> str:
        names = ("similarity", "estimator", "normalization", "warp_samples")
        return ", ".join([super().extra_repr(), *(f"{name}={getattr(self, name)}" for name in names)])
