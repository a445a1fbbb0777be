r"""Networks that give a normal distribution for each input, and what of it is compared."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pml_proxyext.distributions.diagonal_normal import split_normal
from pml_proxyext.utils.checks import check_integer

__all__ = ["LatentMean", "VariationalEncoder"]

_FIRST_LOG_VARIANCE = -2.0  # samples that are mostly signal, so that the decoder has something to learn from


class VariationalEncoder(nn.Module):
    r"""A network with a last layer for mean and log-variance: :math:`[\mu \mid \log \sigma^2]`.

    Args:
        body: from inputs to features ``(N, num_features)``.
        num_features: the width of what ``body`` returns.
        latent_size: :math:`Z`.

    Shapes:
        whatever ``body`` takes -> ``(N, 2 Z)``.

    Raises:
        ValueError: for sizes below 1.

    Example:
        >>> encoder = VariationalEncoder(nn.Linear(6, 16), num_features=16, latent_size=4)
        >>> encoder(torch.randn(3, 6)).shape
        torch.Size([3, 8])
    """

    def __init__(self, body: nn.Module, num_features: int, latent_size: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(
            check_integer("num_features", num_features), 2 * check_integer("latent_size", latent_size)
        )
        with torch.no_grad():
            self.head.bias[latent_size:] = _FIRST_LOG_VARIANCE

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs))


class LatentMean(nn.Module):
    r"""Take the means out of :math:`[\mu \mid \log \sigma^2]`: an embedder for PML's testers.

    Shapes:
        ``(N, 2 Z)`` -> ``(N, Z)``.

    Raises:
        ValueError: for another shape.

    Example:
        >>> LatentMean()(torch.tensor([[1.0, 2.0, 0.0, -1.0]]))
        tensor([[1., 2.]])
    """

    def forward(self, packed: Tensor) -> Tensor:
        return split_normal(packed)[0]
