from __future__ import annotations

import itertools
import math

import pytest
import torch

from pml_proxyext.geometry import cloud_overlap, iterated_closest_points, rigid_motion, transfer
from tests.geometry.two_views import doubles, normal, rotation, stored, uniform

MOTION = rigid_motion(rotation(0, 3), doubles([0.02, -0.01, 0.02]))
IDENTITY = torch.eye(4).double()


def test_the_overlap_is_that_of_a_loop():
    a, b = uniform(60, 3, seed=0), uniform(40, 3, seed=1)
    near = [min(math.dist(x, y) for y in b.tolist()) <= 0.2 for x in transfer(MOTION, a).tolist()]
    assert 5 < sum(near) < 55
    assert cloud_overlap(a, b, MOTION, 0.2) == pytest.approx(sum(near) / 60 * 40 / 60)
    near = [min(math.dist(x, y) for y in a.tolist()) <= 0.2 for x in transfer(MOTION, b).tolist()]
    assert cloud_overlap(b, a, MOTION, 0.2) == pytest.approx(sum(near) / 40)


def test_the_overlap_follows_the_rule_of_the_release():
    for fitness, size_a, size_b, overlap, _ in stored("verifier")["cases3d"]:
        a, b = torch.full((size_a, 3), 50.0).double(), torch.full((size_b, 3), 99.0).double()
        a[: round(fitness * size_a)], b[0] = 0, 0
        assert cloud_overlap(a, b, IDENTITY, 0.1) == pytest.approx(overlap)


def test_empty_clouds_do_not_overlap():
    a = uniform(5, 3, seed=0)
    assert cloud_overlap(a[:0], a, IDENTITY, 0.1) == cloud_overlap(a, a[:0], IDENTITY, 0.1) == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_nearby_motion_is_drawn_to_the_truth(seed):
    """On a grid so wide that the nearest point within the threshold is the right one, where there is a right one."""
    grid = torch.cartesian_prod(*3 * [0.2 * torch.arange(6).double() - 0.5]) + 0.02 * uniform(216, 3, seed=seed)
    a, b = grid[:150], transfer(MOTION, grid)[60:]
    found = iterated_closest_points(a, b, IDENTITY, threshold=0.1)
    torch.testing.assert_close(found, MOTION, rtol=0, atol=1e-12)


def test_every_step_lowers_the_truncated_distance():
    a, b = uniform(200, 3, seed=0), transfer(MOTION, uniform(200, 3, seed=0)) + 0.02 * normal(200, 3, seed=1)

    def cost(model):
        return torch.cdist(transfer(model, a), b).amin(1).clamp(max=0.1).square().sum().item()

    costs = [cost(iterated_closest_points(a, b, IDENTITY, 0.1, max_iterations=count)) for count in range(1, 12)]
    assert costs[0] < cost(IDENTITY)
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(costs))
    assert costs[-1] < costs[0]


def test_without_near_points_the_motion_stays():
    a = uniform(50, 3, seed=0)
    assert torch.equal(iterated_closest_points(a, a + 100, MOTION, 0.1), MOTION)
