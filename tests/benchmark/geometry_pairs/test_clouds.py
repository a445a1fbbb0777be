"""Pairs of scans: the motion between them, how they overlap, and what is known of their shape."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from pml_proxyext.benchmark.datasets.bunny import stand_in_mesh
from pml_proxyext.benchmark.geometry_pairs.clouds import CELL, cloud_pairs
from pml_proxyext.benchmark.geometry_pairs.local_shape import ANGLES_WIDTH, local_shape, normals
from pml_proxyext.geometry import cloud_overlap


@pytest.fixture(scope="module")
def pairs():
    return cloud_pairs(stand_in_mesh(), 3, 0)


def test_the_truth_brings_the_scans_together_in_part(pairs):
    for pair in pairs:
        rotation = pair.truth[:3, :3]
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
        assert torch.linalg.det(rotation) > 0
        overlap = cloud_overlap(pair.points_a.double(), pair.points_b.double(), pair.truth, CELL)
        assert 0.3 < overlap < 0.95
        wrong = pair.truth.clone()
        wrong[:3, 3] += 0.3
        assert cloud_overlap(pair.points_a.double(), pair.points_b.double(), wrong, CELL) < overlap - 0.1


def test_seeds_give_the_same_scans_and_others_differ(pairs):
    again, other = cloud_pairs(stand_in_mesh(), 1, 0), cloud_pairs(stand_in_mesh(), 1, 1)
    assert torch.equal(again[0].data_a, pairs[0].data_a)
    assert again[0].points_a.shape != other[0].points_a.shape or not torch.equal(again[0].points_a, other[0].points_a)


def test_there_is_one_key_point_in_a_cell(pairs):
    for points in (pairs[0].points_a.numpy(), pairs[0].points_b.numpy()):
        cells = np.floor(points / CELL)
        assert len(np.unique(cells, axis=0)) >= len(cells) - 2  # float32 may cross a wall
        assert 100 < len(points) < 800


def test_normals_of_a_sphere_are_its_radii_on_the_side_that_is_seen():
    generator = np.random.default_rng(0)
    points = generator.normal(size=(4000, 3))
    points = 0.5 * points / np.linalg.norm(points, axis=1, keepdims=True)
    found = normals(points, cKDTree(points), np.array([0.0, 0.0, 1.0]))
    radii = 2 * points
    cosine = (found * radii).sum(1)
    seen = points[:, 2] > 0.1
    assert cosine[seen].min() > 0.95
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
    assert cosine[points[:, 2] < -0.1].max() < -0.95


def test_local_shape_does_not_change_when_all_is_moved():
    generator = np.random.default_rng(1)
    points = generator.uniform(-0.3, 0.3, (600, 3))
    points[:, 2] = 0.3 * points[:, 0] ** 2 - 0.2 * points[:, 1] ** 3
    outward = generator.normal(size=points.shape)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    turn, shift = Rotation.from_quat(generator.normal(size=4)).as_matrix(), generator.normal(size=3)
    moved = points @ turn.T + shift
    one = local_shape(points[:9], outward[:9], points, outward, cKDTree(points))
    other = local_shape(moved[:9], outward[:9] @ turn.T, moved, outward @ turn.T, cKDTree(moved))
    # A neighbour on a wall between two bins may change sides by rounding.
    assert (np.abs(one - other).max(axis=1) > 1e-6).sum() <= 1


def test_local_shape_counts_as_a_loop_does():
    generator = np.random.default_rng(2)
    points = generator.uniform(-0.2, 0.2, (150, 3))
    outward = generator.normal(size=points.shape)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    found = local_shape(points[:4], outward[:4], points, outward, cKDTree(points))
    assert found.shape == (4, ANGLES_WIDTH + 128)
    for key in range(4):
        angles, spins = np.zeros((3, 11)), np.zeros((2, 8, 8))
        for point, normal in zip(points, outward, strict=True):
            offset, along = point - points[key], outward[key]
            length = np.linalg.norm(offset)
            if 0 < length <= 0.15:
                towards = offset / length
                across = np.cross(towards, along)
                turn = np.arctan2(np.cross(along, across) @ normal, along @ normal) / np.pi
                for row, value in enumerate((along @ towards, across @ normal, turn)):
                    angles[row, min(int((value + 1) / 2 * 11), 10)] += 1
            for image, radius in zip(spins, (0.1, 0.2), strict=True):
                if length <= radius:
                    height = offset @ along
                    distance = np.sqrt(max(length**2 - height**2, 0))
                    rows = min(int((height + radius) / (2 * radius) * 8), 7)
                    image[rows, min(int(distance / radius * 8), 7)] += 1
        parts = [*angles, *(image.ravel() for image in spins)]
        expected = np.concatenate([part / max(np.linalg.norm(part), 1) for part in parts])
        np.testing.assert_allclose(found[key], expected, atol=1e-12)
