"""Pairs of views, and the points that correspond by a label."""

import pytest
import torch

from pml_proxyext.geometry import GeometricLabel, homography_residuals, rigid_residuals
from pml_proxyext.trainers import GeometricPairs, PointPair
from pml_proxyext.trainers.geometric_pairs import correspondences
from tests.trainers.geometric_scenes import TAU, make_pairs, true_labels


def test_correspondences_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(n, 2, generator=generator) * 10 for n in (15, 19))
    model = torch.tensor([[1.1, 0.1, 0.3], [-0.1, 0.9, 0.2], [0.01, 0.0, 1.0]], dtype=torch.float64)
    found = correspondences(model, a, b, homography_residuals, 1.5).tolist()
    residual = [[float(homography_residuals(model, p.double(), q.double())) for q in b] for p in a]
    column = [list(values) for values in zip(*residual, strict=True)]
    expected = [
        [i, j]
        for i in range(15)
        for j in range(19)
        if residual[i][j] < 1.5 and residual[i][j] == min(residual[i]) == min(column[j])
    ]
    assert found == expected
    assert 0 < len(found) < 15


def test_correspondences_are_symmetric_in_the_views():
    (pair,) = make_pairs(1)
    one = correspondences(pair.truth, pair.points_a, pair.points_b, rigid_residuals, TAU)
    other = correspondences(torch.linalg.inv(pair.truth), pair.points_b, pair.points_a, rigid_residuals, TAU)
    assert sorted(one.tolist()) == sorted(other.flip(1).tolist())
    assert len(one) >= 18


def test_a_failed_fit_has_no_correspondences_and_no_sample():
    pairs = make_pairs(3)
    model = GeometricLabel.failure(4, size=4).model
    assert correspondences(model, pairs[0].points_a, pairs[0].points_b, rigid_residuals, TAU).shape == (0, 2)
    data = GeometricPairs(pairs, 4, TAU)
    labels = true_labels(pairs)
    kept = data.label([labels[0], GeometricLabel.failure(9, size=4), None], rigid_residuals)
    assert kept.tolist() == [True, False, False]
    assert len(data) == 1


def test_a_label_by_which_nothing_corresponds_has_no_sample():
    (pair,) = make_pairs(1)
    far = torch.eye(4)
    far[:3, 3] = 1000
    data = GeometricPairs([pair], 4, TAU)
    assert not data.label([GeometricLabel(far, torch.ones(5, dtype=torch.bool), 1.0)], rigid_residuals).any()
    assert len(data) == 0


@pytest.mark.parametrize("count", [1, 7, 50])
def test_a_sample_is_of_corresponding_points_whole_and_no_more_often_than_needed(count):
    pairs = make_pairs(2)
    data = GeometricPairs(pairs, count, TAU, torch.Generator().manual_seed(0))
    data.label(true_labels(pairs), rigid_residuals)
    sample = data[1]
    assert sample["ids"].shape == (count,)
    assert (rigid_residuals(sample["model"], sample["points_a"].double(), sample["points_b"].double()) < TAU).all()
    torch.testing.assert_close(sample["data_a"], pairs[1].data_a[sample["ids"]], rtol=0, atol=0)
    torch.testing.assert_close(sample["points_a"], pairs[1].points_a[sample["ids"]], rtol=0, atol=0)
    total = len(correspondences(pairs[1].truth, pairs[1].points_a, pairs[1].points_b, rigid_residuals, TAU))
    often = sample["ids"].unique(return_counts=True)[1]
    assert often.max() <= -(-count // total)
    assert len(often) == min(count, total)


def test_points_keep_their_own_data():
    pairs = make_pairs(1)
    data = GeometricPairs(pairs, 5, TAU)
    data.label(true_labels(pairs), rigid_residuals)
    sample = data[0]
    for points, rows in ((sample["points_b"], sample["data_b"]),):
        for point, row in zip(points, rows, strict=True):
            (index,) = (pairs[0].points_b == point).all(1).nonzero().flatten().tolist()
            torch.testing.assert_close(row, pairs[0].data_b[index], rtol=0, atol=0)


def test_the_generator_draws_and_nothing_else_does():
    pairs = make_pairs(1)
    draws = []
    for seed in (3, 3, 4):
        data = GeometricPairs(pairs, 6, TAU, torch.Generator().manual_seed(seed))
        data.label(true_labels(pairs), rigid_residuals)
        before = torch.get_rng_state()
        draws.append(data[0]["ids"].tolist())
        assert torch.equal(torch.get_rng_state(), before)
    assert draws[0] == draws[1] != draws[2]


GOOD = {
    "points_a": torch.zeros(3, 2),
    "points_b": torch.zeros(4, 2),
    "data_a": torch.zeros(3),
    "data_b": torch.zeros(4),
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("points_a", torch.zeros(0, 2)),
        ("points_a", torch.zeros(3)),
        ("points_b", torch.zeros(4, 2, dtype=torch.int64)),
        ("points_b", torch.full((4, 2), torch.nan)),
        ("points_b", torch.zeros(4, 3)),
        ("data_a", torch.zeros(4)),
        ("data_b", torch.zeros(3, 5)),
    ],
)
def test_views_that_do_not_fit_are_refused(name, value):
    PointPair(**GOOD)
    with pytest.raises(ValueError, match=name):
        PointPair(**{**GOOD, name: value})


def test_data_sets_without_pairs_and_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at least one pair"):
        GeometricPairs([], 4, TAU)
    data = GeometricPairs(make_pairs(2), 4, TAU)
    with pytest.raises(ValueError, match="2 pairs, got 1"):
        data.label([None], rigid_residuals)
    with pytest.raises(ValueError, match="num_correspondences"):
        GeometricPairs(make_pairs(1), 0, TAU)
    with pytest.raises(ValueError, match="threshold"):
        GeometricPairs(make_pairs(1), 4, 0.0)
