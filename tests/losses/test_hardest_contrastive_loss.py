from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.reducers import DoNothingReducer, MeanReducer
from torch import Tensor

from pml_proxyext.geometry import rigid_residuals
from pml_proxyext.losses import HardestContrastiveLoss
from pml_proxyext.miners import BatchGeometry, GeometricPseudoLabelMiner

STORED = json.loads((Path(__file__).parents[1] / "golden" / "sgp.json").read_text())["hardest_contrastive"]
SEEDS = st.integers(0, 10_000)
MANY = settings(max_examples=40, deadline=None)


def rows(count: int, seed: int, dim: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64).requires_grad_()


def classes(count: int, seed: int) -> Tensor:
    return torch.randint(3, (count,), generator=torch.Generator().manual_seed(seed + 1))


def as_they_are() -> LpDistance:
    return LpDistance(normalize_embeddings=False)


def distance(a: Tensor, b: Tensor) -> float:
    a, b = ([x / math.hypot(*row) for x in row] for row in (a.tolist(), b.tolist()))
    return math.dist(a, b)


def mean(values: list[float]) -> float:
    return sum(values) / max(len(values), 1)


def loop(f: Tensor, g: Tensor, positives: list, negatives: set, squared: bool, drop: bool, **weights: float) -> float:
    """Return the loss of pairs (i, j) by scalars, one point after another."""
    m_pos, m_neg, weight = (weights.get(name, default) for name, default in (("p", 0.1), ("n", 1.4), ("w", 1.0)))
    pulls, pushes = [], ([], [])
    for i, j in positives:
        d = distance(f[i], g[j])
        pulls.append(max(d * d - m_pos, 0) if squared else max(d - m_pos, 0) ** 2)
        seen = negatives | set(positives) if drop else negatives - set(positives)
        away = {k: distance(f[i], g[k]) for a, k in seen if a == i}
        back = {k: distance(f[k], g[j]) for k, a in seen if a == j}
        for others, pair, push in ((away, lambda k, i=i: (i, k), pushes[0]), (back, lambda k, j=j: (k, j), pushes[1])):
            if others and pair(nearest := min(others, key=others.__getitem__)) not in positives:
                push.append(max(m_neg - others[nearest], 0) ** 2)
    return mean(pulls) + weight / 2 * (mean(pushes[0]) + mean(pushes[1]))


@pytest.mark.parametrize("case", STORED, ids=["4 rows", "32 rows"])
@pytest.mark.parametrize("squared", [False, True])
def test_the_stored_losses(case, squared):
    f, g = (torch.tensor(case[name], dtype=torch.float64) for name in ("f0", "f1"))
    hyper = (case["pos_thresh"], case["neg_thresh"], case["neg_weight"])
    loss = HardestContrastiveLoss(*hyper, squared_positive=squared, distance=as_they_are(), reducer=DoNothingReducer())
    parts = {name: part["losses"].mean().item() for name, part in loss(f, ref_emb=g).items()}
    assert parts["pos_loss"] == pytest.approx(case["pos_loss_fcgf_code" if squared else "pos_loss_paper"], abs=1e-12)
    assert parts["neg_loss"] == pytest.approx(case["neg_weight"] / 2 * case["neg_loss_0to1"], abs=1e-12)
    assert parts["ref_neg_loss"] == pytest.approx(case["neg_weight"] / 2 * case["neg_loss_1to0"], abs=1e-12)
    total = HardestContrastiveLoss(*hyper, squared_positive=squared, distance=as_they_are())(f, ref_emb=g)
    assert total.item() == pytest.approx(case["loss_fcgf_code" if squared else "loss_paper"], abs=1e-12)


@MANY
@given(seed=SEEDS, count=st.integers(1, 7), squared=st.booleans(), drop=st.booleans())
def test_rows_are_those_of_a_loop_over_points(seed, count, squared, drop):
    f, g = rows(count, seed), rows(count, seed + 1)
    positives = [(i, i) for i in range(count)]
    negatives = {(i, k) for i in range(count) for k in range(count) if i != k}
    loss = HardestContrastiveLoss(0.2, 1.2, 3.0, squared, drop_positive_neighbors=drop)
    expected = loop(f, g, positives, negatives, squared, drop, p=0.2, n=1.2, w=3.0)
    assert loss(f, ref_emb=g).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@MANY
@given(seed=SEEDS, size=st.integers(1, 7), ref_size=st.integers(1, 7), one=st.booleans(), drop=st.booleans())
def test_labels_are_those_of_a_loop_over_points(seed, size, ref_size, one, drop):
    f, labels = rows(size, seed), classes(size, seed)
    g, ref_labels = (f, labels) if one else (rows(ref_size, seed + 1), classes(ref_size, seed + 1))
    every = [(i, j) for i in range(len(f)) for j in range(len(g)) if not (one and i == j)]
    positives = [(i, j) for i, j in every if labels[i] == ref_labels[j]]
    negatives = set(every) - set(positives)
    arguments = (f, labels) if one else (f, labels, None, g, ref_labels)
    found = HardestContrastiveLoss(drop_positive_neighbors=drop)(*arguments)
    assert found.item() == pytest.approx(loop(f, g, positives, negatives, False, drop), rel=1e-9, abs=1e-12)


@MANY
@given(seed=SEEDS, drop=st.booleans(), share=st.sampled_from([0.2, 0.6]))
def test_tuples_are_those_of_a_loop_over_points(seed, drop, share):
    """Of tuples only the listed pairs count: what is not listed is no negative, what is listed twice a positive."""
    f, g = rows(6, seed), rows(5, seed + 1)
    draws = torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(seed + 2))
    positives, negatives = (draws[0] < share / 2).nonzero(), (draws[1] < share).nonzero()
    tuples = (*positives.unbind(1), *negatives.unbind(1))
    listed = [tuple(pair) for pair in positives.tolist()], {tuple(pair) for pair in negatives.tolist()}
    found = HardestContrastiveLoss(drop_positive_neighbors=drop)(f, indices_tuple=tuples, ref_emb=g)
    assert found.item() == pytest.approx(loop(f, g, *listed, False, drop), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("kind", ["rows", "labels", "tuples"])
def test_gradients_are_those_of_finite_differences(kind, squared):
    arguments: dict[str, Any] = {}
    if kind == "labels":
        arguments = {"labels": torch.tensor([0, 0, 1, 1, 2]), "ref_labels": torch.tensor([0, 1, 1, 2, 2])}
    if kind == "tuples":
        arguments = {"indices_tuple": tuple(torch.tensor(index) for index in ([0, 2], [1, 3], [0, 0, 2], [2, 4, 1]))}
    loss = HardestContrastiveLoss(squared_positive=squared)
    assert torch.autograd.gradcheck(lambda f, g: loss(f, ref_emb=g, **arguments), [rows(5, 1), rows(5, 2)])


def test_a_gradient_by_hand():
    """On a line, with thresholds of 0.5 and 5 and the weight 2: a step apart changes each hinge by 2 (5 - d)."""
    f = torch.tensor([[0.0], [5.0]], dtype=torch.float64, requires_grad=True)
    g = torch.tensor([[1.0], [6.0]], dtype=torch.float64)
    loss = HardestContrastiveLoss(0.5, 5.0, 2.0, distance=as_they_are())(f, ref_emb=g)
    # Pairs: (1 - 0.5)^2 each. Row 0 of f is 6 from its negative, row 1 is 4; row 0 of g is 4 from its own, row 1 is 6.
    assert loss.item() == pytest.approx(0.25 + 2 / 2 * ((5 - 4) ** 2 / 2 + (5 - 4) ** 2 / 2))
    # d pull / d f0 = 2 * 0.5 * (-1) / 2; row 1: the same from its pair, and -2 * (5 - 4) * 1 / 2 from each push.
    assert torch.autograd.grad(loss, f)[0].flatten().tolist() == pytest.approx([-0.5, -0.5 - 1 - 1])


def test_equal_points_have_finite_gradients():
    f = rows(3, 0)
    g = f.detach()[[0, 0, 0]].requires_grad_()
    for squared in (False, True):
        loss = HardestContrastiveLoss(0.0, squared_positive=squared)(f, ref_emb=g)
        assert all(torch.isfinite(grad).all() for grad in torch.autograd.grad(loss, [f, g]))
    zeros = torch.zeros(3, 4, requires_grad=True)
    assert torch.isfinite(
        torch.autograd.grad(HardestContrastiveLoss()(zeros, ref_emb=rows(3, 0, 4).float()), zeros)[0]
    ).all()


def test_the_released_form_does_not_pull_within_the_root_of_the_threshold():
    angle = 2 * math.asin(0.3 / 2)  # at a distance of 0.3, below 0.316
    f, g = torch.tensor([[1.0, 0.0]]), torch.tensor([[math.cos(angle), math.sin(angle)]])
    assert HardestContrastiveLoss()(f, ref_emb=g).item() == pytest.approx(0.2**2, rel=1e-5)
    assert HardestContrastiveLoss(squared_positive=True)(f, ref_emb=g) == 0


@MANY
@given(seed=SEEDS, threshold=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_positive_terms_of_paper_and_release_are_ordered_as_documented(seed, threshold):
    f, g = rows(6, seed), rows(6, seed + 1)
    for i in range(6):
        d = distance(f[i], g[i])
        only = [HardestContrastiveLoss(threshold, neg_weight=0.0, squared_positive=s) for s in (False, True)]
        x, y = (loss(f[i : i + 1], ref_emb=g[i : i + 1]).item() for loss in only)
        if y > 0 and d >= threshold:
            assert x - y == pytest.approx(threshold * (1 + threshold - 2 * d), abs=1e-9)


def test_drawing_positives_and_candidates():
    f, g = rows(20, 0), rows(20, 1)

    def parts(seed: int, **limits: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(seed)
        loss = HardestContrastiveLoss(**limits, generator=generator, reducer=DoNothingReducer())
        return loss(f, ref_emb=g)

    few = parts(0, num_positives=5)
    assert len(set(few["pos_loss"]["indices"][0].tolist())) == len(few["pos_loss"]["losses"]) == 5
    assert few["neg_loss"]["indices"][0].tolist() == few["pos_loss"]["indices"][0].tolist()
    one = parts(0, num_candidates=1)
    ((anchors, nearest), (ref_nearest, ref_anchors)) = one["neg_loss"]["indices"], one["ref_neg_loss"]["indices"]
    assert len(nearest.unique()) == len(ref_nearest.unique()) == 1
    # The row whose positive is the only candidate has no negative.
    assert set(anchors.tolist()) == set(range(20)) - {nearest[0].item()}
    assert set(ref_anchors.tolist()) == set(range(20)) - {ref_nearest[0].item()}
    for limits in ({"num_positives": 5}, {"num_candidates": 3}):
        first, again, other = (parts(seed, **limits)["neg_loss"]["losses"] for seed in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
    assert torch.equal(
        parts(0, num_positives=20, num_candidates=20)["neg_loss"]["losses"], parts(1)["neg_loss"]["losses"]
    )


def test_draws_are_uniform_and_anew_in_each_call():
    loss = HardestContrastiveLoss(
        num_positives=2, generator=torch.Generator().manual_seed(0), reducer=DoNothingReducer()
    )
    f, g = rows(4, 0), rows(4, 1)
    drawn = torch.cat([loss(f, ref_emb=g)["pos_loss"]["indices"][0] for _ in range(300)]).bincount(minlength=4)
    # Each count is binomial(300, 1/2): beyond 150 +- 43 in one of a million cases.
    assert (drawn - 150).abs().max() <= 43


def test_without_limits_no_random_number_is_drawn():
    state = torch.random.get_rng_state()
    HardestContrastiveLoss()(rows(5, 0), ref_emb=rows(5, 1))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_release_in_one_call():
    loss = HardestContrastiveLoss.as_released(batch_size=2)
    assert (loss.num_positives, loss.num_candidates) == (2048, 512)
    assert (loss.squared_positive, loss.drop_positive_neighbors) == (True, True)
    assert (loss.pos_thresh, loss.neg_thresh, loss.neg_weight) == (0.1, 1.4, 1.0)
    f, g = rows(9, 0), rows(9, 1)
    expected = loop(f, g, [(i, i) for i in range(9)], {(i, k) for i in range(9) for k in range(9)}, True, True)
    assert loss(f, ref_emb=g).item() == pytest.approx(expected, rel=1e-9)
    assert HardestContrastiveLoss.as_released(num_positives=7, neg_weight=2.0).num_positives == 7


def test_points_of_other_scene_pairs_are_no_negatives_with_the_miner():
    """Two copies of one scene: a point's double is as near as its partner, and rows alone take it for a negative."""
    points = torch.arange(4.0)[:, None].repeat(2, 1) * 3
    scene = torch.arange(2).repeat_interleave(4)
    features = rows(4, 0).detach().repeat(2, 1)
    miner = GeometricPseudoLabelMiner(rigid_residuals, tau_pos=1.0, tau_neg=2.0)
    miner.geometry = BatchGeometry(points, points, torch.eye(2).expand(2, 2, 2), scene, scene)
    tuples = miner(features, ref_emb=features.clone())
    loss = HardestContrastiveLoss()
    mined = loss(features, indices_tuple=tuples, ref_emb=features.clone())
    assert mined.item() == pytest.approx(loss(features[:4], ref_emb=features[:4].clone()).item())
    assert mined < loss(features, ref_emb=features.clone())


def test_it_is_not_the_contrastive_loss_of_pml():
    """Their pulls agree but for the square: mean [d]_+ for mean [d]_+^2, on the pairs of the rows."""
    f, g = rows(6, 0), rows(6, 1)
    none = torch.tensor([], dtype=torch.int64)
    pairs = (torch.arange(6), torch.arange(6), none, none)
    ours = HardestContrastiveLoss(0.0, reducer=DoNothingReducer())(f, indices_tuple=pairs, ref_emb=g)
    theirs = ContrastiveLoss(0.0, reducer=DoNothingReducer())
    pulls = theirs(f, torch.arange(6), pairs, g, torch.arange(6))["pos_loss"]["losses"]
    torch.testing.assert_close(ours["pos_loss"]["losses"], pulls**2)


def test_without_negatives_only_the_pull_is_left():
    f, g = rows(1, 0), rows(1, 1)
    assert HardestContrastiveLoss()(f, ref_emb=g).item() == pytest.approx((distance(f[0], g[0]) - 0.1) ** 2)
    labels = torch.zeros(3, dtype=torch.int64)
    parts = HardestContrastiveLoss(reducer=DoNothingReducer())(rows(3, 0), labels)
    assert parts["neg_loss"]["losses"] == parts["ref_neg_loss"]["losses"] == 0
    assert len(parts["pos_loss"]["losses"]) == 6


def test_no_positive_is_a_zero_with_a_graph():
    f = rows(4, 0)
    found = HardestContrastiveLoss()(f, torch.arange(4))
    assert found == 0
    assert (torch.autograd.grad(found, f)[0] == 0).all()


def test_nan_stays_visible():
    f, g = rows(4, 0).detach(), rows(4, 1).detach()
    g[2, 0] = torch.nan
    assert HardestContrastiveLoss()(f, ref_emb=g).isnan()
    assert HardestContrastiveLoss(squared_positive=True)(g, ref_emb=f).isnan()


def test_half_precision_is_computed_in_full():
    f, g = rows(8, 0).bfloat16(), rows(8, 1).bfloat16()
    found = HardestContrastiveLoss()(f, ref_emb=g)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, HardestContrastiveLoss()(f.float(), ref_emb=g.float()))


def test_it_shows_its_settings():
    assert "squared_positive=True" in repr(HardestContrastiveLoss(squared_positive=True))
    assert HardestContrastiveLoss(reducer=MeanReducer()).sub_loss_names() == ["pos_loss", "neg_loss", "ref_neg_loss"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "^labels, indices_tuple or the rows' partners in ref_emb are required, got no ref_emb$"),
        ({"ref_emb": torch.zeros(3, 4)}, "got 3 rows of it for 4 embeddings$"),
        ({"ref_emb": torch.zeros(4, 3)}, "^ref_emb must have"),
        ({"labels": torch.rand(4)}, "^labels must be integers, got torch.float32$"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        HardestContrastiveLoss()(torch.zeros(4, 4), **arguments)


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({"pos_thresh": -0.1}, "^pos_thresh must be a finite number >= 0, got -0.1$"),
        ({"neg_thresh": math.nan}, "^neg_thresh must be"),
        ({"neg_weight": math.inf}, "^neg_weight must be"),
        ({"num_positives": 0}, "^num_positives must be an integer >= 1, got 0$"),
        ({"num_candidates": 1.5}, "^num_candidates must be an integer >= 1, got 1.5$"),
        ({"distance": CosineSimilarity()}, "^distance must be LpDistance with p=2 and power=1, .* not supported$"),
        ({"distance": LpDistance(p=1)}, "^distance must be LpDistance"),
        ({"distance": LpDistance(power=2)}, "^distance must be LpDistance"),
    ],
)
def test_invalid_hyper_parameters_are_named(hyper, message):
    with pytest.raises(ValueError, match=message):
        HardestContrastiveLoss(**hyper)
