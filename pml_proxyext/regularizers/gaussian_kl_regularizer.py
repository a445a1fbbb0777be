r"""Latents of variational encoders, kept near the standard normal distribution."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning.regularizers import BaseRegularizer
from torch import Tensor

from pml_proxyext.distributions.diagonal_normal import kl_to_standard_normal, split_normal
from pml_proxyext.utils.precision import upcast

__all__ = ["GaussianKLRegularizer"]


class GaussianKLRegularizer(BaseRegularizer):
    r"""The divergence of encoded distributions from the prior of a variational autoencoder.

    A row packs a normal distribution of diagonal covariance, :math:`[\mu \mid \log \sigma^2]`:

    .. math::
        \ell_i = \mathrm{KL}\big(N(\mu_i, \mathrm{diag}\,\sigma_i^2) \,\big\|\, N(0, I)\big)
               = \frac12 \sum_{z=1}^{Z} \big(\sigma_{iz}^2 + \mu_{iz}^2 - 1 - \log \sigma_{iz}^2\big) \ge 0

    in nats, 0 for :math:`\mu = 0, \sigma = 1` alone.

    Args:
        **kwargs: ``reducer``, by default the mean over rows.

    Shapes:
        ``(N, 2 Z)`` floating point -> a scalar; in float32 under half precision.

    Raises:
        ValueError: for another shape, an odd width, integers, and a ``distance``.

    Requirements:
        what it regularises is packed; losses that compare embeddings should get the means alone. A log-variance
        beyond the range of exp, 88 in float32, gives inf.

    Departs from the paper or the release:
        no release of Cross-GAN is known, and of the paper only the abstract and the first lines were at hand, which
        speak of a variational autoencoder; the normal prior and the diagonal covariance are what is usual.

    Reference:
        Kingma, Welling, "Auto-Encoding Variational Bayes", ICLR 2014; Zhang, Wu, Wang, "Crossing Generative Adversarial
        Networks for Cross-View Person Re-identification", arXiv:1801.01760.

    Example:
        >>> GaussianKLRegularizer()(torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
        tensor(6.2500)
    """

    def __init__(self, **kwargs: Any) -> None:
        if "distance" in kwargs:
            raise ValueError("distance is not supported: the divergence of distributions is one")
        super().__init__(**kwargs)

    def compute_loss(self, x: Tensor) -> dict[str, dict[str, Any]]:
        losses = self.sample_losses(x) if len(x) else 0  # zero for the reducer, which keeps the graph
        indices = torch.arange(len(x), device=x.device)
        return {"loss": {"losses": losses, "indices": indices, "reduction_type": "element", "divisor": len(x)}}

    def sample_losses(self, packed: Tensor) -> Tensor:
        """Return one value per row, ``(N,)``, in float32 at least."""
        mu, log_variance = split_normal(packed)
        return kl_to_standard_normal(upcast(mu), upcast(log_variance))
