"""One run of each arm, on small scenes whose truth is known."""

import dataclasses

import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss

from pml_proxyext.benchmark.geometry_pairs.arms import TRAINED, GeometryTask, cosine_matches, run_arm
from pml_proxyext.geometry import GeometricVerifier, rotation_error
from pml_proxyext.trainers import PointPair
from tests.trainers.geometric_scenes import TAU, bootstrap, make_pairs, make_student, teacher

ROUND = {"recall", "inlier_ratio", "feature_match_recall", "kept", "precision", "right"}


def is_right(label, pair):
    return bool(rotation_error(label.model[:3, :3], pair.truth[:3, :3]) < 5)


def make_task(steps=3, train=6, test=5):
    return GeometryTask(
        train=make_pairs(train, seed=0),
        test=make_pairs(test, seed=1),
        references={"bootstrap": bootstrap},
        make_student=lambda pairs: make_student(SupConLoss(), pairs=pairs, iterations_per_epoch=steps),
        teacher=teacher(),
        verifier=GeometricVerifier(min_matches=4, min_inlier_ratio=0.0, min_inliers=6),
        is_right=is_right,
        threshold=TAU,
    )


def true_matches(pair):
    moved = pair.points_a.double() @ pair.truth[:3, :3].T + pair.truth[:3, 3]
    return (torch.cdist(moved, pair.points_b.double()) < TAU).nonzero()


def test_scores_count_what_is_right():
    task = make_task()
    assert task.score(true_matches) == {"recall": 1, "inlier_ratio": 1, "feature_match_recall": 1}
    first = id(task.test[0])

    def half(pair):
        found = true_matches(pair)
        wrong = torch.stack([found[:, 0], found[:, 1].roll(1)], dim=1)
        return wrong if id(pair) == first else torch.cat([found, wrong])

    scores = task.score(half)
    assert scores["recall"] == scores["feature_match_recall"] == 4 / 5
    assert scores["inlier_ratio"] == pytest.approx(4 / 5 / 2)
    assert set(task.score(lambda pair: torch.empty(0, 2, dtype=torch.int64)).values()) == {0}


def test_cosines_match_whatever_the_lengths_are():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(7, 4, generator=generator), torch.randn(9, 4, generator=generator)
    found = cosine_matches(a, b)
    assert torch.equal(found, cosine_matches(a * torch.rand(7, 1, generator=generator), 3 * b))
    cosine = torch.nn.functional.cosine_similarity(a[:, None], b, dim=2)
    assert all(cosine[i, j] == cosine[i].max() == cosine[:, j].max() for i, j in found.tolist())


@pytest.mark.parametrize("arm", ["bootstrap", *TRAINED])
def test_every_arm_gives_its_scores(arm):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        task = make_task()
        metrics, match = run_arm(arm, task, meta_iters=1)
    if arm in ("sgp", "no_verifier"):
        assert set(metrics) == {f"{name}_{number}" for name in ROUND for number in (0, 1)}
        assert {name: metrics[f"{name}_1"] for name in task.score(match)} == task.score(match)
        if arm == "no_verifier":
            assert metrics["kept_0"] >= metrics["right_0"]
            assert metrics["precision_0"] == pytest.approx(metrics["right_0"] / metrics["kept_0"])
    else:
        assert metrics == task.score(match)


def test_only_one_arm_asks_the_verifier():
    chosen = iter([True, True, True, False, False, False] * 2)
    task = dataclasses.replace(make_task(), verifier=lambda label: next(chosen))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kept = {arm: run_arm(arm, task, meta_iters=0)[0]["kept_0"] for arm in ("sgp", "no_verifier")}
    assert kept["sgp"] <= 0.5 < kept["no_verifier"]
    assert len(list(chosen)) == 6


def test_telling_the_truth_helps():
    """With enough steps the oracle beats the bootstrap and an untrained student; seeds are fixed."""
    with torch.random.fork_rng():
        scores = {}
        for arm in ("bootstrap", "untrained", "oracle"):
            torch.manual_seed(0)
            scores[arm] = run_arm(arm, make_task(steps=120, train=30, test=12), 0)[0]["inlier_ratio"]
    assert scores["oracle"] > max(scores["bootstrap"], scores["untrained"])


def test_pairs_without_a_truth_cannot_be_scored():
    task = make_task()
    task.test[0] = PointPair(*(getattr(task.test[0], name) for name in ("points_a", "points_b", "data_a", "data_b")))
    with pytest.raises(ValueError, match="truth"):
        task.score(bootstrap)
