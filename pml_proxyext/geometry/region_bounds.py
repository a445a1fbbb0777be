r"""How many pieces a ReLU network can have at most, from the widths of its layers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import comb, prod

from pml_proxyext.utils.checks import check_integer

__all__ = ["ReLUBounds", "hyperplane_regions", "relu_bounds"]


@dataclass(frozen=True)
class ReLUBounds:
    """Four upper bounds on the number of linear regions, each at most the one before it; see :func:`relu_bounds`.

    Attributes:
        paper: as the paper states it, with a factor for the linear output layer, which adds no piece.
        hidden_only: the same without that factor.
        min_width: with every layer's dimension cut to the narrowest layer before it.
        serra: with the rank that a layer loses where units are off.
    """

    paper: int
    hidden_only: int
    min_width: int
    serra: int


def hyperplane_regions(count: int, dim: int) -> int:
    r"""Return into how many parts ``count`` hyperplanes in general position cut :math:`R^{dim}`.

    .. math::
        C(d, n) = \sum_{j=0}^{d} \binom{n}{j}

    Other positions give fewer.

    Raises:
        ValueError: for negative numbers and what is no integer.

    Reference:
        Zaslavsky, "Facing up to Arrangements", Memoirs of the AMS 154, 1975.

    Example:
        >>> hyperplane_regions(3, dim=2)  # three lines make a triangle and six parts around it
        7
    """
    check_integer("count", count, low=0)
    check_integer("dim", dim, low=0)
    return sum(comb(count, j) for j in range(min(dim, count) + 1))


def relu_bounds(widths: Sequence[int]) -> ReLUBounds:
    r"""Bound the number of linear regions of a network whose hidden layers are affine maps followed by ReLU.

    With widths :math:`w_0` (input), :math:`w_1, \dots, w_k` (hidden) and :math:`w_{k+1}` (linear output), and
    :math:`C` of :func:`hyperplane_regions`,

    .. math::
        \text{serra} \le \prod_{i=1}^{k} C(\min_{j < i} w_j, w_i)
        \le \prod_{i=1}^{k} C(w_{i-1}, w_i) \le \prod_{i=1}^{k+1} C(w_{i-1}, w_i).

    Why: in a region of the layers before it, the units of layer i are affine in the input, so that each cuts the region
    by one hyperplane at most, and the region has no more dimensions than the narrowest layer so far. The sharpest one
    counts in how many parts j units are off: there the rank that is left is at most the number of units that are on,
    :math:`R_i(d) = \sum_{j \le \min(d, w_i)} \binom{w_i}{j} R_{i+1}(\min(d, w_i - j))`, :math:`R_{k+1} = 1`, and
    the bound is :math:`R_1(w_0)`.

    A leaky ReLU keeps its rank: of its four bounds ``serra`` does not hold.

    Args:
        widths: :math:`w_0, \dots, w_{k+1}`; two numbers or more.

    Returns:
        Python integers, however large.

    Raises:
        ValueError: for fewer than two widths, and widths that are not positive integers.

    Reference:
        Lei, Luo, Yau, Gu, "Geometric Understanding of Deep Learning", arXiv:1805.10451, Theorem 4.5 (``paper``).
        Serra, Tjandraatmadja, Ramalingam, "Bounding and Counting Linear Regions of Deep Neural Networks", ICML 2018,
        arXiv:1711.02114; Montufar, "Notes on the number of linear regions of deep neural networks", 2017.

    Example:
        >>> relu_bounds([2, 3, 1])
        ReLUBounds(paper=14, hidden_only=7, min_width=7, serra=7)
    """
    widths = [check_integer(f"widths[{i}]", width) for i, width in enumerate(widths)]
    if len(widths) < 2:
        raise ValueError(f"widths must name an input and an output at least, got {widths}")
    hidden, sources = widths[1:-1], widths[:-1]
    factors = [hyperplane_regions(width, source) for source, width in zip(sources, widths[1:], strict=True)]
    narrowest = accumulate(sources[:-1], min)
    return ReLUBounds(
        paper=prod(factors),
        hidden_only=prod(factors[:-1]),
        min_width=prod(hyperplane_regions(width, dim) for dim, width in zip(narrowest, hidden, strict=True)),
        serra=_serra(widths[0], hidden),
    )


def _serra(input_width: int, hidden: Sequence[int]) -> int:
    """Return the recursion's value, from the last layer to the first, for every rank that a layer may be given."""
    regions = [1] * (max([input_width, *hidden]) + 1)
    for width in reversed(hidden):
        # Past the width a larger rank changes nothing: j runs to min(rank, width), and what is left is width - j.
        off = [comb(width, j) for j in range(width + 1)]
        table = [sum(off[j] * regions[min(rank, width - j)] for j in range(rank + 1)) for rank in range(width + 1)]
        regions = [table[min(rank, width)] for rank in range(len(regions))]
    return regions[input_width]
