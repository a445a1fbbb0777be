r"""The rectified linear complexity of an encoder: into how many linear pieces it cuts the space of its inputs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pml_proxyext.geometry.piecewise_linear import PiecewiseLinearEncoder, check_inputs, count_distinct
from pml_proxyext.geometry.region_bounds import ReLUBounds, relu_bounds
from pml_proxyext.geometry.region_lines import segment_regions
from pml_proxyext.utils.checks import check_integer

__all__ = ["RectifiedLinearComplexity", "chao1", "rectified_linear_complexity"]


@dataclass(frozen=True)
class RectifiedLinearComplexity:
    """What :func:`rectified_linear_complexity` found.

    Attributes:
        n_samples: the number of inputs.
        n_patterns: how many different states of all units the inputs are in: a lower bound of the encoder's regions.
        saturation: ``n_patterns / n_samples``. Near 1, the count says how many samples there were, and no more.
        chao1: an estimate of how many patterns inputs such as these are in, those not seen among them.
        n_affine_maps: of how many different affine maps the patterns are, or None if not asked for.
        pieces_per_segment: mean number of affine pieces between two inputs, exact on each segment.
        regions_per_segment: mean number of regions between two inputs.
        breaks_per_length: ends of regions on all segments over the length of all; NaN if all have length zero.
        bounds: the upper bounds of :func:`~pml_proxyext.geometry.relu_bounds` where the encoder is a chain of linear
            layers and ReLU, or None.
    """

    n_samples: int
    n_patterns: int
    saturation: float
    chao1: float
    n_affine_maps: int | None
    pieces_per_segment: float
    regions_per_segment: float
    breaks_per_length: float
    bounds: ReLUBounds | None


def rectified_linear_complexity(
    encoder: nn.Module,
    data: Tensor,
    *,
    n_segments: int = 16,
    count_affine_maps: bool = False,
    batch_size: int = 256,
    generator: torch.Generator | None = None,
) -> RectifiedLinearComplexity:
    r"""Measure on data how finely a piecewise linear encoder is cut.

    Two inputs are equivalent if the same units are on. The classes are convex cells, on each of which the encoder is
    one affine map; the rectified linear complexity of the encoder is the number of its pieces. What can be had of it:

    - the number of classes that the inputs fall into. It never exceeds the number of inputs, and for encoders of many
      units every input has a class of its own: look at ``saturation`` first.
    - the exact number of pieces along segments between pairs of inputs drawn at random
      (:func:`~pml_proxyext.geometry.line_regions`): this does not saturate, and is what compares encoders.

    Args:
        encoder: as of :func:`~pml_proxyext.geometry.line_regions`. A normalisation of its outputs is not piecewise
            linear, and has to be left out.
        data: two inputs or more, ``(N, ...)``.
        n_segments: how many pairs of inputs to join by a segment; the segments also prove that the encoder is affine
            between the kinks of its units.
        count_affine_maps: also count the maps, by one gradient for each pattern; neighbouring cells can share a map.
        batch_size: inputs in one pass.
        generator: draws the pairs; None for torch's default generator.

    Raises:
        ValueError: for encoders that are not piecewise linear, fewer than two inputs, and inputs that are not finite.

    Departs from the paper:
        which bounds the complexity of an architecture, and has no estimate for a given encoder on data: all of that is
        ours. The estimate of what was not seen is that of Chao.

    Reference:
        Lei, Luo, Yau, Gu, "Geometric Understanding of Deep Learning", arXiv:1805.10451, Section 4. Chao,
        "Nonparametric Estimation of the Number of Classes in a Population", Scandinavian Journal of Statistics, 1984.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> encoder = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> found = rectified_linear_complexity(encoder, torch.randn(500, 2, generator=generator), generator=generator)
        >>> 1 <= found.n_patterns <= found.bounds.serra == 7
        True
    """
    check_inputs("data", data)
    if len(data) < 2:
        raise ValueError(f"data must have two rows or more, got shape {tuple(data.shape)}")
    check_integer("n_segments", n_segments)
    check_integer("batch_size", batch_size)
    watched = PiecewiseLinearEncoder(encoder)
    segments = [
        segment_regions(watched, data[pair].double().cpu()) for pair in _pairs(len(data), n_segments, generator)
    ]
    patterns = [pattern for batch in data.split(batch_size) for pattern in watched.patterns(batch)]
    counts = Counter(patterns)
    n_affine_maps = None
    if count_affine_maps:
        firsts = torch.tensor(list({pattern: row for row, pattern in enumerate(patterns)}.values()))
        maps = [watched.affine_maps(batch) for batch in data[firsts.to(data.device)].split(batch_size)]
        n_affine_maps = count_distinct(torch.cat(maps))
    length = sum(segment.length for segment in segments)
    return RectifiedLinearComplexity(
        n_samples=len(data),
        n_patterns=len(counts),
        saturation=len(counts) / len(data),
        chao1=chao1(list(counts.values())),
        n_affine_maps=n_affine_maps,
        pieces_per_segment=sum(segment.n_pieces for segment in segments) / n_segments,
        regions_per_segment=sum(segment.n_regions for segment in segments) / n_segments,
        breaks_per_length=sum(len(segment.breakpoints) for segment in segments) / length if length else float("nan"),
        bounds=_bounds(encoder),
    )


def chao1(counts: list[int]) -> float:
    r"""Estimate how many classes there are from how often each of those seen came.

    .. math::
        n + \frac{f_1^2}{2 f_2}, \qquad n + \frac{f_1 (f_1 - 1)}{2} \text{ if } f_2 = 0,

    with :math:`f_k` the number of classes that came k times. It is a lower bound in expectation for large samples.

    Example:
        >>> chao1([1, 1, 1, 2, 5])
        9.5
    """
    once, twice = counts.count(1), counts.count(2)
    return len(counts) + (once**2 / (2 * twice) if twice else once * (once - 1) / 2)


def _pairs(rows: int, count: int, generator: torch.Generator | None) -> Tensor:
    """Return pairs of different rows, ``(count, 2)``."""
    device = "cpu" if generator is None else generator.device
    first = torch.randint(rows, (count,), generator=generator, device=device)
    step = torch.randint(1, rows, (count,), generator=generator, device=device)
    return torch.stack([first, (first + step) % rows], dim=1)


def _bounds(encoder: nn.Module) -> ReLUBounds | None:
    """Return the bounds of a chain of linear layers with ReLU between them, or None."""
    leaves = [module for module in encoder.modules() if not list(module.children())]
    if any(type(module) not in (nn.Sequential, *_CHAIN) for module in encoder.modules()):
        return None
    chain = [module for module in leaves if isinstance(module, (nn.Linear, nn.ReLU))]
    is_linear = [isinstance(module, nn.Linear) for module in chain]
    if not is_linear or is_linear != [place % 2 == 0 for place in range(len(chain))]:
        return None
    linear = [module for module in chain if isinstance(module, nn.Linear)]
    widths = [linear[0].in_features, *(module.out_features for module in linear)]
    # A chain that ends in ReLU has the identity for its last layer.
    return relu_bounds(widths if is_linear[-1] else [*widths, widths[-1]])


_CHAIN = (nn.Linear, nn.ReLU, nn.Flatten, nn.Identity, nn.Dropout)
