r"""What Cross-GAN has between the latents of two views: a map from one to the other, and a critic of pairs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pml_proxyext.utils.checks import check_embeddings, check_integer, check_rows

__all__ = ["JointDiscriminator", "LatentAligner"]

_SLOPE = 0.2


class LatentAligner(nn.Linear):
    r"""An affine map :math:`W z + b` of latents that starts as the identity: at first, both views are one space.

    Args:
        latent_size: :math:`Z`.

    Shapes:
        ``(N, Z)`` -> ``(N, Z)``.

    Example:
        >>> LatentAligner(3)(torch.tensor([[1.0, 2.0, 3.0]])).tolist()
        [[1.0, 2.0, 3.0]]
    """

    def __init__(self, latent_size: int) -> None:
        super().__init__(check_integer("latent_size", latent_size), latent_size)

    def reset_parameters(self) -> None:
        nn.init.eye_(self.weight)
        nn.init.zeros_(self.bias)


class JointDiscriminator(nn.Module):
    r"""Two hidden layers over a pair of latents; one logit for each pair, high for pairs taken to be true.

    Args:
        latent_size: :math:`Z`.
        hidden_size: of both hidden layers.

    Shapes:
        ``(N, Z)``, ``(N, Z)`` -> ``(N,)``.

    Raises:
        ValueError: for sizes below 1, and latents of other shapes.

    Departs from the paper or the release:
        no release is known, and what is known of the paper does not say how its adversarial layer is built.

    Example:
        >>> JointDiscriminator(latent_size=4)(torch.randn(3, 4), torch.randn(3, 4)).shape
        torch.Size([3])
    """

    def __init__(self, latent_size: int, hidden_size: int = 128) -> None:
        super().__init__()
        self.latent_size = check_integer("latent_size", latent_size)
        check_integer("hidden_size", hidden_size)
        self.layers = nn.Sequential(
            nn.Linear(2 * latent_size, hidden_size),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(hidden_size, hidden_size),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(hidden_size, 1),
        )

    def forward(self, latents: Tensor, ref_latents: Tensor) -> Tensor:
        check_embeddings(latents, self.latent_size, name="latents")
        check_embeddings(ref_latents, self.latent_size, name="ref_latents")
        check_rows(ref_latents, latents, "ref_latents", "latents")
        return self.layers(torch.cat([latents, ref_latents], dim=1)).squeeze(1)
