r"""The exact number of linear pieces of an encoder along a straight line."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from pml_proxyext.geometry.piecewise_linear import (
    PiecewiseLinearEncoder,
    Units,
    check_inputs,
    count_distinct,
    fingerprints,
)

__all__ = ["LineRegions", "line_regions"]

# Two breakpoints nearer than this share of the segment are one.
_RESOLUTION = 1e-12


@dataclass(frozen=True)
class LineRegions:
    """The pieces of an encoder along one segment; see :func:`line_regions`.

    Attributes:
        breakpoints: ``(B,)``, increasing, as shares of the segment in (0, 1): there some unit changes its state.
        n_regions: B + 1, the stretches in which no unit does; a state left behind does not come back, for the inputs
            that are in it form a convex set.
        n_pieces: the stretches in which the encoder is affine, at most ``n_regions``: not every unit is heard.
        n_affine_maps: how many different affine functions there are among the pieces.
        length: Euclidean length of the segment.
    """

    breakpoints: Tensor
    n_regions: int
    n_pieces: int
    n_affine_maps: int
    length: float


def line_regions(encoder: nn.Module, start: Tensor, end: Tensor) -> LineRegions:
    r"""Find every breakpoint of an encoder on the straight line between two inputs; nothing is sampled.

    Restricted to a line, the inputs of the first layer of units are affine, so that each unit has its kink where a
    linear equation says; between these points the inputs of the second layer are affine, and so on. Layer by layer the
    known breakpoints are run through the network, and those of the next layer added.

    This is the rectified linear complexity of the encoder on that line: a lower bound of the encoder's own, and, other
    than a count of patterns over samples, one that does not end at the number of samples.

    Args:
        encoder: a network in evaluation mode of affine layers (linear, convolution, batch norm, mean pooling), units
            with kinks (ReLU, leaky, parametric, ReLU6, hard tanh, hard sigmoid) and maxima (max pooling), in any
            arrangement, with skip connections too. It is copied to float64, and itself not touched.
        start, end: one input each, without a batch dimension; they may be equal.

    Returns:
        :class:`LineRegions`. Breakpoints nearer than 1e-12 of the segment count as one.

    Raises:
        ValueError: for modules that are not piecewise linear, functions that bend without a module, a module in
            training mode that must not be, inputs of different shapes or not finite.

    Reference:
        Lei, Luo, Yau, Gu, "Geometric Understanding of Deep Learning", arXiv:1805.10451, Section 4, for the complexity;
        to measure it on segments is ours.

    Example:
        >>> absolute = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> with torch.no_grad():
        ...     _ = absolute[0].weight.copy_(torch.tensor([[1.0], [-1.0]])), absolute[0].bias.zero_()
        >>> line_regions(absolute, torch.tensor([-1.0]), torch.tensor([3.0])).breakpoints
        tensor([0.2500], dtype=torch.float64)
    """
    if start.shape != end.shape:
        raise ValueError(f"end must have the shape of start, got {tuple(end.shape)} and {tuple(start.shape)}")
    line = torch.stack([check_inputs("start", start[None])[0], check_inputs("end", end[None])[0].to(start)])
    return segment_regions(PiecewiseLinearEncoder(encoder), line.double())


def segment_regions(encoder: PiecewiseLinearEncoder, line: Tensor) -> LineRegions:
    """Return what :func:`line_regions` does, of the segment between the two rows of ``line``."""
    knots = torch.tensor([0.0, 1.0], dtype=torch.float64)
    layer, layers = 0, 1
    while layer < layers:
        units = encoder.units(_points(line, knots))
        layers = len(units)
        finer = _with_crossings(knots, units[layer]) if units else knots
        # A maximum may pass through inputs that win at neither end, so a layer is done when it adds nothing.
        layer, knots = (layer + 1 if len(finer) == len(knots) else layer), finer
    middles = (knots[1:] + knots[:-1]) / 2
    inside, ends = _points(line, middles), _points(line, knots)
    encoder.check_affine(ends[:-1], ends[1:])
    patterns = encoder.patterns(inside)
    changes = torch.tensor([here != there for here, there in pairwise(patterns)], dtype=torch.bool)
    gradients, offsets = encoder.affine_maps(inside).tensor_split([-1], dim=1)
    maps = torch.cat([gradients @ (line[1] - line[0]).flatten(), gradients @ line[0].flatten() + offsets[:, 0]])
    maps = maps.unflatten(0, (2, -1)).T  # of each region the slope along the line, and the value at its start
    return LineRegions(
        breakpoints=knots[1:-1][changes],
        n_regions=1 + int(changes.sum()),
        n_pieces=1 + int((fingerprints(maps).diff().abs() > 1).sum()),
        n_affine_maps=count_distinct(maps),
        length=(line[1] - line[0]).norm().item(),
    )


def _points(line: Tensor, shares: Tensor) -> Tensor:
    shares = shares.view(-1, *[1] * (line.ndim - 1))
    return line[0] * (1 - shares) + line[1] * shares


def _with_crossings(knots: Tensor, units: Units) -> Tensor:
    """Return ``knots`` and the points between them at which a unit changes its state."""
    index = torch.arange(len(knots) - 1, device=units.values.device)
    left, right = units.gaps(index, index + 1)
    crossing = (left * right < 0) & (left.abs() > units.rounding) & (right.abs() > units.rounding)
    intervals, columns = (places.cpu() for places in crossing.nonzero(as_tuple=True))
    here, there = left.cpu()[intervals, columns], right.cpu()[intervals, columns]
    found = torch.lerp(knots[intervals], knots[intervals + 1], here / (here - there))
    merged = torch.cat([knots, found]).sort().values
    keep = torch.ones(len(merged), dtype=torch.bool)
    keep[1:] = merged.diff() > _RESOLUTION
    keep[-1] = True
    return merged[keep]
