r"""The block of NIR's flow: a fixed permutation, then an affine coupling of both halves with softly clamped scales."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from nflows.transforms import Transform
from torch import Tensor, nn
from torch.nn.functional import linear

__all__ = ["MAX_LOG_SCALE", "CouplingBlock", "CouplingNet", "FollowingLinear", "soft_clamp"]

# 0.636 stands for 2 / pi in the released flow; it is kept, for the released numbers depend on its rounding.
_ATAN_SLOPE = 0.636

#: Largest log-scale of one coordinate in one block, as a multiple of ``clamp`` (0.99903).
MAX_LOG_SCALE = _ATAN_SLOPE * math.pi / 2


def soft_clamp(tensor: Tensor, clamp: float) -> Tensor:
    r"""Return ``clamp * 0.636 * atan(tensor)``, smoothly bounded by ``MAX_LOG_SCALE * clamp`` in absolute value."""
    return (clamp * _ATAN_SLOPE) * torch.atan(tensor)


class FollowingLinear(nn.Linear):
    """A linear layer whose arithmetic follows its input, while its parameters keep their own dtype and device."""

    def forward(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight.to(inputs), self.bias.to(inputs))


class CouplingNet(nn.Sequential):
    """The network that proposes scales and shifts: ``n_layers`` linear layers with ReLU between them.

    Args:
        in_features: coordinates that stay, and the context if there is one.
        out_features: coordinates to be moved; twice as many numbers come out, the scales first.
        n_layers: number of linear layers, the last one included.
        hidden_size: width between them.
    """

    def __init__(self, in_features: int, out_features: int, n_layers: int, hidden_size: int) -> None:
        widths = [in_features, *[hidden_size] * (n_layers - 1), 2 * out_features]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [FollowingLinear(before, after), nn.ReLU()]
        super().__init__(*layers[:-1])


class CouplingBlock(Transform):
    r"""Permute, move the first half given the second, then the second half given the moved first.

    .. math::
        y_1 = x_1 \odot e^{S(s_2)} + t_2,\quad (s_2, t_2) = g_2([x_2; c]);\qquad
        y_2 = x_2 \odot e^{S(s_1)} + t_1,\quad (s_1, t_1) = g_1([y_1; c])

    with :math:`[x_1; x_2]` the permuted input, :math:`c` the context and :math:`S` :func:`soft_clamp`.

    Args:
        dim: width :math:`D \ge 2` of the inputs; the first half has ``round(D / 2)`` coordinates, where halves are
            rounded to even (4 of 9).
        context_dim: width of the context; 0 for a block without one.
        n_layers: linear layers of each coupling network.
        hidden_size: their width.
        clamp: bound of the log-scales.
        seed: of the permutation, drawn from a generator of its own.

    Shapes:
        inputs ``(N, D)``, context ``(N, context_dim)`` or None -> outputs ``(N, D)``, log-determinants ``(N,)``.
    """

    permutation: Tensor

    def __init__(self, dim: int, context_dim: int, n_layers: int, hidden_size: int, clamp: float, seed: int) -> None:
        super().__init__()
        self.clamp = clamp
        self.split = [round(dim / 2), dim - round(dim / 2)]
        first, second = self.split
        # A legacy numpy generator, because it alone reproduces the permutations of the release.
        permutation = np.random.RandomState(seed).permutation(dim)
        self.register_buffer("permutation", torch.from_numpy(permutation).long())
        self.second_moves_first = CouplingNet(second + context_dim, first, n_layers, hidden_size)
        self.first_moves_second = CouplingNet(first + context_dim, second, n_layers, hidden_size)

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        permuted = inputs.index_select(1, self.permutation.to(inputs.device))
        first, second = permuted.split(self.split, dim=1)
        log_scale_first, shift = self._scale_and_shift(self.second_moves_first, second, context)
        first = torch.addcmul(shift, first, log_scale_first.exp())
        log_scale_second, shift = self._scale_and_shift(self.first_moves_second, first, context)
        second = torch.addcmul(shift, second, log_scale_second.exp())
        return torch.cat([first, second], 1), log_scale_first.sum(1) + log_scale_second.sum(1)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        first, second = inputs.split(self.split, dim=1)
        log_scale_second, shift = self._scale_and_shift(self.first_moves_second, first, context)
        second = (second - shift) * (-log_scale_second).exp()
        log_scale_first, shift = self._scale_and_shift(self.second_moves_first, second, context)
        first = (first - shift) * (-log_scale_first).exp()
        order = torch.argsort(self.permutation.to(inputs.device))
        outputs = torch.cat([first, second], 1).index_select(1, order)
        return outputs, -(log_scale_first.sum(1) + log_scale_second.sum(1))

    def _scale_and_shift(self, net: CouplingNet, still: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        scale, shift = net(still if context is None else torch.cat([still, context], 1)).chunk(2, dim=1)
        return soft_clamp(scale, self.clamp), shift
