"""Encoders and decoders of Cross-GAN: convolutions for small images, and perceptrons for vectors."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from pml_proxyext.models.variational import VariationalEncoder
from pml_proxyext.utils.checks import check_integer

__all__ = ["conv_decoder", "conv_encoder", "mlp_decoder", "mlp_encoder"]

_SIDE = 4  # of the coarsest maps, for images of 32 x 32


def conv_encoder(latent_size: int, in_channels: int = 1, width: int = 32) -> VariationalEncoder:
    """Return three convolutions of stride 2 and a last layer: images ``(N, in_channels, 32, 32)`` -> ``(N, 2 Z)``.

    Args:
        latent_size: Z.
        in_channels: 1 for grey images, 3 for colour.
        width: channels after the first convolution; the others have twice and four times as many.

    Raises:
        ValueError: for sizes below 1.

    Example:
        >>> import torch
        >>> conv_encoder(latent_size=16)(torch.rand(2, 1, 32, 32)).shape
        torch.Size([2, 32])
    """
    sizes = [check_integer("in_channels", in_channels), check_integer("width", width), 2 * width, 4 * width]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        convolution = nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
    return VariationalEncoder(nn.Sequential(*layers, nn.Flatten()), sizes[-1] * _SIDE**2, latent_size)


def conv_decoder(latent_size: int, out_channels: int = 1, width: int = 32) -> nn.Sequential:
    """Return the mirror image of :func:`conv_encoder`: ``(N, Z)`` -> ``(N, out_channels, 32, 32)`` in [0, 1].

    Args:
        latent_size: Z.
        out_channels: 1 for grey images, 3 for colour.
        width: channels before the last convolution.

    Raises:
        ValueError: for sizes below 1.

    Example:
        >>> import torch
        >>> conv_decoder(latent_size=16)(torch.randn(2, 16)).shape
        torch.Size([2, 1, 32, 32])
    """
    sizes = [4 * check_integer("width", width), 2 * width, width, check_integer("out_channels", out_channels)]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.BatchNorm2d(before), nn.ReLU(), nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
    first = nn.Linear(check_integer("latent_size", latent_size), sizes[0] * _SIDE**2)
    return nn.Sequential(first, nn.Unflatten(1, (sizes[0], _SIDE, _SIDE)), *layers, nn.Sigmoid())


def mlp_encoder(in_features: int, latent_size: int, hidden_size: int = 256) -> VariationalEncoder:
    """Return one hidden layer and a last one: ``(N, in_features)`` -> ``(N, 2 Z)``.

    Raises:
        ValueError: for sizes below 1.

    Example:
        >>> import torch
        >>> mlp_encoder(in_features=10, latent_size=4)(torch.randn(2, 10)).shape
        torch.Size([2, 8])
    """
    first = nn.Linear(check_integer("in_features", in_features), check_integer("hidden_size", hidden_size))
    return VariationalEncoder(nn.Sequential(first, nn.ReLU()), hidden_size, latent_size)


def mlp_decoder(latent_size: int, out_features: int, hidden_size: int = 256) -> nn.Sequential:
    """Return one hidden layer and a linear one: ``(N, Z)`` -> ``(N, out_features)``, any real numbers.

    Raises:
        ValueError: for sizes below 1.

    Example:
        >>> import torch
        >>> mlp_decoder(latent_size=4, out_features=10)(torch.randn(2, 4)).shape
        torch.Size([2, 10])
    """
    first = nn.Linear(check_integer("latent_size", latent_size), check_integer("hidden_size", hidden_size))
    return nn.Sequential(first, nn.ReLU(), nn.Linear(hidden_size, check_integer("out_features", out_features)))
