"""Exact cells against points that are sorted into them, derivatives, and symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pml_proxyext.geometry import power_cells

LOW, HIGH = np.array([-1.0, 0.0]), np.array([1.0, 0.5])


def drawn(n, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)), 0.3 * rng.normal(size=n)


def energy(atoms, heights):
    """Return the integral of the largest plane."""
    cells = power_cells(atoms, heights, LOW, HIGH)
    return np.nansum(cells.measures * ((cells.centroids * atoms).sum(1) + heights))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 40])
def test_cells_hold_the_points_at_which_their_plane_is_the_largest(n):
    atoms, heights = drawn(n, n)
    cells = power_cells(atoms, heights, LOW, HIGH)
    steps = (np.arange(500) + 0.5) / 500
    grid = LOW + (HIGH - LOW) * np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    winners = (grid @ atoms.T + heights).argmax(1)
    counts = np.bincount(winners, minlength=n) / len(grid)
    np.testing.assert_allclose(cells.measures, counts, atol=2e-3)  # edges pass through one square in 500
    for i in np.flatnonzero(counts > 0.01):
        np.testing.assert_allclose(cells.centroids[i], grid[winners == i].mean(0), atol=2e-3)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 60), seed=st.integers(0, 10_000), spread=st.sampled_from([0.0, 0.1, 3.0]))
def test_cells_share_the_rectangle_out(n, seed, spread):
    atoms, heights = drawn(n, seed)
    cells = power_cells(atoms, spread * heights, LOW, HIGH)
    assert (cells.measures >= 0).all()
    assert cells.measures.sum() == pytest.approx(1, abs=1e-12)
    filled = cells.measures > 0
    assert np.isnan(cells.centroids[~filled]).all()
    assert (cells.measures[filled] @ cells.centroids[filled]) == pytest.approx((LOW + HIGH) / 2, abs=1e-12)
    first, second = cells.neighbours.T
    assert (first < second).all()
    assert (cells.lengths > 0).all()


def test_measures_are_derivatives_of_the_energy_and_edges_those_of_measures():
    atoms = LOW + (HIGH - LOW) * np.random.default_rng(3).random((12, 2))
    heights = -np.square(atoms).sum(1) / 2  # the Voronoi cells of points inside
    cells, step, area = power_cells(atoms, heights, LOW, HIGH), 1e-5, np.prod(HIGH - LOW)
    expected = np.zeros((12, 12))
    for (i, j), length in zip(cells.neighbours, cells.lengths, strict=True):
        expected[i, j] = expected[j, i] = -length / area / np.linalg.norm(atoms[i] - atoms[j])
    np.fill_diagonal(expected, -expected.sum(1))
    assert (expected != 0).sum() > 30
    for i in range(12):
        up, down = heights + step * np.eye(12)[i], heights - step * np.eye(12)[i]
        assert (energy(atoms, up) - energy(atoms, down)) / (2 * step) == pytest.approx(cells.measures[i], abs=1e-7)
        measures = (power_cells(atoms, each, LOW, HIGH).measures for each in (up, down))
        np.testing.assert_allclose(np.subtract(*measures) / (2 * step), expected[i], atol=1e-4)


def test_common_planes_scales_and_orders_do_not_matter():
    atoms, heights = drawn(30, 5)
    cells = power_cells(atoms, heights, LOW, HIGH)
    order = np.random.default_rng(0).permutation(30)
    for other in (
        power_cells(atoms + np.array([3.0, -2.0]), heights + 7, LOW, HIGH),
        power_cells(100 * atoms, 100 * heights, LOW, HIGH),
    ):
        np.testing.assert_allclose(other.measures, cells.measures, atol=1e-12)
        assert np.array_equal(other.neighbours, cells.neighbours)
    shuffled = power_cells(atoms[order], heights[order], LOW, HIGH)
    np.testing.assert_allclose(shuffled.measures, cells.measures[order], atol=1e-12)


@pytest.mark.parametrize(
    ("atoms", "heights", "measures", "edges"),
    [
        ([[5, 5]], [1], [1], []),
        ([[0, 0], [0, 3]], [0, -1.5], [0.5, 0.5], [(0, 1)]),
        # On the diagonal two neighbours tie where x + y is 1/2, 3/2 and 7/4.
        ([[0, 0], [1, 1], [2, 2], [4, 4]], [0, -0.5, -2, -5.5], [1 / 8, 3 / 4, 3 / 32, 1 / 32],
         [(0, 1), (1, 2), (2, 3)]),
        ([[0, 0], [1, 0], [1, 1], [0, 1]], [0, -0.5, -1, -0.5], [1 / 4] * 4, [(0, 1), (0, 3), (1, 2), (2, 3)]),
    ],
    ids=["one", "two", "on a line", "four that meet in a point"],
)  # fmt: skip
def test_atoms_without_a_triangulation(atoms, heights, measures, edges):
    """Cells of the unit square that one can draw."""
    cells = power_cells(np.array(atoms, dtype=float), np.array(heights, dtype=float), np.zeros(2), np.ones(2))
    np.testing.assert_allclose(cells.measures, measures, atol=1e-12)
    assert [tuple(edge) for edge in cells.neighbours.tolist()] == edges


def test_atoms_below_the_others_have_no_cell():
    atoms = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.0], [0.5, 0.7]])
    cells = power_cells(atoms, np.array([0.0, -0.5, -0.3, -9.0]), np.zeros(2), np.ones(2))
    np.testing.assert_allclose(cells.measures, [0.5, 0.5, 0.0, 0.0])
    assert cells.neighbours.tolist() == [[0, 1]]
