from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pml_proxyext.geometry import GeometricLabel, GeometricVerifier
from tests.geometry.two_views import stored


def label(num_inliers: int, num_matches: int, fitness: float | None = None) -> GeometricLabel:
    mask = torch.arange(num_matches) < num_inliers
    return GeometricLabel(torch.eye(3), mask, num_inliers / max(num_matches, 1) if fitness is None else fitness)


def test_the_stored_cases_of_the_two_rules_of_the_release():
    verify, cloud = GeometricVerifier(), GeometricVerifier.clouds()
    for num_inliers, num_matches, kept in stored("verifier")["cases"]:
        assert verify(label(num_inliers, num_matches)) is kept
    for fitness, size_a, size_b, overlap, kept in stored("verifier")["cases3d"]:
        assert overlap == fitness * min(1, size_b / size_a)
        assert cloud(label(3, 5, overlap)) is kept


@given(st.integers(0, 30), st.integers(0, 30), st.floats(0, 1), st.integers(0, 30), st.floats(0, 1))
def test_falling_thresholds_never_keep_less(num_inliers, more, fitness, min_matches, share):
    one = label(num_inliers, num_inliers + more, fitness)
    strict = {"min_matches": min_matches, "min_inlier_ratio": share, "min_overlap": share, "min_inliers": min_matches}
    for name in strict:
        loose = strict | {name: type(strict[name])(strict[name] * 0.7)}
        assert GeometricVerifier(**loose)(one) >= GeometricVerifier(**strict)(one)
    assert GeometricVerifier(0, 0.0)(one)


@pytest.mark.parametrize(
    ("thresholds", "kept"),
    [
        ({"min_matches": 40}, True),
        ({"min_matches": 41}, False),
        ({"min_inlier_ratio": 0.25}, True),
        ({"min_inlier_ratio": 0.26}, False),
        ({"min_overlap": 0.6}, True),
        ({"min_overlap": 0.61}, False),
        ({"min_inliers": 10}, True),
        ({"min_inliers": 11}, False),
    ],
)
def test_each_threshold_decides_alone(thresholds, kept):
    assert GeometricVerifier(**{"min_matches": 0, "min_inlier_ratio": 0.0, **thresholds})(label(10, 40, 0.6)) is kept


def test_a_failed_fit_is_never_kept_whatever_its_support():
    failed = GeometricLabel.failure(50)
    nearly = dataclasses.replace(label(50, 50), model=torch.full((3, 3), math.nan))
    infinite = dataclasses.replace(label(50, 50), model=torch.tensor([[1.0, 0.0], [math.inf, 1.0]]))
    anything = GeometricVerifier(0, 0.0)
    for one in (failed, nearly, infinite):
        assert not one.success
        assert anything(one) is False
    assert (failed.num_matches, failed.num_inliers, failed.inlier_ratio, failed.fitness) == (50, 0, 0.0, 0.0)


def test_several_labels_are_judged_one_by_one():
    labels = [label(40, 100), label(20, 100), GeometricLabel.failure(100), label(0, 0)]
    assert GeometricVerifier()(labels).tolist() == [True, False, False, False]
    none = GeometricVerifier()([])
    assert none.shape == (0,)
    assert none.dtype == torch.bool


def test_models_of_labels_are_double_and_stack_with_failures():
    both = torch.stack([label(3, 4).model, GeometricLabel.failure(9).model])
    assert both.dtype == torch.float64
    assert both.isnan().all(2).all(1).tolist() == [False, True]
    assert GeometricLabel.failure(1, size=4).model.shape == (4, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.eye(3)[:2], torch.ones(2) > 0, 1.0), r"^model must be a square matrix, got shape \(2, 3\)$"),
        ((torch.eye(3), torch.ones(2), 1.0), r"^inlier_mask must be bool of shape \(M,\), got torch.float32 of"),
        ((torch.eye(3), torch.ones(2, 1) > 0, 1.0), r"got torch.bool of shape \(2, 1\)$"),
        ((torch.eye(3), torch.ones(2) > 0, 1.5), "^fitness must be a finite number >= 0 and <= 1, got 1.5$"),
        ((torch.eye(3), torch.ones(2) > 0, math.nan), "^fitness must be"),
    ],
)
def test_bad_labels_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        GeometricLabel(*arguments)


@pytest.mark.parametrize(
    ("name", "value"), [("min_matches", -1), ("min_inlier_ratio", 1.1), ("min_overlap", math.nan), ("min_inliers", 0.5)]
)
def test_bad_thresholds_are_named(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        GeometricVerifier(**{name: value})


def test_a_verifier_shows_its_thresholds():
    assert "min_inlier_ratio=0.3" in repr(GeometricVerifier())
