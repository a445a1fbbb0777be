from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pml_proxyext.geometry import (
    epipolar_residuals,
    essential_matrix,
    fundamental_matrix,
    homography_residuals,
    rigid_motion,
    rigid_residuals,
    transfer,
)
from tests.geometry.two_views import HOMOGRAPHY, apply, doubles, normal, project, rotation, stored, uniform

MOTION = rigid_motion(rotation(0), doubles([0.3, -1.0, 2.0]))
ESSENTIAL = essential_matrix(rotation(0, 8), doubles([1.0, 0.2, -0.1]))


def homography_loop(model: Tensor, a: list[float], b: list[float]) -> float:
    return max(math.dist(apply(model, a), b), math.dist(apply(torch.linalg.inv(model), b), a))


def rigid_loop(model: Tensor, a: list[float], b: list[float]) -> float:
    return math.dist(apply(model, a), b)


def sampson_loop(model: Tensor, a: list[float], b: list[float]) -> float:
    a, b, f = [*a, 1.0], [*b, 1.0], model.tolist()
    line_b = [sum(f[r][c] * a[c] for c in range(3)) for r in range(3)]
    line_a = [sum(f[r][c] * b[r] for r in range(3)) for c in range(3)]
    algebraic = sum(x * y for x, y in zip(b, line_b, strict=True))
    return abs(algebraic) / math.sqrt(line_b[0] ** 2 + line_b[1] ** 2 + line_a[0] ** 2 + line_a[1] ** 2)


CASES = [
    pytest.param(homography_residuals, homography_loop, HOMOGRAPHY, 2, id="homography"),
    pytest.param(rigid_residuals, rigid_loop, MOTION, 3, id="rigid"),
    pytest.param(epipolar_residuals, sampson_loop, ESSENTIAL, 2, id="epipolar"),
]


@pytest.mark.parametrize(("residuals", "loop", "model", "dim"), CASES)
def test_residuals_are_those_of_a_loop_over_scalars(residuals, loop, model, dim):
    a, b = normal(20, dim, seed=1), normal(20, dim, seed=2)
    expected = [loop(model, *pair) for pair in zip(a.tolist(), b.tolist(), strict=True)]
    torch.testing.assert_close(residuals(model, a, b), doubles(expected), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("residuals", "loop", "model", "dim"), CASES)
def test_a_model_for_each_pair_is_the_same_as_one_after_another(residuals, loop, model, dim):
    a, b = normal(5, dim, seed=1), normal(5, dim, seed=2)
    models = torch.stack([model + 0.01 * k * torch.eye(len(model)) for k in range(5)])
    each = torch.stack([residuals(models[k], a[k], b[k]) for k in range(5)])
    torch.testing.assert_close(residuals(models, a, b), each, rtol=1e-12, atol=0)
    grid = residuals(model, a[:, None], b)
    assert grid.shape == (5, 5)
    torch.testing.assert_close(grid.diagonal(), residuals(model, a, b), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("residuals", "model", "swapped", "dim"),
    [
        (homography_residuals, HOMOGRAPHY, torch.linalg.inv(HOMOGRAPHY), 2),
        (rigid_residuals, MOTION, torch.linalg.inv(MOTION), 3),
        (epipolar_residuals, ESSENTIAL, ESSENTIAL.T, 2),
    ],
)
def test_swapping_the_views_swaps_the_model(residuals, model, swapped, dim):
    a, b = normal(20, dim, seed=1), normal(20, dim, seed=2)
    torch.testing.assert_close(residuals(model, a, b), residuals(swapped, b, a), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("residuals", [homography_residuals, epipolar_residuals])
def test_the_scale_of_a_projective_model_does_not_matter(residuals):
    a, b = normal(20, 2, seed=1), normal(20, 2, seed=2)
    torch.testing.assert_close(residuals(-7 * HOMOGRAPHY, a, b), residuals(HOMOGRAPHY, a, b), rtol=1e-9, atol=1e-12)


def test_true_pairs_have_no_residual():
    scene = uniform(30, 3, seed=3) + doubles([0, 0, 3])
    moved = scene @ rotation(0, 8).T + doubles([1.0, 0.2, -0.1])
    assert epipolar_residuals(ESSENTIAL, project(scene), project(moved)).max() < 1e-14
    assert rigid_residuals(MOTION, scene, transfer(MOTION, scene)).max() < 1e-14
    points = 288 * uniform(30, 2, seed=3)
    assert homography_residuals(HOMOGRAPHY, points, transfer(HOMOGRAPHY, points)).max() < 1e-10


def test_sampson_distances_are_distances_to_first_order():
    """A tiny step away from the line of a is shared between the two points, by the slopes of their lines."""
    for case in stored("epipolar"):
        camera, turn, shift, a, b = (doubles(case[name]) for name in ("K", "R", "t", "x1", "x2"))
        fundamental = fundamental_matrix(essential_matrix(turn, shift), camera, camera)
        lines = torch.cat([a, torch.ones(len(a), 1)], 1).double() @ fundamental.T
        normals = lines[:, :2] / lines[:, :2].norm(dim=1, keepdim=True)
        back = torch.cat([b, torch.ones(len(b), 1)], 1).double() @ fundamental
        share = lines[:, :2].norm(dim=1) / (lines[:, :2].norm(dim=1) ** 2 + back[:, :2].norm(dim=1) ** 2).sqrt()
        found = epipolar_residuals(fundamental, a, b + 1e-5 * normals)
        torch.testing.assert_close(found, 1e-5 * share, rtol=2e-4, atol=0)


def test_a_model_without_inverse_or_of_nan_has_no_residuals():
    a, b = normal(4, 2, seed=1), normal(4, 2, seed=2)
    flat = torch.diag(doubles([1.0, 1.0, 0.0]))
    for residuals in (homography_residuals, epipolar_residuals):
        assert residuals(torch.full((3, 3), torch.nan).double(), a, b).isnan().all()
    assert homography_residuals(flat, a, b).isnan().all()
    both = homography_residuals(torch.stack([flat, torch.eye(3).double()])[:, None], a, b)
    assert both.isnan().all(1).tolist() == [True, False]
    assert rigid_residuals(torch.full((3, 3), torch.nan).double(), a, b).isnan().all()
