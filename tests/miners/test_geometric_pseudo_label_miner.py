from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import (
    ContrastiveLoss,
    MultiSimilarityLoss,
    NTXentLoss,
    SupConLoss,
    TripletMarginLoss,
)
from torch import Tensor

from pml_proxyext.geometry import (
    GeometricLabel,
    epipolar_residuals,
    essential_matrix,
    homography_residuals,
    rigid_motion,
    rigid_residuals,
)
from pml_proxyext.miners import BatchGeometry, GeometricPseudoLabelMiner

SEEDS = st.integers(0, 10_000)
Pairs = tuple[set[tuple[int, int]], set[tuple[int, int]]]


def draw(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole(high: int, size: int, seed: int) -> Tensor:
    return torch.randint(high, (size,), generator=torch.Generator().manual_seed(seed))


def pairs(found: tuple[Tensor, ...]) -> Pairs:
    a1, p, a2, n = (indices.tolist() for indices in found)
    assert len(set(zip(a1, p, strict=True))) == len(a1)
    assert len(set(zip(a2, n, strict=True))) == len(a2)
    return set(zip(a1, p, strict=True)), set(zip(a2, n, strict=True))


def scenes(size: int, ref_size: int, num_scenes: int, seed: int) -> BatchGeometry:
    """Return points in a square, and a homography near the identity for each scene pair."""
    models = torch.eye(3).double() + 0.05 * (draw(num_scenes, 3, 3, seed=seed) - 0.5)
    points = draw(size, 2, seed=seed + 1), draw(ref_size, 2, seed=seed + 2)
    return BatchGeometry(*points, models, whole(num_scenes, size, seed + 3), whole(num_scenes, ref_size, seed + 4))


def loop(geometry: BatchGeometry, tau_pos: float, tau_neg: float) -> Pairs:
    """Say of each pair of points by scalars what it is."""

    def moved(model: Tensor, point: list[float]) -> list[float]:
        x, y, z = (row[0] * point[0] + row[1] * point[1] + row[2] for row in model.tolist())
        return [x / z, y / z]

    residuals = {}
    for i, (a, scene) in enumerate(zip(geometry.points_a.tolist(), geometry.pairs_a.tolist(), strict=True)):
        for j, (b, other) in enumerate(zip(geometry.points_b.tolist(), geometry.pairs_b.tolist(), strict=True)):
            if scene == other:
                model = geometry.models[scene]
                there, back = math.dist(moved(model, a), b), math.dist(moved(torch.linalg.inv(model), b), a)
                residuals[i, j] = max(there, back)
    positives = {
        (i, j)
        for (i, j), r in residuals.items()
        if r < tau_pos and all(r <= other for (k, n), other in residuals.items() if i == k or j == n)
    }
    return positives, {pair for pair, r in residuals.items() if r > tau_neg}


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, size=st.integers(0, 8), ref_size=st.integers(0, 8), num_scenes=st.integers(1, 3))
def test_pairs_of_two_views_are_those_of_a_loop(seed, size, ref_size, num_scenes):
    geometry = scenes(size, ref_size, num_scenes, seed)
    miner = GeometricPseudoLabelMiner(homography_residuals, 0.2, 0.4)
    miner.geometry = geometry
    found = miner(torch.ones(size, 5), ref_emb=torch.ones(ref_size, 5))
    assert pairs(found) == loop(geometry, 0.2, 0.4)
    assert all(index.dtype == torch.int64 for index in found)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_stacked_views_have_every_pair_both_ways(seed):
    geometry = scenes(6, 7, 2, seed)
    miner = GeometricPseudoLabelMiner(homography_residuals, 0.2, 0.4)
    miner.geometry = geometry
    found = pairs(miner(torch.ones(13, 5), torch.zeros(13)))
    for kind, expected in zip(found, loop(geometry, 0.2, 0.4), strict=True):
        assert kind == {(i, 6 + j) for i, j in expected} | {(6 + j, i) for i, j in expected}


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_wider_thresholds_give_more_positives_and_fewer_negatives(seed):
    mined = []
    for tau_pos, tau_neg in ((0.1, 0.3), (0.2, 0.5)):
        miner = GeometricPseudoLabelMiner(homography_residuals, tau_pos, tau_neg)
        miner.geometry = scenes(9, 9, 2, seed)
        mined.append(pairs(miner(torch.ones(9, 2), ref_emb=torch.ones(9, 2))))
    (narrow, far), (wide, farther) = mined
    assert narrow <= wide
    assert far >= farther


def test_a_positive_is_never_a_negative():
    miner = GeometricPseudoLabelMiner(homography_residuals, 0.3, 0.3)
    miner.geometry = scenes(20, 20, 2, 0)
    positives, negatives = pairs(miner(torch.ones(20, 2), ref_emb=torch.ones(20, 2)))
    assert len(positives) > 5
    assert not positives & negatives


def test_a_point_between_the_thresholds_is_neither():
    miner = GeometricPseudoLabelMiner(rigid_residuals, tau_pos=1.0, tau_neg=2.0)
    a, b = torch.zeros(1, 1), torch.tensor([[0.5], [1.5], [2.0], [2.5]])
    scene = torch.zeros(4, dtype=torch.int64)
    miner.geometry = BatchGeometry(a, b, torch.eye(2)[None], scene[:1], scene)
    assert pairs(miner(torch.ones(1, 2), ref_emb=torch.ones(4, 2))) == ({(0, 0)}, {(0, 3)})


def test_coincident_points_are_positives_of_one_another():
    miner = GeometricPseudoLabelMiner(rigid_residuals, 1.0, 2.0)
    scene = torch.zeros(3, dtype=torch.int64)
    miner.geometry = BatchGeometry(torch.zeros(2, 1), torch.zeros(3, 1), torch.eye(2)[None], scene[:2], scene)
    positives, _ = pairs(miner(torch.ones(2, 2), ref_emb=torch.ones(3, 2)))
    assert positives == {(i, j) for i in range(2) for j in range(3)}


@pytest.mark.parametrize(
    ("residuals", "dim", "model"),
    [
        (homography_residuals, 2, rigid_motion(torch.eye(2), torch.tensor([0.1, 0.0]))),
        (epipolar_residuals, 2, essential_matrix(torch.eye(3), torch.tensor([1.0, 0.0, 0.0]))),
        (rigid_residuals, 3, torch.eye(4)),
    ],
)
def test_a_failed_fit_has_no_pairs_and_leaves_the_others_alone(residuals, dim, model):
    labels = [GeometricLabel.failure(9, size=len(model)), GeometricLabel(model, torch.ones(9) > 0, 1.0)]
    models = torch.stack([label.model for label in labels])
    points, scene = draw(10, dim, seed=0), torch.arange(10) % 2
    miner = GeometricPseudoLabelMiner(residuals, 0.2, 0.3)
    miner.geometry = BatchGeometry(points, points, models, scene, scene)
    positives, negatives = pairs(miner(torch.ones(10, 2), ref_emb=torch.ones(10, 2)))
    assert positives
    assert negatives
    assert all(i % 2 == j % 2 == 1 for i, j in positives | negatives)


def test_a_pair_without_a_residual_is_neither_and_in_nobodys_way():
    """Such as a point on the horizon of a homography."""

    def undefined_at_nine(model: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return torch.where(b[:, 0] == 9, torch.nan, (a - b).abs()[:, 0])

    miner = GeometricPseudoLabelMiner(undefined_at_nine, 0.5, 1.0)
    a, b, scene = torch.tensor([[0.0], [8.0]]), torch.tensor([[9.0], [0.2]]), torch.tensor([0, 0])
    miner.geometry = BatchGeometry(a, b, torch.eye(2)[None], scene, scene)
    assert pairs(miner(torch.ones(2, 2), ref_emb=torch.ones(2, 2))) == ({(0, 1)}, {(1, 1)})


def test_scene_pairs_do_not_mix():
    geometry = scenes(12, 12, 3, 0)
    miner = GeometricPseudoLabelMiner(homography_residuals, 0.3, 0.3)
    miner.geometry = geometry
    positives, negatives = pairs(miner(torch.ones(12, 2), ref_emb=torch.ones(12, 2)))
    assert all(geometry.pairs_a[i] == geometry.pairs_b[j] for i, j in positives | negatives)
    for scene in range(3):
        rows, columns = (geometry.pairs_a == scene).nonzero()[:, 0], (geometry.pairs_b == scene).nonzero()[:, 0]
        zero = torch.zeros(12, dtype=torch.int64)
        miner.geometry = BatchGeometry(
            geometry.points_a[rows],
            geometry.points_b[columns],
            geometry.models[scene : scene + 1],
            zero[: len(rows)],
            zero[: len(columns)],
        )
        alone = pairs(miner(torch.ones(len(rows), 2), ref_emb=torch.ones(len(columns), 2)))
        for part, all_of_them in zip(alone, (positives, negatives), strict=True):
            moved = {(rows[i].item(), columns[j].item()) for i, j in part}
            assert moved == {(i, j) for i, j in all_of_them if geometry.pairs_a[i] == scene}


@pytest.mark.parametrize(
    "loss", [NTXentLoss(), SupConLoss(), ContrastiveLoss(), MultiSimilarityLoss(), TripletMarginLoss()]
)
@pytest.mark.parametrize("stacked", [False, True])
def test_losses_of_pml_learn_from_its_pairs(loss, stacked):
    miner = GeometricPseudoLabelMiner(homography_residuals, 0.3, 0.3)
    miner.geometry = scenes(8, 8, 1, 1)
    of_a, of_b = draw(8, 4, seed=3).requires_grad_(), draw(8, 4, seed=4).requires_grad_()
    if stacked:
        both = torch.cat([of_a, of_b])
        value = loss(both, torch.zeros(16, dtype=torch.int64), miner(both, torch.zeros(16)))
    else:
        zeros = torch.zeros(8, dtype=torch.int64)
        value = loss(of_a, zeros, miner(of_a, zeros, of_b, zeros), of_b, zeros)
    value.backward()
    assert value > 0
    assert all(view.grad.isfinite().all() and view.grad.abs().sum() > 0 for view in (of_a, of_b))


def test_the_embeddings_and_labels_are_not_looked_at():
    miner = GeometricPseudoLabelMiner(homography_residuals, 0.2, 0.4)
    mined = []
    for seed in range(2):
        miner.geometry = scenes(6, 7, 2, 0)
        embeddings, ref_emb = draw(6, 3, seed=seed), draw(7, 3, seed=seed + 9)
        mined.append(miner(embeddings, whole(3, 6, seed), ref_emb, whole(3, 7, seed)))
    assert all(torch.equal(first, second) for first, second in zip(*mined, strict=True))


def test_geometry_serves_one_call():
    miner = GeometricPseudoLabelMiner(homography_residuals, 0.2, 0.4)
    with pytest.raises(ValueError, match=r"^geometry is required anew for each batch, got none"):
        miner(torch.ones(2, 2))
    miner.geometry = scenes(6, 7, 2, 0)
    miner(torch.ones(13, 2))
    with pytest.raises(ValueError, match=r"^geometry is required anew for each batch, got none"):
        miner(torch.ones(13, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(12, 2),), "with 6 and 7 points, got 12 stacked embeddings$"),
        ((torch.ones(6, 2), None, torch.ones(6, 2)), "with 6 and 7 points, got 6 embeddings and 6 of ref_emb$"),
        ((torch.ones(7, 2), None, torch.ones(6, 2)), "with 6 and 7 points, got 7 embeddings and 6 of ref_emb$"),
    ],
)
def test_geometry_of_another_batch_is_refused(arguments, message):
    miner = GeometricPseudoLabelMiner(homography_residuals, 0.2, 0.4)
    miner.geometry = scenes(6, 7, 2, 0)
    with pytest.raises(ValueError, match=f"^geometry must be that of the batch, {message}"):
        miner(*arguments)


def test_it_counts_its_pairs():
    miner = GeometricPseudoLabelMiner(homography_residuals, 0.2, 0.4, collect_stats=True)
    miner.geometry = scenes(6, 7, 2, 0)
    a1, _, a2, _ = miner(torch.ones(6, 2), ref_emb=torch.ones(7, 2))
    assert (miner.num_pos_pairs, miner.num_neg_pairs) == (len(a1), len(a2))
    assert "tau_pos=0.2, tau_neg=0.4" in repr(miner)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points_a": torch.ones(2)}, r"^points_a must have shape"),
        ({"points_b": torch.ones(3, 3)}, r"^points_b must have embedding_size 2"),
        ({"models": torch.eye(3)}, r"^models must have shape \(P, k, k\), got shape \(3, 3\)$"),
        ({"pairs_a": torch.tensor([0, 1])}, r"^pairs_a must lie in \[0, 1\)"),
        ({"pairs_b": torch.tensor([0, 0])}, r"^pairs_b must have one row for each row of points_b"),
        ({"pairs_a": torch.zeros(2)}, r"^pairs_a must be integers"),
    ],
)
def test_bad_geometry_is_named(changes, message):
    good = {
        "points_a": torch.ones(2, 2),
        "points_b": torch.ones(3, 2),
        "models": torch.eye(3)[None],
        "pairs_a": torch.tensor([0, 0]),
        "pairs_b": torch.tensor([0, 0, 0]),
    }
    BatchGeometry(**good)
    with pytest.raises(ValueError, match=message):
        BatchGeometry(**(good | changes))


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ((0.0, 1.0), "^tau_pos must be a finite number > 0, got 0.0$"),
        ((1.0, 0.5), "^tau_neg must be a finite number >= 1, got 0.5$"),
        ((1.0, math.nan), "^tau_neg must be"),
    ],
)
def test_bad_thresholds_are_named(thresholds, message):
    with pytest.raises(ValueError, match=message):
        GeometricPseudoLabelMiner(rigid_residuals, *thresholds)
