"""The transport map against fixtures, independent solvers, closed forms and invariances."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog

from pml_proxyext.geometry import CellError, SemiDiscreteOT, StandardNormal, TransportCells, UniformBox
from pml_proxyext.geometry.transport_cells import affine_scores, cell_error, sampled_cells

FIXTURES = json.loads((Path(__file__).parents[1] / "golden" / "ot.json").read_text())


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def clusters(n, dim, seed=0):
    draws = generator(seed)
    centres = torch.randn(5, dim, generator=draws)
    return centres[torch.randint(5, (n,), generator=draws)] + 0.2 * torch.randn(n, dim, generator=draws)


def close(found, expected, atol=1e-9):
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("case", FIXTURES["semi2d"], ids=lambda case: f"n={len(case['nu'])}")
def test_fixtures_in_the_plane(case):
    transport = SemiDiscreteOT(tensor(case["Y"]), tensor(case["nu"])).fit_exact(tolerance=1e-12)
    close(transport.heights, tensor(case["h_mean0"]))
    close(transport.cells().centroids, tensor(case["centroids"]))
    close(transport.cell_measures(), tensor(case["nu"]))
    assert transport.w2() ** 2 == pytest.approx(case["W2sq"], abs=1e-9)


@pytest.mark.parametrize("case", FIXTURES["semi1d"], ids=lambda case: f"n={len(case['nu'])}")
def test_fixtures_on_the_line(case):
    order = torch.randperm(len(case["y"]), generator=generator())  # the fixtures are sorted
    atoms, weights = tensor(case["y"])[order, None], tensor(case["nu"])[order]
    transport = SemiDiscreteOT(atoms, weights).fit_exact()
    close(transport.heights, tensor(case["h_mean0"])[order])
    close(transport.cell_measures(), weights)
    assert transport.w2() ** 2 == pytest.approx(case["W2sq"], abs=1e-9)
    cuts = tensor(case["cuts"])
    for side in (-1e-9, 1e-9):
        places = transport((cuts + side)[:, None])[:, 0]
        close(places, tensor(case["y"][:-1] if side < 0 else case["y"][1:]))


@pytest.mark.parametrize("case", FIXTURES["discrete"], ids=lambda case: f"{len(case['a'])} to {len(case['b'])}")
def test_the_dual_energy_of_discrete_transport_is_its_cost(case):
    x, y, a, b = (tensor(case[name]) for name in "xyab")

    def energy(heights):
        ((_, scores),) = affine_scores(x, y, heights)
        return ((a * scores.max(1).values).sum() - (b * heights).sum()).item()

    heights = tensor(case["one_optimal_h_mean0"])
    squares = (a * x.square().sum(1)).sum() + (b * y.square().sum(1)).sum()
    assert energy(heights) == pytest.approx(case["brenier_energy"], abs=1e-9)
    assert squares.item() - 2 * energy(heights) == pytest.approx(case["cost_sqeuclid"], abs=1e-9)
    cost = (x[:, None] - y).square().sum(2).numpy()
    rows, columns = np.kron(np.eye(len(x)), np.ones(len(y))), np.kron(np.ones(len(x)), np.eye(len(y)))
    plan = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b]))
    assert plan.fun == pytest.approx(case["cost_sqeuclid"], abs=1e-7)
    for seed in range(5):
        other = heights + 0.1 * torch.randn(len(y), generator=generator(seed), dtype=torch.float64)
        assert energy(other) >= case["brenier_energy"] - 1e-9


@pytest.mark.parametrize("n", [1, 2, 30, 200])
def test_newton_gives_clustered_atoms_their_weights(n):
    weights = torch.rand(n, generator=generator(n), dtype=torch.float64) + 0.1
    weights = weights / weights.sum()
    source = UniformBox([-3.0, 1.0], [5.0, 2.0])
    transport = SemiDiscreteOT(clusters(n, 2), weights, source).fit_exact()
    error = transport.cell_error()
    assert error.largest < 1e-9
    assert error.n_empty == 0
    assert transport.heights.mean().abs() < 1e-9
    points = source.sample(20_000, generator())
    shares = torch.bincount(transport.assign(points), minlength=n) / len(points)
    noise = (weights * (1 - weights) / len(points)).sqrt()
    assert ((shares - weights).abs() <= 5.5 * noise).all()  # a false alarm in 1e-5 over 200 cells


def test_the_cost_is_that_of_an_assignment_of_a_fine_grid():
    """Nine atoms of equal weight and 24 x 24 squares, 64 for each atom."""
    atoms = clusters(9, 2, seed=2).double()
    steps = (torch.arange(24, dtype=torch.float64) + 0.5) / 24
    grid = torch.cartesian_prod(steps, steps)
    cost = (grid[:, None] - atoms.repeat_interleave(64, dim=0)).square().sum(2)
    rows, columns = linear_sum_assignment(cost.numpy())
    transport = SemiDiscreteOT(atoms).fit_exact()
    assert transport.w2() ** 2 == pytest.approx(cost[rows, columns].mean().item(), abs=4e-3)
    agreement = (transport.assign(grid) == torch.from_numpy(columns) // 64).double().mean()
    assert agreement > 0.95  # squares on the edges of cells may go either way


def test_shifts_and_scales_of_the_atoms_move_the_map_along():
    atoms, shift = clusters(20, 2).double(), tensor([3.0, -1.0])
    transport = SemiDiscreteOT(atoms).fit_exact(1e-13)
    moved = SemiDiscreteOT(2.5 * atoms + shift).fit_exact(1e-13)
    close(moved.heights, 2.5 * transport.heights, atol=1e-8)
    points = UniformBox.unit(2).sample(500, generator())
    close(moved(points), 2.5 * transport(points) + shift)
    turned = SemiDiscreteOT(atoms.flip(1)).fit_exact(1e-13)
    close(turned.heights, transport.heights, atol=1e-8)


def test_the_stochastic_solver_agrees_with_newton():
    exact = SemiDiscreteOT(clusters(25, 2)).fit_exact()
    start = SemiDiscreteOT(clusters(25, 2)).cell_error()
    sampled = SemiDiscreteOT(clusters(25, 2)).fit_stochastic(150, 2048, generator=generator())
    error = sampled.cell_error()
    assert start.l2 > 0.05
    assert error.l2 < 0.01
    assert error.n_empty == 0
    assert sampled.w2() == pytest.approx(exact.w2(), abs=1e-3)
    assert sampled.w2() <= exact.w2() + 1e-12  # the dual's value at other heights is smaller


@pytest.mark.parametrize("source", [UniformBox.unit(5), StandardNormal(5)], ids=repr)
def test_atoms_on_a_coordinate_axis_are_a_problem_on_the_line(source):
    line = tensor([-1.0, 0.2, 0.5, 2.0])[:, None]
    weights = tensor([0.4, 0.3, 0.2, 0.1])
    flat = SemiDiscreteOT(line, weights, UniformBox.unit(1) if isinstance(source, UniformBox) else StandardNormal(1))
    expected = flat.fit_exact()
    atoms = torch.cat([line, torch.zeros(4, 4).double()], dim=1)
    transport = SemiDiscreteOT(atoms, weights, source).fit_stochastic(200, 2048, generator=generator())
    close(transport.heights, expected.heights, atol=0.02)
    rest = source.mean_square * 4 / 5  # what the coordinates without atoms add
    assert transport.w2(generator=generator()) ** 2 == pytest.approx(expected.w2() ** 2 + rest, abs=0.03)
    assert transport.cell_error(200_000, generator()).l2 < 0.01


def test_the_noise_of_counting_is_taken_off():
    """Over repetitions the corrected square of the error has mean zero for cells of the right measures."""
    atoms, weights = torch.eye(40, 3).double() * 0 + tensor(range(40))[:, None], torch.full((40,), 1 / 40).double()
    transport = SemiDiscreteOT(atoms[:, :1], weights).fit_exact()
    draws = generator()
    squares = []
    for _ in range(300):
        cells = sampled_cells(transport.source, transport.atoms, transport.heights, 400, draws)
        noise = (cells.measures * (1 - cells.measures)).sum() / 399
        squares.append((cells.measures - weights).square().sum() - noise)
    mean, spread = torch.stack(squares).mean(), torch.stack(squares).std() / math.sqrt(300)
    assert mean.abs() < 5 * spread  # a false alarm in 1e-6
    assert mean.abs() < 0.1 * (1 / 400)  # the noise itself is 1 / 400


def test_cell_errors_by_hand():
    weights, measures = tensor([0.5, 0.3, 0.2]), tensor([0.6, 0.4, 0.0])
    exact = cell_error(TransportCells(measures, torch.zeros(3, 1), 0.0, None), weights)
    assert vars(exact) == pytest.approx(vars(CellError(0.4, math.sqrt(0.06), 0.2, 1)))
    counted = cell_error(TransportCells(measures, torch.zeros(3, 1), 0.0, 13), weights)
    assert counted.l2 == pytest.approx(math.sqrt(0.06 - (0.24 + 0.24) / 12))
    assert cell_error(TransportCells(weights, torch.zeros(3, 1), 0.0, 13), weights).l2 == 0


def test_exact_and_counted_cells_agree():
    """Five standard errors for each of eight cells."""
    for transport in (
        SemiDiscreteOT(clusters(8, 1), source=StandardNormal(1)),
        SemiDiscreteOT(clusters(8, 2)),
    ):
        exact = transport.cells()
        counted = sampled_cells(transport.source, transport.atoms, transport.heights, 200_000, generator())
        noise = (exact.measures * (1 - exact.measures) / 200_000).sqrt()
        assert ((exact.measures - counted.measures).abs() <= 5 * noise + 1e-12).all()
        filled = exact.measures > 0.01
        assert filled.sum() >= 4
        close(exact.centroids[filled], counted.centroids[filled], atol=0.05)
        assert counted.mean_square == pytest.approx(exact.mean_square, rel=0.02)


def test_a_fit_is_kept_in_the_state_and_follows_its_generator():
    first = SemiDiscreteOT(clusters(12, 3)).fit_stochastic(20, 256, generator=generator(1))
    state = torch.get_rng_state()
    again = SemiDiscreteOT(clusters(12, 3)).fit_stochastic(20, 256, generator=generator(1))
    assert torch.equal(torch.get_rng_state(), state)
    other = SemiDiscreteOT(clusters(12, 3)).fit_stochastic(20, 256, generator=generator(2))
    assert torch.equal(first.heights, again.heights)
    assert not torch.equal(first.heights, other.heights)
    other.load_state_dict(first.state_dict())
    assert torch.equal(first.heights, other.heights)


def test_points_keep_their_dtype_and_nan_stays_visible():
    transport = SemiDiscreteOT(clusters(6, 2)).fit_exact()
    images = transport(torch.tensor([[0.5, 0.5], [torch.nan, 0.5]]))
    assert images.dtype == torch.float32
    assert images[0].isfinite().all()
    assert images[1].isnan().all()
    assert transport(torch.zeros(0, 2)).shape == (0, 2)


def test_a_tolerance_below_rounding_is_reported():
    with pytest.raises(RuntimeError, match=r"no step lowers the error|above the tolerance"):
        SemiDiscreteOT(clusters(30, 2)).fit_exact(tolerance=1e-25)
    with pytest.raises(RuntimeError, match="after 1 steps, above the tolerance 1e-10"):
        SemiDiscreteOT(clusters(30, 2)).fit_exact(max_steps=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"atoms": torch.zeros(3)}, r"atoms must have shape \(N, embedding_size\), got shape \(3,\)"),
        ({"atoms": torch.zeros(0, 2)}, r"atoms must hold finite numbers, one row at least, got shape \(0, 2\)"),
        ({"atoms": torch.full((1, 2), torch.nan)}, "atoms must hold finite numbers"),
        ({"atoms": torch.eye(2).long()}, r"atoms must be floating point, got torch\.int64"),
        ({"atoms": torch.eye(3)[[0, 1, 1]]}, "atoms must differ from one another, got 2 different ones among 3"),
        ({"weights": torch.ones(3) / 3}, r"weights must have one number for each of 2 atoms, got \(3,\)"),
        ({"weights": torch.tensor([0.5, 0.6])}, r"weights must be positive and sum to 1, got 0\.5 at least, sum 1\.1"),
        ({"weights": torch.tensor([1.0, 0.0])}, "weights must be positive and sum to 1, got 0 at least, sum 1"),
        ({"weights": torch.tensor([0.5, torch.nan])}, "weights must be positive and sum to 1, got nan"),
        ({"source": StandardNormal(3)}, "source must have the atoms' dimension 2, got 3"),
    ],
)
def test_unfit_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SemiDiscreteOT(**{"atoms": torch.eye(2), **arguments})


def test_unfit_calls_are_named():
    transport = SemiDiscreteOT(torch.eye(3))
    with pytest.raises(ValueError, match="exact cells need one dimension, or two and a UniformBox, got"):
        transport.fit_exact()
    with pytest.raises(ValueError, match=r"got StandardNormal\(2\); use fit_stochastic"):
        SemiDiscreteOT(torch.eye(2), source=StandardNormal(2)).fit_exact()
    with pytest.raises(ValueError, match=r"points must have embedding_size 3, got shape \(4, 2\)"):
        transport(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="steps must be an integer >= 1, got 0"):
        transport.fit_stochastic(steps=0)
    with pytest.raises(ValueError, match="step_size must be a finite number > 0, got 0"):
        transport.fit_stochastic(step_size=0)
    with pytest.raises(ValueError, match="n_samples must be an integer >= 2, got 1"):
        transport.cells(n_samples=1)
