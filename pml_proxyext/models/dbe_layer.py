r"""Direct binary embedding: a last layer whose outputs are nearly bits without being pressed to be."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pml_proxyext.utils.checks import check_embeddings, check_integer, check_number

__all__ = ["DBELayer", "binarize"]


def binarize(codes: Tensor, threshold: float = 0.5) -> Tensor:
    """Return 1 where a value is above the threshold and 0 elsewhere, in the dtype of ``codes``; NaN stays NaN.

    Args:
        codes: any shape, floating point.
        threshold: at the threshold itself a bit is 0.

    Example:
        >>> binarize(torch.tensor([0.2, 0.5, 0.9]))
        tensor([0., 0., 1.])
    """
    check_number("threshold", threshold)
    return torch.where(codes.isnan(), codes, (codes > threshold).to(codes))


class DBELayer(nn.Module):
    r"""The embedder of binary codes: a linear layer, batch normalisation, ReLU and tanh.

    .. math::
        z = \tanh(\mathrm{ReLU}(\mathrm{BN}(W h + b))) \in [0, 1], \qquad \mathrm{bit}_k = [z_k > \tfrac12]

    A loss for codes trains :math:`z`; :func:`binarize` reads the bits off it. A bit is 1 where the normalised output
    is above :math:`\mathrm{artanh}(1/2) = 0.549`. So a new layer gives sparse codes, 29 % ones if its inputs are
    normal, and half of :math:`z` is exactly 0; training moves the shift of the batch normalisation.

    Args:
        in_features: width of what comes in.
        num_bits: :math:`K`, the length of the code; 16, 32 and 64 are usual.

    Shapes:
        ``(N, in_features)`` floating point -> ``(N, num_bits)`` in [0, 1].

    Raises:
        ValueError: for sizes below 1 and inputs of another width.

    Recommendations:
        Call ``eval()`` before reading codes off: in training mode an item's bits depend on its batch. PML's testers
        do, but they normalise embeddings unless told ``normalize_embeddings=False``, and normalised codes are none.

    Departs from the paper or the release:
        no release is known, and of the papers only abstracts and an introduction were at hand. The order of the parts
        is a reconstruction from memory; learning rates and initialisation are those of torch.

    Reference:
        Liu, Rahimpour, Taalimi, Qi, "End-to-end Binary Representation Learning via Direct Binary Embedding", ICIP 2017,
        arXiv:1703.04960; Liu, Qi, "Discriminative Cross-View Hashing", WACV 2018, arXiv:1804.01233.

    Example:
        >>> layer = DBELayer(in_features=128, num_bits=16)
        >>> codes = layer(torch.randn(4, 128))
        >>> codes.shape, bool((codes >= 0).all()), binarize(codes).unique().tolist()
        (torch.Size([4, 16]), True, [0.0, 1.0])
    """

    def __init__(self, in_features: int, num_bits: int) -> None:
        super().__init__()
        self.linear = nn.Linear(check_integer("in_features", in_features), check_integer("num_bits", num_bits))
        self.norm = nn.BatchNorm1d(num_bits)

    def forward(self, features: Tensor) -> Tensor:
        check_embeddings(features, self.linear.in_features, name="features")
        return torch.tanh(torch.relu(self.norm(self.linear(features))))
