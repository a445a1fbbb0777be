r"""Critics with fully connected networks: one for each side, or one over both sides together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils import skip_init
from torch.utils.checkpoint import checkpoint

from pml_proxyext.flows.coupling import FollowingLinear
from pml_proxyext.information.critics import Critic
from pml_proxyext.utils.checks import check_integer

__all__ = ["ConcatenatedCritic", "SeparableCritic", "perceptron"]


def perceptron(widths: Sequence[int], generator: torch.Generator | None = None) -> nn.Sequential:
    """Return linear layers with ReLU between them, whose arithmetic follows the input.

    Args:
        widths: of the input, of every hidden layer, and of the output.
        generator: draws the weights and biases, from the distributions of :class:`torch.nn.Linear`; None for torch's
            default generator.

    Raises:
        ValueError: for widths below 1.

    Example:
        >>> perceptron([3, 8, 2])(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [_linear(before, after, generator), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _linear(before: int, after: int, generator: torch.Generator | None) -> FollowingLinear:
    check_integer("the width of a layer", before)
    check_integer("the width of a layer", after)
    # nn.Linear itself would draw from the default generator.
    layer: FollowingLinear = skip_init(FollowingLinear, before, after)
    nn.init.kaiming_uniform_(layer.weight, a=sqrt(5), generator=generator)
    nn.init.uniform_(layer.bias, -1 / sqrt(before), 1 / sqrt(before), generator=generator)
    return layer


class SeparableCritic(Critic):
    r"""The dot product of two networks' outputs, :math:`S_{ij} = g(x_i)^\top h(y_j) / \sqrt{E}`.

    All pairs cost R + M passes through the networks and one matrix product.

    Args:
        x_size: width of x.
        y_size: width of y.
        hidden_sizes: widths of the hidden layers of both networks.
        embedding_size: :math:`E`, the width of both outputs; sizes are our choice, papers differ.
        generator: draws the initial weights; None for torch's default generator.

    Shapes and Raises:
        as :class:`Critic`.

    Reference:
        Poole, Ozair, van den Oord, Alemi and Tucker, "On Variational Bounds of Mutual Information", ICML 2019,
        arXiv:1905.06922 (separable and joint critics).

    Example:
        >>> critic = SeparableCritic(x_size=3, y_size=2)
        >>> critic(torch.randn(4, 3), torch.randn(5, 2)).shape
        torch.Size([4, 5])
    """

    def __init__(
        self,
        x_size: int,
        y_size: int,
        hidden_sizes: Sequence[int] = (128, 128),
        embedding_size: int = 64,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(x_size, y_size)
        self.scale = check_integer("embedding_size", embedding_size) ** -0.5
        self.x_network = perceptron([x_size, *hidden_sizes, embedding_size], generator)
        self.y_network = perceptron([y_size, *hidden_sizes, embedding_size], generator)

    def embed_x(self, x: Tensor) -> Tensor:
        return self.x_network(x)

    def embed_y(self, y: Tensor) -> Tensor:
        return self.y_network(y)

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        return super().compare(x, y) * self.scale


class ConcatenatedCritic(Critic):
    r"""A network over both sides at once, :math:`S_{ij} = h([x_i; y_j])`.

    The first layer is linear, so :math:`W [x_i; y_j] = W_x x_i + W_y y_j` is taken of R + M rows, and the concatenated
    pairs are never built. The layers above see every pair: R M times their width is stored for the backward pass,
    unless ``chunk_size`` says otherwise.

    Args:
        x_size: width of x.
        y_size: width of y.
        hidden_sizes: widths of the hidden layers, at least one; our choice, papers differ.
        chunk_size: rows of x whose pairs are in memory at a time; the backward pass computes them again. None takes
            all at once, which is faster.
        generator: draws the initial weights; None for torch's default generator.

    Shapes and Raises:
        as :class:`Critic`; ValueError also for an empty ``hidden_sizes``.

    Reference:
        Belghazi et al., "MINE: Mutual Information Neural Estimation", ICML 2018, arXiv:1801.04062.

    Example:
        >>> critic = ConcatenatedCritic(x_size=3, y_size=2, hidden_sizes=(16,), chunk_size=2)
        >>> critic(torch.randn(4, 3), torch.randn(5, 2)).shape
        torch.Size([4, 5])
    """

    def __init__(
        self,
        x_size: int,
        y_size: int,
        hidden_sizes: Sequence[int] = (128, 128),
        chunk_size: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(x_size, y_size)
        if not hidden_sizes:
            raise ValueError(f"hidden_sizes must name at least one layer, got {hidden_sizes!r}")
        self.chunk_size = None if chunk_size is None else check_integer("chunk_size", chunk_size)
        self.first = _linear(x_size + y_size, hidden_sizes[0], generator)
        self.upper = nn.Sequential(nn.ReLU(), *perceptron([*hidden_sizes, 1], generator))

    def embed_x(self, x: Tensor) -> Tensor:
        return linear(x, self.first.weight[:, : self.x_size].to(x), self.first.bias.to(x))

    def embed_y(self, y: Tensor) -> Tensor:
        return linear(y, self.first.weight[:, self.x_size :].to(y))

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        if self.chunk_size is None or len(x) <= self.chunk_size:
            return self._upper_layers(x, y)
        rows = x.split(self.chunk_size)
        candidates = [y] * len(rows) if y.ndim == 2 else y.split(self.chunk_size)
        parts = [
            checkpoint(self._upper_layers, *part, use_reentrant=False) for part in zip(rows, candidates, strict=True)
        ]
        return torch.cat(parts)

    def _upper_layers(self, x: Tensor, y: Tensor) -> Tensor:
        pairs = x[:, None] + y  # (R, M, H): y broadcasts over the rows, or has them
        return self.upper(pairs).squeeze(2)
