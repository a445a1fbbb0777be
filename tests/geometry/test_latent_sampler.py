"""The map made continuous, against a loop; no samples across a singularity."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from pml_proxyext.geometry import LatentSampler, SemiDiscreteOT, StandardNormal, UniformBox, dihedral_angles

FIXTURES = json.loads((Path(__file__).parents[1] / "golden" / "ot.json").read_text())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def two_modes(n=20, dim=2, seed=0):
    atoms = 0.2 * torch.randn(n, dim, generator=generator(seed), dtype=torch.float64)
    atoms[n // 2 :, 0] += 5
    return atoms


def naive(sampler, point):
    """One point, with plain loops."""
    scores = [float(point @ atom + height) for atom, height in zip(sampler.atoms, sampler.heights, strict=True)]
    order = sorted(range(len(scores)), key=lambda i: -scores[i])[: sampler.neighbours + 1]
    centred = sampler.atoms - sampler.atoms.mean(0)
    scaled = centred / centred.square().mean().sqrt()

    def angle(i, j):
        norms = math.sqrt(float(scaled[i] @ scaled[i]) + 1) * math.sqrt(float(scaled[j] @ scaled[j]) + 1)
        return math.acos(min(1.0, (float(scaled[i] @ scaled[j]) + 1) / norms))

    kept = [order[0]] + [j for j in order[1:] if angle(order[0], j) <= sampler.theta_max]
    weights = [1 / math.dist(point.tolist(), sampler.centroids[j].tolist()) for j in kept]
    image = sum(w * sampler.atoms[j] for w, j in zip(weights, kept, strict=True)) / sum(weights)
    return image, len(kept) > 1


@pytest.mark.parametrize("case", FIXTURES["semi2d"], ids=lambda case: f"n={len(case['nu'])}")
def test_angles_over_facets_are_those_of_the_fixtures(case):
    atoms, facets = torch.tensor(case["Y"], dtype=torch.float64), torch.tensor(case["facets"], dtype=torch.float64)
    first, second = facets[:, :2].long().T
    torch.testing.assert_close(dihedral_angles(atoms[first], atoms[second]), facets[:, 3], rtol=0, atol=1e-9)


def test_small_angles_keep_their_digits():
    atoms = torch.tensor([[1.0, 2.0]])
    direction = torch.tensor([[2.0, -1.0]])  # across the atom: the norm stays, and the chord is the step
    found = dihedral_angles(atoms.double(), (atoms + 1e-9 * direction.double()))
    assert found.item() == pytest.approx(1e-9 * math.sqrt(5 / 6), rel=1e-6)
    assert dihedral_angles(atoms, atoms).item() == 0


@pytest.mark.parametrize(("dim", "neighbours", "theta_max"), [(2, None, 0.4), (2, 4, 0.05), (3, None, math.pi)])
def test_images_are_those_of_a_loop(dim, neighbours, theta_max):
    transport = SemiDiscreteOT(two_modes(dim=dim)).fit_stochastic(100, 2048, generator=generator())
    sampler = transport.sampler(theta_max, neighbours, n_samples=20_000, generator=generator())
    assert sampler.centroids.isfinite().all()
    points = transport.source.sample(60, generator())
    found = sampler.transport(points)
    regular = set()
    for point, image, is_regular in zip(points, found.points, found.is_regular, strict=True):
        expected, expected_regular = naive(sampler, point)
        torch.testing.assert_close(image, expected)
        assert bool(is_regular) == expected_regular
        regular.add(expected_regular)
    assert regular == ({True} if theta_max == math.pi else {True, False})


def test_samples_stay_within_modes_where_the_plain_interpolation_does_not():
    transport = SemiDiscreteOT(two_modes()).fit_exact()

    def between(theta_max):
        samples = transport.sampler(theta_max).sample(2000, generator())
        assert samples.shape == (2000, 2)
        return ((samples[:, 0] > 1) & (samples[:, 0] < 4)).sum().item(), (samples[:, 0] > 2.5).double().mean().item()

    mixed, _ = between(math.pi)
    assert mixed > 15
    mixed, right = between(0.5)
    assert mixed == 0
    assert right == pytest.approx(0.5, abs=0.07)  # six standard errors, and the points that are left out


def test_centroids_go_to_their_atoms():
    transport = SemiDiscreteOT(two_modes()).fit_exact()
    sampler = transport.sampler(1.0)
    images = sampler.transport(sampler.centroids).points
    torch.testing.assert_close(images, transport.atoms, rtol=0, atol=1e-9)


def test_origin_and_scale_of_the_atoms_do_not_matter():
    atoms, shift = two_modes(), torch.tensor([30.0, -4.0])
    points = UniformBox.unit(2).sample(300, generator())
    first = SemiDiscreteOT(atoms).fit_exact(1e-13).sampler(0.5).transport(points)
    second = SemiDiscreteOT(0.01 * atoms + shift).fit_exact(1e-13).sampler(0.5).transport(points)
    assert torch.equal(first.is_regular, second.is_regular)
    assert not first.is_regular.all()
    torch.testing.assert_close(second.points, 0.01 * first.points + shift, rtol=0, atol=1e-6)


def test_empty_cells_are_no_neighbours_and_nan_is_visible():
    centroids = torch.tensor([[0.25], [torch.nan], [0.75]])
    sampler = LatentSampler(
        UniformBox.unit(1), torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([0.0, -0.6, -1.0]), centroids, math.pi, 2
    )
    found = sampler.transport(torch.tensor([[0.3], [torch.nan]]))
    near, far = 1 / 0.05, 1 / 0.45
    assert found.points[0].item() == pytest.approx(2 * far / (near + far))
    assert found.points[1].isnan().all()
    assert found.is_regular.tolist() == [True, False]


def test_samples_follow_the_generator_and_the_state():
    sampler = SemiDiscreteOT(two_modes(dim=3), source=StandardNormal(3)).sampler(0.8, generator=generator())
    state = torch.get_rng_state()
    first, again, other = (sampler.sample(50, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    blank = SemiDiscreteOT(two_modes(dim=3, seed=1), source=StandardNormal(3)).sampler(0.8, generator=generator(5))
    blank.load_state_dict(sampler.state_dict())
    assert torch.equal(blank.sample(50, generator(1)), first)


def test_an_angle_that_leaves_nothing_is_reported():
    sampler = SemiDiscreteOT(two_modes()).fit_exact().sampler(1e-6)
    with pytest.raises(RuntimeError, match="theta_max 1e-06 is too small"):
        sampler.sample(10, generator())


def test_unfit_arguments_are_named():
    transport = SemiDiscreteOT(two_modes(6))
    with pytest.raises(ValueError, match=r"theta_max must be a finite number > 0 and <= 3\.14159, got 4"):
        transport.sampler(4)
    with pytest.raises(ValueError, match="neighbours must be fewer than the 6 atoms, got 6"):
        transport.sampler(1.0, neighbours=6)
    with pytest.raises(ValueError, match="atoms must be two or more to lie between, got 1"):
        SemiDiscreteOT(torch.zeros(1, 2)).sampler(1.0)
    with pytest.raises(ValueError, match=r"points must have embedding_size 2, got shape \(4, 3\)"):
        transport.sampler(1.0).transport(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="count must be an integer >= 1, got 0"):
        transport.sampler(1.0).sample(0)
