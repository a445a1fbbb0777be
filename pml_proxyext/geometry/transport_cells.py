r"""The cells of a semi-discrete transport map: who goes to which atom, exactly or by samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pml_proxyext.geometry.power_diagram import power_cells
from pml_proxyext.geometry.transport_sources import TransportSource, UniformBox

__all__ = [
    "CellError",
    "TransportCells",
    "affine_scores",
    "best_atoms",
    "cell_error",
    "line_cells",
    "plane_cells",
    "sampled_cells",
]

# Scores in one piece: a few megabytes stay in the cache, which makes them two and a half times faster.
_CACHED = 2**20
# Samples in one piece.
_SAMPLED = 2**18


@dataclass(frozen=True)
class TransportCells:
    """The cells of n atoms.

    Attributes:
        measures: ``(n,)``, the source's probability of each cell.
        centroids: ``(n, d)``, the source's mean in each cell; NaN for empty cells.
        mean_square: the mean of :math:`|x|^2` over the source, or over the samples.
        n_samples: how many samples were counted, or None for exact cells.
    """

    measures: Tensor
    centroids: Tensor
    mean_square: float
    n_samples: int | None


@dataclass(frozen=True)
class CellError:
    """How far measures of cells are from the weights of their atoms; see :func:`cell_error`.

    Attributes:
        l1: sum of the absolute errors; of samples, their noise is in it.
        l2: root of the sum of the squared errors; the noise of samples is taken off.
        largest: the largest absolute error. For n atoms of equal weights an empty cell has 1 / n, so that a small
            number here says little where there are many.
        n_empty: how many cells are empty.
    """

    l1: float
    l2: float
    largest: float
    n_empty: int


def cell_error(cells: TransportCells, weights: Tensor) -> CellError:
    r"""Compare the measures of cells with the weights that they should have.

    Counts of M samples miss the true measures :math:`w` by :math:`E \|\hat w - w\|^2 = \sum_i w_i (1 - w_i) / M`,
    which for many atoms is most of their distance from the weights :math:`\nu`. Taken off is its unbiased estimate,

    .. math::
        l_2^2 = \max\Big(0, \|\hat w - \nu\|^2 - \sum_i \frac{\hat w_i (1 - \hat w_i)}{M - 1}\Big).

    Exact cells have nothing taken off.
    """
    errors = cells.measures - weights.to(cells.measures)
    square = errors.square().sum()
    if cells.n_samples is not None:
        square = square - (cells.measures * (1 - cells.measures)).sum() / (cells.n_samples - 1)
    return CellError(
        l1=errors.abs().sum().item(),
        l2=square.clamp_min(0).sqrt().item(),
        largest=errors.abs().max().item(),
        n_empty=int((cells.measures == 0).sum()),
    )


def affine_scores(points: Tensor, atoms: Tensor, heights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    r"""Yield some points after another with their :math:`\langle x, y_i \rangle + h_i`, as many as a cache holds."""
    for chunk in points.split(max(64, _CACHED // len(atoms))):
        yield chunk, torch.addmm(heights, chunk, atoms.T)


def best_atoms(points: Tensor, atoms: Tensor, heights: Tensor) -> Tensor:
    """Return the index of the atom of the largest score for each point, ``(N, d)`` -> ``(N,)``."""
    return torch.cat([scores.argmax(1) for _, scores in affine_scores(points, atoms, heights)])


def sampled_cells(
    source: TransportSource, atoms: Tensor, heights: Tensor, n_samples: int, generator: torch.Generator | None
) -> TransportCells:
    """Count samples in each cell."""
    counts, sums, square = torch.zeros_like(heights), torch.zeros_like(atoms), 0.0
    left = n_samples
    while left:
        points = source.sample(min(left, _SAMPLED), generator).to(atoms)
        winners = best_atoms(points, atoms, heights)
        counts += torch.bincount(winners, minlength=len(atoms))
        sums.index_add_(0, winners, points)
        square += points.square().sum().item()
        left -= len(points)
    return TransportCells(counts / n_samples, sums / counts[:, None], square / n_samples, n_samples)


def line_cells(source: TransportSource, atoms: Tensor, heights: Tensor) -> TransportCells:
    """Return the exact cells of atoms on the line: intervals between the points where two atoms tie."""
    places = atoms.squeeze(1)
    ties = (heights[:, None] - heights) / (places - places[:, None])  # (n, n): to the right of it the larger atom wins
    starts = ties.masked_fill(places >= places[:, None], -torch.inf).max(1).values
    ends = ties.masked_fill(places <= places[:, None], torch.inf).min(1).values.maximum(starts)
    measures = source.probability(ends.cpu()) - source.probability(starts.cpu())
    means = source.mean_below(ends.cpu()) - source.mean_below(starts.cpu())
    centroids = (means / measures.masked_fill(measures == 0, torch.nan))[:, None]
    return TransportCells(measures.to(atoms), centroids.to(atoms), source.mean_square, None)


def plane_cells(source: UniformBox, atoms: Tensor, heights: Tensor) -> TransportCells:
    """Return the exact cells of atoms in the plane under a uniform law on a rectangle."""
    cells = power_cells(atoms.cpu().numpy(), heights.cpu().numpy(), source.low.numpy(), source.high.numpy())
    measures, centroids = torch.from_numpy(cells.measures), torch.from_numpy(cells.centroids)
    return TransportCells(measures.to(atoms), centroids.to(atoms), source.mean_square, None)
