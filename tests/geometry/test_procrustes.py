from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pml_proxyext.geometry import rigid_motion, rigid_residuals, transfer, weighted_procrustes
from tests.geometry.two_views import doubles, normal, rotation, stored, uniform

SEEDS = st.integers(0, 10_000)
FEW = settings(max_examples=30, deadline=None)


@pytest.mark.parametrize("case", stored("rigid"), ids=lambda case: f"{len(case['A'])}-points")
def test_the_stored_motions(case):
    a, b, inlier = doubles(case["A"]), doubles(case["B"]), torch.tensor(case["inlier"]).bool()
    for motion, expected in (
        (weighted_procrustes(a[inlier], b[inlier]), case["procrustes_inliers"]),
        (weighted_procrustes(a, b, inlier.double()), case["procrustes_inliers"]),
        (weighted_procrustes(a, b, doubles(case["weights"])), case["procrustes_weighted_all"]),
    ):
        torch.testing.assert_close(motion[:3, :3], doubles(expected["R"]), rtol=0, atol=1e-9)
        torch.testing.assert_close(motion[:3, 3], doubles(expected["t"]), rtol=0, atol=1e-9)


@FEW
@given(seed=SEEDS, count=st.integers(3, 12))
def test_the_rotation_is_that_of_scipy(seed, count):
    a, b = normal(count, 3, seed=seed), normal(count, 3, seed=seed + 1)
    weights = uniform(count, seed=seed + 2)
    mean_a, mean_b = (weights @ points / weights.sum() for points in (a, b))
    expected, _ = Rotation.align_vectors((b - mean_b).numpy(), (a - mean_a).numpy(), weights.numpy())
    motion = weighted_procrustes(a, b, weights)
    torch.testing.assert_close(motion[:3, :3], torch.from_numpy(expected.as_matrix()), rtol=0, atol=1e-6)
    torch.testing.assert_close(transfer(motion, mean_a), mean_b)


@FEW
@given(seed=SEEDS, dim=st.sampled_from([2, 3, 4]))
def test_no_small_motion_away_from_it_fits_better(seed, dim):
    a, b, weights = normal(9, dim, seed=seed), normal(9, dim, seed=seed + 1), uniform(9, seed=seed + 2)
    motion = weighted_procrustes(a, b, weights)
    cost = (weights * rigid_residuals(motion, a, b).square()).sum()
    for k in range(10):
        turn = normal(dim, dim, seed=seed + 10 + k)
        small = rigid_motion(torch.linalg.matrix_exp(0.05 * (turn - turn.T)), 0.05 * normal(dim, seed=seed + 30 + k))
        assert (weights * rigid_residuals(small @ motion, a, b).square()).sum() >= cost


@FEW
@given(seed=SEEDS)
def test_it_follows_motions_of_either_cloud(seed):
    a, b, weights = normal(9, 3, seed=seed), normal(9, 3, seed=seed + 1), uniform(9, seed=seed + 2)
    first, second = (rigid_motion(rotation(seed + k), normal(3, seed=seed + k)) for k in (3, 5))
    moved = weighted_procrustes(transfer(first, a), transfer(second, b), weights)
    expected = second @ weighted_procrustes(a, b, weights) @ torch.linalg.inv(first)
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-7)


@FEW
@given(seed=SEEDS)
def test_swapping_the_clouds_inverts_the_motion(seed):
    a, b, weights = normal(9, 3, seed=seed), normal(9, 3, seed=seed + 1), uniform(9, seed=seed + 2)
    back = weighted_procrustes(b, a, weights)
    torch.testing.assert_close(torch.linalg.inv(back), weighted_procrustes(a, b, weights), rtol=0, atol=1e-7)


@pytest.mark.parametrize("dim", [2, 3, 5])
def test_a_reflection_is_answered_by_a_rotation(dim):
    a = normal(20, dim, seed=0)
    mirror = torch.eye(dim).double()
    mirror[0, 0] = -1
    motion = weighted_procrustes(a, a @ mirror)
    turn = motion[:dim, :dim]
    torch.testing.assert_close(turn @ turn.T, torch.eye(dim).double())
    assert torch.linalg.det(turn).item() == pytest.approx(1)


def test_batches_are_solved_one_by_one_and_weights_have_no_scale():
    a, b, weights = normal(4, 6, 3, seed=0), normal(4, 6, 3, seed=1), uniform(4, 6, seed=2)
    each = torch.stack([weighted_procrustes(*parts) for parts in zip(a, b, 7 * weights, strict=True)])
    torch.testing.assert_close(weighted_procrustes(a, b, weights), each)


def test_points_without_weight_do_not_count():
    a, b = normal(9, 3, seed=0), normal(9, 3, seed=1)
    weights = doubles([1.0] * 6 + [0.0] * 3)
    torch.testing.assert_close(weighted_procrustes(a, b, weights), weighted_procrustes(a[:6], b[:6]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(3), torch.ones(3)), "^points_a and points_b must both have shape"),
        ((torch.ones(3, 3), torch.ones(4, 3)), r"got \(3, 3\) and \(4, 3\)$"),
        ((torch.ones(3, 3), torch.ones(3, 3), torch.ones(4)), r"^weights must have shape \(3,\), got \(4,\)$"),
    ],
)
def test_bad_shapes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        weighted_procrustes(*arguments)
