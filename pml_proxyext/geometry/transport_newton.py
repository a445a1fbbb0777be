r"""The heights of a semi-discrete optimal transport map in the plane, by a damped Newton method on exact cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu

from pml_proxyext.geometry.power_diagram import PowerCells, power_cells

__all__ = ["newton_heights"]

_Array = NDArray[np.float64]
_SMALLEST_STEP = 1e-9


def newton_heights(
    atoms: _Array, weights: _Array, low: _Array, high: _Array, tolerance: float, max_steps: int
) -> _Array:
    r"""Return heights whose cells in a rectangle have the measures ``weights`` up to ``tolerance``.

    The convex energy :math:`E(h) = \int \max_i (\langle x, y_i \rangle + h_i) d\zeta - \sum_i \nu_i h_i` has the
    gradient :math:`\zeta(W_i) - \nu_i` and, where cells i and j share an edge of length :math:`l_{ij}`, the second
    derivatives :math:`-\rho\, l_{ij} / |y_i - y_j|`, with :math:`\rho` the density: a Laplacian, whose kernel are the
    constants as long as no cell is empty. A step is halved until no cell is smaller than half of what the smallest cell
    or weight was at the start, and the error has fallen by half of the step's share.

    Raises:
        RuntimeError: if the tolerance is not reached: it is below rounding, or atoms nearly coincide.
    """
    heights = voronoi_heights(atoms, low, high)
    density = 1 / float(np.prod(high - low))
    cells = power_cells(atoms, heights, low, high)
    floor = min(cells.measures.min(), weights.min()) / 2
    for _ in range(max_steps):
        errors = cells.measures - weights
        if np.abs(errors).max() <= tolerance:
            return heights - heights.mean()
        direction, step = _newton_direction(atoms, cells, errors, density), 1.0
        while True:
            trial = heights + step * direction
            cells = power_cells(atoms, trial, low, high)
            smaller = np.linalg.norm(cells.measures - weights) <= (1 - step / 2) * np.linalg.norm(errors)
            if smaller and cells.measures.min() >= floor:
                break
            step /= 2
            if step < _SMALLEST_STEP:
                raise RuntimeError(f"no step lowers the error of the cells, {np.abs(errors).max():.3g}, any further")
        heights = trial
    raise RuntimeError(
        f"the error of the cells is {np.abs(cells.measures - weights).max():.3g} after {max_steps} steps, "
        f"above the tolerance {tolerance:g}"
    )


def voronoi_heights(atoms: _Array, low: _Array, high: _Array) -> _Array:
    r"""Return heights at which no cell is empty: the cells are those of the points nearest to shrunken atoms.

    With :math:`z_i = c + s (y_i - m)` inside the rectangle, :math:`x` is nearest to the :math:`z_i` of largest
    :math:`\langle x, y_i \rangle - |z_i|^2 / 2s`, and each :math:`z_i` lies in its own cell.
    """
    bottom, extent = atoms.min(0), np.ptp(atoms, axis=0)
    shrink = 0.98 * float(np.min(np.divide(high - low, extent, out=np.full(2, np.inf), where=extent > 0)))
    if not np.isfinite(shrink):  # a single atom
        return np.zeros(len(atoms))
    inside = (low + high) / 2 + shrink * (atoms - bottom - extent / 2)
    return np.asarray(-np.square(inside).sum(1) / (2 * shrink))


def _newton_direction(atoms: _Array, cells: PowerCells, errors: _Array, density: float) -> _Array:
    """Return minus the inverse Laplacian of the errors, with the last height held."""
    first, second = cells.neighbours.T
    rates = density * cells.lengths / np.linalg.norm(atoms[first] - atoms[second], axis=1)
    rows = np.concatenate([first, second, first, second])
    columns = np.concatenate([second, first, first, second])
    values = np.concatenate([-rates, -rates, rates, rates])
    laplacian = csc_matrix((values, (rows, columns)), shape=(len(atoms), len(atoms)))
    direction = np.zeros(len(atoms))
    direction[:-1] = splu(laplacian[:-1, :-1]).solve(-errors[:-1])
    return direction
