r"""The exact linear regions of an encoder on a flat polygon: all there are, and where they are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pml_proxyext.geometry.piecewise_linear import PiecewiseLinearEncoder, check_inputs, count_distinct

__all__ = ["PlaneRegions", "plane_regions"]


@dataclass(frozen=True)
class PlaneRegions:
    """The regions of an encoder on a polygon; see :func:`plane_regions`.

    Attributes:
        cells: the corners of each region in order, ``(V, D)`` each; together they cover the polygon.
        n_affine_maps: how many different affine maps the encoder is on the cells.
    """

    cells: tuple[Tensor, ...]
    n_affine_maps: int

    @property
    def n_regions(self) -> int:
        """The number of cells."""
        return len(self.cells)


def plane_regions(encoder: nn.Module, corners: Tensor) -> PlaneRegions:
    r"""Cut a flat convex polygon along all the kinks of an encoder.

    Layer by layer, as :func:`~pml_proxyext.geometry.line_regions` does along a line: on a cell of the layers before,
    the units of a layer are affine, and each that has both signs among the corners cuts the cell in two. For inputs of
    width 2 and a large square this finds the regions of the encoder; for wider ones, those of a slice. The time grows
    with the number of cells times the number of units.

    Args:
        encoder: as of :func:`~pml_proxyext.geometry.line_regions`, without layers of maxima, which are not
            supported here; its inputs are vectors.
        corners: ``(V, D)``, the corners of a convex polygon in a plane, in order; V >= 3.

    Raises:
        ValueError: for fewer than three corners, numbers that are not finite, and encoders that are not supported.

    Reference:
        Lei, Luo, Yau, Gu, "Geometric Understanding of Deep Learning", arXiv:1805.10451, Section 4 (the cells of the
        decomposition induced by an encoder).

    Example:
        >>> three_lines = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> with torch.no_grad():
        ...     _ = three_lines[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        ...     _ = three_lines[0].bias.copy_(torch.tensor([0.0, 0.0, -0.5]))
        >>> square = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
        >>> plane_regions(three_lines, square).n_regions
        7
    """
    check_inputs("corners", corners)
    if corners.ndim != 2 or len(corners) < 3:
        raise ValueError(f"corners must be a matrix of three rows or more, got shape {tuple(corners.shape)}")
    watched = PiecewiseLinearEncoder(encoder)
    cells = [corners.double()]
    layer, layers = 0, 1
    while layer < layers:
        units = watched.units(torch.cat(cells))
        if any(layer_units.winners is not None for layer_units in units):
            raise ValueError("encoder must have no layer of maxima (max pooling): not supported on a plane")
        layers = len(units)
        if units:
            levels = units[layer].values.cpu().split([len(cell) for cell in cells])
            pairs = zip(cells, levels, strict=True)
            cells = [part for cell, level in pairs for part in _cut(cell, level, units[layer].rounding)]
        layer += 1
    centres = torch.stack([cell.mean(0) for cell in cells])
    # Off the centre, through which a bend that no unit tells of may well run in a symmetric polygon.
    inner = torch.stack([torch.arange(1.0, len(cell) + 1).to(cell).softmax(0) @ cell for cell in cells])
    counts = torch.tensor([len(cell) for cell in cells])
    watched.check_affine(torch.cat(cells), inner.repeat_interleave(counts, dim=0))
    return PlaneRegions(tuple(cells), count_distinct(watched.affine_maps(centres)))


def _cut(cell: Tensor, levels: Tensor, rounding: float) -> list[Tensor]:
    """Return the parts of a cell between the zero lines of its columns of ``levels``, which are affine on it."""
    levels = torch.where(levels.abs() <= rounding, 0.0, levels)
    cuts = (levels > 0).any(0) & (levels < 0).any(0)
    parts = [torch.cat([cell, levels[:, cuts]], dim=1)]
    for column in range(cell.shape[1], parts[0].shape[1]):
        parts = [half for part in parts for half in _halves(part, column, rounding)]
    return [part[:, : cell.shape[1]] for part in parts]


def _halves(polygon: Tensor, column: int, rounding: float) -> list[Tensor]:
    """Return what lies on either side of the zero line of one column; interpolation carries the others along."""
    level = polygon[:, column]
    if not (level > rounding).any() or not (level < -rounding).any():
        return [polygon]
    after = polygon.roll(-1, dims=0)
    crossed = (level * after[:, column] < 0)[:, None]
    share = (level / (level - after[:, column]).where(crossed[:, 0], torch.ones(()).to(level)))[:, None]
    at_zero = torch.lerp(polygon, after, share).index_fill(1, torch.tensor([column]), 0.0)
    ring = torch.stack([polygon, at_zero], dim=1)  # every corner, and the crossing of the edge that leaves it
    present = torch.stack([torch.ones_like(crossed), crossed], dim=1).squeeze(2)
    ring = ring[present]
    return [ring[ring[:, column] >= 0], ring[ring[:, column] <= 0]]
