r"""Non-isotropy regularization of proxy losses by a conditional normalizing flow."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.losses.mixins import WeightRegularizerMixin
from pytorch_metric_learning.utils import common_functions as c_f
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from torch import Tensor
from torch.nn.functional import normalize

from pml_proxyext.flows import ConditionalFlow, ConditionMode
from pml_proxyext.losses.nir_likelihood import (
    LIKELIHOODS,
    NOISE_DISTRIBUTIONS,
    Likelihood,
    NoiseDistribution,
    add_noise,
    likelihood_loss,
)
from pml_proxyext.losses.proxy_access import class_proxies, full_precision_loss, own_proxies, similarity_logits
from pml_proxyext.losses.proxy_anchor_loss import ProxyAnchorLoss
from pml_proxyext.losses.proxy_loss import check_proxy_batch, element_loss
from pml_proxyext.utils.checks import check_choice, check_integer, check_number
from pml_proxyext.utils.parameter_groups import parameter_groups
from pml_proxyext.utils.precision import upcast

__all__ = ["NIRLoss"]


class NIRLoss(WeightRegularizerMixin, BaseMetricLossFunction):
    r"""A proxy loss, regularized so that each sample can be told from the others given nothing but its proxy.

    A proxy loss sees only how far a sample is from the proxies, so its samples may surround their proxy alike on all
    sides. Here a conditional normalizing flow :math:`\tau` must map each embedding, given the proxy of its class, to
    a standard normal latent, and embeddings and proxies learn to let it:

    .. math::
        L = w_p\, L_\mathrm{proxy} + \frac{w}{N} \sum_{i=1}^{N} h(\mathrm{nll}_i), \qquad
        \mathrm{nll}_i = \tfrac12 |z_i|^2 - \log\left|\det \frac{\partial z_i}{\partial e_i}\right|, \qquad
        z_i = \tau(e_i + \varepsilon_i \mid p_{y_i})

    with :math:`e_i` the normalized embedding, :math:`p_c` the normalized proxies, :math:`D` their width and noise
    :math:`\varepsilon_i`. The flow is a :class:`~pml_proxyext.flows.ConditionalFlow` and serves in training only.

    Args:
        num_classes: number of training classes :math:`C`; labels must lie in ``[0, C)``.
        embedding_size: width :math:`D \ge 2` of the embeddings.
        proxy_loss: any loss with proxies, PML's or ours. It keeps its own reducer, distance and regularizers. Default:
            :class:`~pml_proxyext.losses.ProxyAnchorLoss`, whose sample losses go through the reducer of this loss.
        nir_weight: :math:`w \ge 0`; a plain attribute, so a schedule may set it. 1, as released.
        proxy_weight: :math:`w_p \ge 0`. The release weights this term: 0.0075 on CUB200, 0.01 on Cars196, 0.3 on SOP.
        likelihood: :math:`h`. ``"plain"``: :math:`\mathrm{nll} / D`, whose weight means the same at any width.
            ``"softplus"``: :math:`\log(1 + e^{\mathrm{nll} / D})`, bounded below by 0, so that likely samples cease to
            count. ``"exp"``, as released: :math:`e^\mathrm{nll}`, and beyond 20 its tangent, which stays finite.
        noise_scale: size of the noise added to the flow's input while the loss is in training mode; 0 adds none, as
            the release does by default. 0.5 was chosen by measurement, see the documentation's page on NIR.
        noise_distribution: ``"gaussian"``: normal noise whose vector has the root mean square norm ``noise_scale``
            (embeddings have norm 1). Embeddings on a sphere have no density, so the likelihood alone can
            grow for ever; with this noise its mean per dimension is at least
            :math:`\tfrac12 + \log(\mathrm{noise\_scale} / \sqrt D)`. ``"uniform"``, as released: each coordinate
            gets uniform noise in ``[0, noise_scale)`` and the sum is normalized, which bounds nothing.
        n_blocks: blocks of the flow (5 in the release).
        n_layers: linear layers of each network in it (8 in the release).
        hidden_size: their width (128 in the release).
        clamp: bound of the flow's log-scales (2 in the release).
        condition_mode: how the flow's blocks see the proxy; see :class:`~pml_proxyext.flows.ConditionalFlow`.
        detach_condition: whether to keep the flow's gradient from the proxies. The release lets it through.
        permutation_seed: of the flow's fixed permutations; 0 gives those of the release.
        generator: source of the noise; None for torch's default generator.
        **kwargs: ``reducer``, ``embedding_regularizer`` and the other keywords of PML's losses. ``distance``,
            ``weight_init_func`` and ``weight_regularizer`` are for the default base only.

    Shapes:
        embeddings ``(N, D)`` floating point, labels ``(N,)`` integers -> a scalar, in float32 for half precision.

    Raises:
        ValueError: for invalid hyper-parameters, labels or embeddings, a ``proxy_loss`` without proxies or with others
            than :math:`C` (times centres per class) of width :math:`D`, and for ``ref_emb``.

    Requires an optimizer:
        ``param_groups(lr)`` gives the flow the learning rate of the network, and the proxies 100 times it;
        :attr:`lr_multipliers` holds both. The release has 50 and 4000, of a rate of 1e-5.

    Reducer input:
        **proxy_loss**: one value per sample, type ``"element"``, for the default base; the value of the given
        ``proxy_loss``, type ``"already_reduced"``, otherwise. **nir_loss**: one value per sample, type ``"element"``.
        Default reducer: mean. A miner's tuples weight the samples of both.

    Departs from the paper or the release:
        The release normalizes embeddings in the network; here the loss does. It has ``"exp"``, which quenches itself
        as soon as samples become likely; the paper's formula has no ``exp``. Both sum over dimensions where
        ``"plain"`` averages. The release's flow has five blocks of eight layers. With several centres per class the
        condition is the one nearest to the sample, a case the paper leaves open. Gaussian noise is ours.
        :meth:`as_released` sets all else.

    Reference:
        Roth, Vinyals, Akata, "Non-isotropy Regularization for Proxy-based Deep Metric Learning", CVPR 2022,
        arXiv:2203.08547.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> loss_func = NIRLoss(num_classes=3, embedding_size=4)
        >>> loss_func(torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2])).shape
        torch.Size([])
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        proxy_loss: BaseMetricLossFunction | None = None,
        nir_weight: float = 1.0,
        proxy_weight: float = 1.0,
        likelihood: Likelihood = "plain",
        noise_scale: float = 0.5,
        noise_distribution: NoiseDistribution = "gaussian",
        n_blocks: int = 3,
        n_layers: int = 3,
        hidden_size: int = 128,
        clamp: float = 2.0,
        condition_mode: ConditionMode = "dense",
        detach_condition: bool = False,
        permutation_seed: int = 0,
        generator: torch.Generator | None = None,
        **kwargs: Any,
    ) -> None:
        for_base = {name: kwargs.pop(name) for name in ("distance", "weight_init_func") if name in kwargs}
        if proxy_loss is not None:
            for name in [*for_base, *(name for name in kwargs if name.startswith("weight_reg"))]:
                raise ValueError(f"{name} is not supported together with proxy_loss: set it on the proxy_loss")
        check_integer("num_classes", num_classes)
        check_integer("embedding_size", embedding_size, low=2)
        base = ProxyAnchorLoss(num_classes, embedding_size, **for_base) if proxy_loss is None else proxy_loss
        class_proxies(base, num_classes, embedding_size)
        super().__init__(distance=base.distance, weight_init_func=getattr(base, "weight_init_func", None), **kwargs)
        self.num_classes, self.embedding_size = num_classes, embedding_size
        self.nir_weight = check_number("nir_weight", nir_weight, low=0.0)
        self.proxy_weight = check_number("proxy_weight", proxy_weight, low=0.0)
        self.noise_scale = check_number("noise_scale", noise_scale, low=0.0)
        self.likelihood: Likelihood = check_choice("likelihood", likelihood, LIKELIHOODS)
        self.noise_distribution: NoiseDistribution = check_choice(
            "noise_distribution", noise_distribution, NOISE_DISTRIBUTIONS
        )
        self.detach_condition = detach_condition
        self.generator = generator
        self.proxy_loss, self.is_default_base = base, proxy_loss is None
        self.flow = ConditionalFlow(
            embedding_size, embedding_size, n_blocks, n_layers, hidden_size, clamp, condition_mode, permutation_seed
        )
        #: Factor of the learning rate for the flow, and for the base loss's parameters by how their names begin there.
        self.lr_multipliers = {"flow": 1.0, **getattr(base, "lr_multipliers", {"": 100.0})}
        self.add_to_recordable_attributes(
            list_of_names=["num_classes", "embedding_size", "nir_weight", "proxy_weight", "noise_scale"]
        )
        self.add_to_recordable_attributes(name="nll_per_dimension", is_stat=True)

    @classmethod
    def as_released(
        cls,
        num_classes: int,
        embedding_size: int,
        proxy_weight: float = 0.01,
        variant: Literal["sample", "nca"] = "sample",
        **kwargs: Any,
    ) -> NIRLoss:
        r"""Return the loss of the authors' code: :math:`\mathrm{mean}_i\, e^{\mathrm{nll}_i} + w_p L_\mathrm{proxy}`.

        Args:
            num_classes: see :class:`NIRLoss`.
            embedding_size: see :class:`NIRLoss`.
            proxy_weight: 0.01 on Cars196, 0.0075 on CUB200, 0.3 on SOP.
            variant: of :class:`~pml_proxyext.losses.ProxyAnchorLoss`; ``"sample"`` is what the release calls, ``"nca"``
                its other proxy loss.
            **kwargs: of :class:`NIRLoss`, in place of the released values.
        """
        initial = c_f.TorchInitWrapper(torch.nn.init.normal_, std=1 / 8)
        base = ProxyAnchorLoss(num_classes, embedding_size, variant=variant, weight_init_func=initial)
        released: dict[str, Any] = {"likelihood": "exp", "noise_distribution": "uniform", "n_blocks": 5, "n_layers": 8}
        released["noise_scale"] = 0.0
        loss = cls(num_classes, embedding_size, base, proxy_weight=proxy_weight, **(released | kwargs))
        loss.is_default_base = True  # built here, so its sample losses go through the reducer of this loss
        loss.lr_multipliers |= {"proxies": 4000.0, "flow": 50.0}
        return loss

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        # PML adds sub-losses in the dtype of the embeddings, so half precision has to end before it does.
        full = upcast(embeddings)
        with torch.autocast(full.device.type, enabled=False):
            return super().forward(full, labels, indices_tuple, full if ref_emb is embeddings else ref_emb, ref_labels)

    def compute_loss(
        self, embeddings: Tensor, labels: Tensor, indices_tuple: Any, ref_emb: Tensor, ref_labels: Tensor
    ) -> dict[str, dict[str, Any]]:
        labels = check_proxy_batch(embeddings, labels, ref_emb, ref_labels, self.num_classes, self.embedding_size)
        if len(embeddings) == 0:
            return self.zero_losses()
        nll = self.negative_log_likelihood(embeddings, labels)
        weights = lmu.convert_to_weights(indices_tuple, labels, dtype=nll.dtype)
        losses = self.weighted(self._base_loss(embeddings, labels, indices_tuple), nll, weights)
        self.add_weight_regularization_to_loss_dict(losses, self.proxies)
        return losses

    def weighted(self, base: dict[str, Any], nll: Tensor, weights: Tensor) -> dict[str, dict[str, Any]]:
        """Return both sub-losses: that of the base, and that of the samples' negative log-likelihoods ``(N,)``."""
        nir_losses = self.nir_weight * weights * likelihood_loss(nll, self.embedding_size, self.likelihood)
        return {
            "proxy_loss": {**base, "losses": base["losses"] * self.proxy_weight},
            "nir_loss": element_loss(nir_losses),
        }

    def negative_log_likelihood(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        r"""Return :math:`|z_i|^2 / 2 - \log|\det|` of each sample given its class's proxy, with noise in training."""
        directions = normalize(upcast(embeddings))
        proxies = class_proxies(self.proxy_loss, self.num_classes, self.embedding_size).to(directions)
        return self.likelihood_given(directions, own_proxies(proxies, directions, labels))

    def likelihood_given(self, directions: Tensor, condition: Tensor) -> Tensor:
        """Return what :meth:`negative_log_likelihood` does, of normalized embeddings and proxies ``(N, D)``."""
        if self.detach_condition:
            condition = condition.detach()
        if self.noise_scale and self.training:
            directions = add_noise(directions, self.noise_scale, self.noise_distribution, self.generator)
        latents, log_det = self.flow(directions, condition)
        nll = latents.square().sum(1) / 2 - log_det
        if self.collect_stats:
            self.nll_per_dimension = nll.detach().mean().item() / self.embedding_size
        return nll

    def _base_loss(self, embeddings: Tensor, labels: Tensor, indices_tuple: Any) -> dict[str, Any]:
        if self.is_default_base:
            return self.proxy_loss.compute_loss(embeddings, labels, indices_tuple, embeddings, labels)["loss"]
        value = full_precision_loss(self.proxy_loss, embeddings, labels, indices_tuple)
        return {"losses": value, "indices": None, "reduction_type": "already_reduced"}

    @property
    def proxies(self) -> Tensor:
        """The proxies of the base loss: ``(C, D)``, or ``(C, K, D)`` with ``K > 1`` of them per class."""
        proxies = class_proxies(self.proxy_loss, self.num_classes, self.embedding_size)
        return proxies.squeeze(1) if proxies.shape[1] == 1 else proxies

    def get_logits(self, embeddings: Tensor) -> Tensor:
        """Return ``(N, num_classes)`` similarities to the proxies of the base loss: larger means nearer."""
        return similarity_logits(self.proxy_loss, embeddings)

    def param_groups(self, lr: float, **multipliers: float) -> list[dict[str, Any]]:
        """Return the loss's optimizer groups, each at ``lr`` times its multiplier and without weight decay.

        Args:
            lr: the learning rate of the network.
            **multipliers: other factors than the defaults: ``flow``, and the base loss's parameters by their names
                there, as in ``param_groups(1e-3, flow=2.0, proxies=30.0)``.
        """
        chosen, defaults = (
            {name if name == "flow" else f"proxy_loss.{name}": factor for name, factor in factors.items()}
            for factors in (multipliers, self.lr_multipliers)
        )
        return parameter_groups(self, lr, chosen, defaults)

    def _sub_loss_names(self) -> list[str]:
        return ["proxy_loss", "nir_loss"]

    def extra_repr(self) -> str:
        names = [*self._record_these, "likelihood", "noise_distribution", "detach_condition"]
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)
