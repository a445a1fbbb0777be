from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pml_proxyext.geometry import (
    GeometricVerifier,
    RigidTeacher,
    cloud_overlap,
    rigid_motion,
    rotation_error,
    transfer,
    weighted_procrustes,
)
from pml_proxyext.geometry.rigid_teacher import _edges_agree, _triples
from tests.geometry.two_views import doubles, generator, normal, rotation, same_rows, stored, uniform

MOTION = rigid_motion(rotation(0), doubles([0.5, -2.0, 1.0]))


def scene(count: int, num_wrong: int = 0, noise: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return two clouds and matches, the last ``num_wrong`` of them wrong."""
    a = uniform(count, 3, seed=seed)
    b = transfer(MOTION, a) + noise * normal(count, 3, seed=seed + 1)
    matches = same_rows(count)
    if num_wrong:
        matches[count - num_wrong :, 1] = matches[count - num_wrong :, 1].roll(1)
    return a, b, matches


def _matched(a: Tensor, b: Tensor, matches: Tensor) -> tuple[Tensor, Tensor]:
    return a[matches[:, 0]], b[matches[:, 1]]


@pytest.mark.parametrize("case", stored("rigid"), ids=lambda case: f"{len(case['A'])}-points")
def test_it_lands_on_the_motion_of_the_stored_inliers(case):
    a, b, inlier = doubles(case["A"]), doubles(case["B"]), torch.tensor(case["inlier"]).bool()
    label = RigidTeacher(case["inlier_threshold"], refine=False).fit(a, b, same_rows(len(a)))
    expected = case["procrustes_inliers"]
    borderline = label.inlier_mask != inlier
    assert borderline.sum() <= 0.05 * len(a)
    if not borderline.any():
        torch.testing.assert_close(label.model[:3, :3], doubles(expected["R"]), rtol=0, atol=1e-9)
        torch.testing.assert_close(label.model[:3, 3], doubles(expected["t"]), rtol=0, atol=1e-9)
    assert rotation_error(label.model[:3, :3], doubles(case["R_true"])) < 1 + 1e3 * case["noise_sigma"] / len(a)


@pytest.mark.parametrize("refine", [True, False])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("num_wrong", [0, 100, 160])
def test_the_truth_comes_back_through_wrong_matches(num_wrong, seed, refine):
    a, b, matches = scene(200, num_wrong, seed=3 * seed)
    label = RigidTeacher(refine=refine).fit(a, b, matches)
    torch.testing.assert_close(label.model, MOTION, rtol=0, atol=1e-10)
    assert label.inlier_mask[: 200 - num_wrong].all()
    # A ball of the radius of the threshold holds 0.0014 of the cloud.
    assert label.num_inliers <= 200 - num_wrong + 3
    assert label.fitness == 1
    assert GeometricVerifier.clouds()(label)


def test_inliers_are_fitted_together_and_those_of_the_residuals():
    a, b, matches = scene(200, 100, noise=0.03)
    teacher = RigidTeacher(refine=False)
    label = teacher.fit(a, b, matches)
    assert torch.equal(label.inlier_mask, teacher.residuals(label.model, a, b[matches[:, 1]]) <= teacher.threshold)
    inliers = label.inlier_mask
    assert 50 < inliers.sum() < 110
    fitted = weighted_procrustes(a[inliers], b[matches[:, 1]][inliers])
    torch.testing.assert_close(label.model, fitted, rtol=0, atol=0.01)
    # The final fit cannot be lowered by fitting to its inliers, or it was fitted to just these.
    costs = [teacher.residuals(m, a, b[matches[:, 1]]).clamp(max=0.07).square().sum() for m in (label.model, fitted)]
    assert costs[0] <= costs[1] + 1e-12


def test_a_truncated_cost_is_near_that_of_the_truth():
    a, b, matches = scene(200, 140, noise=0.02)
    teacher = RigidTeacher(refine=False)
    label = teacher.fit(a, b, matches)
    found, true = (
        teacher.residuals(model, a, b[matches[:, 1]]).clamp(max=0.07).square().sum() for model in (label.model, MOTION)
    )
    assert found <= true


def test_whole_clouds_refine_a_fit_to_few_noisy_matches():
    a, b = uniform(400, 3, seed=0), transfer(MOTION, uniform(400, 3, seed=0))
    jittered = torch.cat([a, a[:10] + 0.01 * normal(10, 3, seed=1)])
    matches = torch.stack([torch.arange(400, 410), torch.arange(10)], dim=1)
    rough, fine = (RigidTeacher(refine=refine).fit(jittered, b, matches) for refine in (False, True))
    assert (fine.model - MOTION).norm() < 0.3 * (rough.model - MOTION).norm()
    assert fine.fitness == cloud_overlap(jittered, b, fine.model, 0.07)


def test_partial_overlap_is_the_fitness():
    a = uniform(300, 3, seed=0)
    b = transfer(MOTION, a[150:])
    matches = torch.stack([torch.arange(150, 300), torch.arange(150)], dim=1)
    label = RigidTeacher(threshold=1e-3).fit(a, b, matches)
    assert label.fitness == pytest.approx(0.5 * 150 / 300)
    assert label.inlier_ratio == 1
    back = RigidTeacher(threshold=1e-3).fit(b, a, matches.flip(1))
    assert back.fitness == 1
    torch.testing.assert_close(torch.linalg.inv(back.model), label.model, rtol=0, atol=1e-10)


def test_labels_do_not_depend_on_what_was_fitted_before():
    arguments = scene(100, 70, 0.02)
    teacher = RigidTeacher()
    first = teacher.fit(*arguments)
    teacher.fit(*scene(50))
    state = torch.random.get_rng_state()
    assert torch.equal(teacher.fit(*arguments).model, first.model)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_seed_decides_which_samples_are_drawn():
    """Points are noisy, so other samples have other motions."""
    arguments = scene(200, noise=0.01)
    few = [RigidTeacher(iterations=20, refine=False, seed=seed) for seed in (0, 0, 1, 2, 3)]
    first, again, *others = (teacher._best_of_samples(*_matched(*arguments)) for teacher in few)
    assert torch.equal(first, again)
    assert not any(torch.equal(first, other) for other in others)


def test_another_seed_draws_other_samples_and_finds_the_same():
    arguments = scene(200, 150)
    models = [RigidTeacher(seed=seed, refine=False).fit(*arguments).model for seed in range(3)]
    for model in models[1:]:
        torch.testing.assert_close(model, models[0], rtol=0, atol=1e-10)


def test_a_mirrored_cloud_is_not_explained_by_a_reflection():
    a = uniform(100, 3, seed=0)
    label = RigidTeacher().fit(a, a * doubles([-1.0, 1.0, 1.0]), same_rows(100))
    assert label.inlier_ratio < 0.5
    assert not label.success or torch.linalg.det(label.model[:3, :3]).item() == pytest.approx(1)


LINE = torch.linspace(0, 3, 40).double()[:, None] * doubles([1.0, 0.5, 0.3])


@pytest.mark.parametrize(
    "a",
    [
        pytest.param(uniform(0, 3, seed=0), id="empty"),
        pytest.param(uniform(2, 3, seed=0), id="two"),
        pytest.param(LINE, id="on a line"),
        pytest.param(LINE + 0.01 * normal(40, 3, seed=0), id="nearly on a line"),
        pytest.param(torch.ones(20, 3).double(), id="one point"),
        pytest.param(uniform(2, 3, seed=0).repeat(9, 1), id="two points again and again"),
    ],
)
@pytest.mark.parametrize("refine", [True, False])
def test_matches_that_determine_nothing_fail(a, refine):
    label = RigidTeacher(refine=refine).fit(a, transfer(MOTION, a), same_rows(len(a)))
    assert not label.success
    assert label.model.shape == (4, 4)
    assert label.model.isnan().all()
    assert (label.num_matches, label.fitness) == (len(a), 0)


def test_clouds_of_other_sizes_do_not_fit():
    a = uniform(60, 3, seed=0)
    assert not RigidTeacher(1e-3).fit(a, 5 * a, same_rows(60)).success


def test_triples_are_distinct_and_uniform():
    samples = _triples(5, 20_000, generator(0))
    assert (samples.sort(1).values.diff(dim=1) > 0).all()
    assert samples.min() == 0
    assert samples.max() == 4
    counts = (samples @ torch.tensor([25, 5, 1])).bincount(minlength=125)
    counts = counts[counts > 0]
    assert len(counts) == 60
    # Chi square of 59 degrees of freedom is above 120 in one of 260 000 cases.
    assert ((counts - 20_000 / 60) ** 2 / (20_000 / 60)).sum() < 120
    assert _triples(3, 50, generator(0)).sort(1).values.unique(dim=0).tolist() == [[0, 1, 2]]


def test_no_sample_is_skipped_that_a_motion_brings_below_the_threshold():
    a = normal(2000, 3, 3, seed=0)
    moves = normal(2000, 3, 3, seed=1)
    b = transfer(MOTION, a) + 0.1 * moves / moves.norm(dim=-1, keepdim=True)
    assert _edges_agree(a, b, 0.2).all()
    assert not _edges_agree(a, b, 0.02).all()


def test_the_search_ends_when_a_sample_of_inliers_is_certain_enough():
    teacher = RigidTeacher(confidence=0.99)
    a, b, matches = scene(100, 50)
    assert teacher._enough(MOTION, a, b[matches[:, 1]]) == pytest.approx(math.log(0.01) / math.log(1 - 0.5**3))
    assert RigidTeacher(confidence=1.0)._enough(MOTION, a, b[matches[:, 1]]) == math.inf
    assert teacher._enough(MOTION, a, a + 9) == math.inf
    assert teacher._enough(MOTION, a, b) == 0


def test_bad_points_and_matches_are_named():
    a, b, matches = scene(9)
    with pytest.raises(ValueError, match=r"^points_a must be finite"):
        RigidTeacher().fit(a * torch.nan, b, matches)
    with pytest.raises(ValueError, match=r"^points_a must have shape \(N, 3\), got shape \(9, 2\)"):
        RigidTeacher().fit(a[:, :2], b, matches)
    with pytest.raises(ValueError, match=r"^matches must index the 9 rows of points_a"):
        RigidTeacher().fit(a, b, matches + 1)


@pytest.mark.parametrize(
    ("name", "value"), [("threshold", 0), ("iterations", 0), ("confidence", 1.1), ("seed", -1), ("seed", 0.5)]
)
def test_bad_settings_are_named(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        RigidTeacher(**{name: value})
