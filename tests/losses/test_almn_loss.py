from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.distances import CosineSimilarity, DotProductSimilarity, LpDistance, SNRDistance
from pytorch_metric_learning.losses import NPairsLoss
from pytorch_metric_learning.miners import TripletMarginMiner
from pytorch_metric_learning.reducers import ClassWeightedReducer
from torch import Tensor
from torch.nn.functional import normalize

from pml_proxyext.geometry import virtual_points
from pml_proxyext.losses import ALMNLoss

CASES = json.loads((Path(__file__).parents[1] / "golden" / "almn.json").read_text())["cases"]
BETAS = st.sampled_from([0.0, 0.1, 0.3, 0.8, 1.0])


def raw() -> DotProductSimilarity:
    return DotProductSimilarity(normalize_embeddings=False)


def batch(num_classes: int = 5, seed: int = 0, size: int = 4) -> tuple[Tensor, Tensor]:
    """Return two samples of each class, the second near the first as often as not."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(2 * num_classes, size, generator=generator, dtype=torch.float64)
    rows[1::2] = rows[::2] + rows[1::2]
    return rows.requires_grad_(), torch.arange(num_classes).repeat_interleave(2)


def naive(loss: ALMNLoss, embeddings: Tensor, delta: list[float] | None = None) -> tuple[list[Tensor], list[float]]:
    """One anchor at a time, with the arcus cosine; ``delta`` to hold the margins at numbers. Differentiable."""
    rows = normalize(embeddings) if loss.distance.normalize_embeddings else embeddings
    anchors, positives = rows[::2], rows[1::2]
    found, margins = [], []
    for i in range(len(anchors)):
        a, others = anchors[i], [j for j in range(len(anchors)) if j != i]
        theta = [torch.acos((a @ p) / (a.norm() * p.norm())) for p in positives]
        if delta is not None:
            margin = torch.tensor(delta[i], dtype=rows.dtype)
        elif loss.mode == "multiplicative":
            margin = min((loss.m - 1) * theta[i], math.pi - theta[i])
        else:
            phi = min((theta[j] for j in others), default=theta[i])
            margin = loss.beta * (phi - theta[i] if phi > theta[i] else 0 * phi)
        own = a.norm() * positives[i].norm() * torch.cos(theta[i] + margin)
        terms = [torch.exp(loss.scale * (a @ positives[j] - own)) for j in others]
        found.append(torch.log(1 + sum(terms, torch.zeros((), dtype=rows.dtype))))
        margins.append(margin.item())
    return found, margins


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@pytest.mark.parametrize("detach_margin", [True, False])
def test_fixtures(case, detach_margin):
    distance = DotProductSimilarity(normalize_embeddings=case["normalize"])
    loss = ALMNLoss(case["beta"], case["mode"], case["m"], detach_margin, distance=distance)
    embeddings = torch.tensor(case["embeddings"], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor(case["labels"])
    value = loss(embeddings, labels)
    value.backward()
    assert value.item() == pytest.approx(case["loss"], rel=1e-9)
    expected = torch.tensor(case["grad_detached" if detach_margin else "grad_through"], dtype=torch.float64)
    torch.testing.assert_close(embeddings.grad, expected, rtol=1e-9, atol=1e-10)
    found = loss.compute_loss(embeddings, labels, None, embeddings, labels)["loss"]
    assert found["losses"].tolist() == pytest.approx(case["loss_per_anchor"], rel=1e-9)
    assert found["indices"].tolist() == case["anchor_idx"]
    without = ALMNLoss(0.0, distance=distance)(embeddings, labels)
    assert without.item() == pytest.approx(case["npairs_loss"], rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    num_classes=st.integers(1, 5),
    beta=BETAS,
    mode=st.sampled_from(["negative", "multiplicative"]),
    m=st.sampled_from([1.0, 1.5, 3.0]),
    detach_margin=st.booleans(),
    scale=st.sampled_from([0.5, 1.0, 4.0]),
    is_raw=st.booleans(),
)
def test_value_and_gradient_are_those_of_a_loop(seed, num_classes, beta, mode, m, detach_margin, scale, is_raw):
    distance = raw() if is_raw else CosineSimilarity()
    loss = ALMNLoss(beta, mode, m, detach_margin, scale, distance=distance)
    embeddings, labels = batch(num_classes, seed)
    _, margins = naive(loss, embeddings)
    losses, _ = naive(loss, embeddings, margins if detach_margin else None)
    expected, value = torch.stack(losses).mean() + 0 * embeddings.sum(), loss(embeddings, labels)
    torch.testing.assert_close(value, expected, rtol=1e-7, atol=1e-9)
    gradients = [torch.autograd.grad(x, embeddings)[0] for x in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-8)


def test_detaching_the_margin_changes_the_gradient_and_not_the_value():
    embeddings, labels = batch()
    values = [ALMNLoss(0.5, detach_margin=detach)(embeddings, labels) for detach in (True, False)]
    torch.testing.assert_close(*values, rtol=0, atol=0)
    gradients = [torch.autograd.grad(value, embeddings)[0] for value in values]
    assert (gradients[0] - gradients[1]).abs().max() > 1e-3


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), num_classes=st.integers(1, 6), is_raw=st.booleans())
def test_beta_zero_is_pmls_npairs(seed, num_classes, is_raw):
    embeddings, labels = batch(num_classes, seed)
    options = {"distance": raw()} if is_raw else {}
    values = [loss(embeddings, labels) for loss in (ALMNLoss(0.0, **options), NPairsLoss(**options))]
    torch.testing.assert_close(*values, rtol=1e-9, atol=1e-12)
    gradients = [torch.autograd.grad(value, embeddings)[0] for value in values]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def per_anchor(loss: ALMNLoss, embeddings: Tensor, labels: Tensor) -> Tensor:
    found: Tensor = loss.compute_loss(embeddings, labels, None, embeddings, labels)["loss"]["losses"]
    return found.detach()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), num_classes=st.integers(2, 6), betas=st.tuples(BETAS, BETAS), is_raw=st.booleans())
def test_each_anchors_loss_grows_with_beta_from_npairs_on(seed, num_classes, betas, is_raw):
    embeddings, labels = batch(num_classes, seed)
    losses = [
        per_anchor(ALMNLoss(beta, distance=raw() if is_raw else None), embeddings, labels)
        for beta in (0.0, *sorted(betas))
    ]
    assert (losses[0] <= losses[1] + 1e-12).all()
    assert (losses[1] <= losses[2] + 1e-12).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), num_classes=st.integers(2, 6), beta=BETAS, scale=st.sampled_from([1.0, 16.0]))
def test_on_the_sphere_no_anchor_is_above_npairs_and_log_n(seed, num_classes, beta, scale):
    embeddings, labels = batch(num_classes, seed)
    npairs = per_anchor(ALMNLoss(0.0, scale=scale), embeddings, labels)
    losses = per_anchor(ALMNLoss(beta, scale=scale), embeddings, labels)
    assert (losses <= npairs.clamp(min=math.log(num_classes)) + 1e-9).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), beta=BETAS, is_raw=st.booleans())
def test_rotations_and_the_order_of_pairs_mean_nothing(seed, beta, is_raw):
    embeddings, labels = batch(5, seed)
    loss, generator = ALMNLoss(beta, distance=raw() if is_raw else None), torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))
    order = (2 * torch.randperm(5, generator=generator)[:, None] + torch.arange(2)).flatten()
    value = loss(embeddings, labels)
    torch.testing.assert_close(loss(embeddings @ rotation, labels), value)
    torch.testing.assert_close(loss(embeddings[order], labels), value)  # the classes change places


def test_norms_mean_nothing_when_normalised_but_do_otherwise():
    embeddings, labels = batch()
    scaled = embeddings * torch.linspace(0.5, 2, len(embeddings), dtype=torch.float64)[:, None]
    torch.testing.assert_close(ALMNLoss()(scaled, labels), ALMNLoss()(embeddings, labels))
    values = [ALMNLoss(distance=raw())(rows, labels).item() for rows in (scaled, embeddings)]
    assert abs(values[0] - values[1]) > 1e-2


def test_anchor_and_positive_may_not_change_places():
    embeddings, labels = batch()
    swapped = embeddings.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
    assert abs(ALMNLoss()(swapped, labels).item() - ALMNLoss()(embeddings, labels).item()) > 1e-3


@pytest.mark.parametrize("is_raw", [True, False])
def test_the_whole_gap_puts_positives_on_the_boundary(is_raw):
    embeddings, labels = batch(6, seed=3)
    loss = ALMNLoss(1.0, distance=raw() if is_raw else None, collect_stats=True)
    loss(embeddings, labels)
    _, margins = naive(loss, embeddings)
    rows = normalize(embeddings.detach())
    points = virtual_points(rows[::2], rows[1::2], torch.tensor(margins, dtype=torch.float64))
    own = (rows[::2] * points).sum(1)
    others = (rows[::2] @ rows[1::2].T).fill_diagonal_(-1).max(1).values
    moved = torch.tensor(margins) > 0
    assert moved.any()
    torch.testing.assert_close(own[moved], others[moved])


def test_statistics_are_those_of_the_margins():
    embeddings, labels = batch(6, seed=1)
    loss = ALMNLoss(0.4, collect_stats=True)
    _, margins = naive(loss, embeddings)
    active = [margin > 0 for margin in margins]
    assert any(active)
    assert not all(active)
    loss(embeddings, labels)
    assert loss.num_pairs == 6
    assert loss.avg_margin == pytest.approx(math.degrees(sum(margins) / 6), rel=1e-6)
    assert loss.frac_active == pytest.approx(sum(active) / 6)
    assert {"num_pairs", "avg_margin", "frac_active"} <= set(loss._record_these_stats)


def test_weights_of_classes_weigh_the_losses_of_their_anchors():
    embeddings, labels = batch(4)
    order = torch.tensor([6, 7, 2, 3, 4, 5, 0, 1])  # classes do not stand in the order of their labels
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    losses, _ = naive(ALMNLoss(0.6), embeddings)
    value = ALMNLoss(0.6, reducer=ClassWeightedReducer(weights))(embeddings[order], labels[order])
    torch.testing.assert_close(value, (torch.stack(losses) * weights).mean())


def test_a_miners_tuples_choose_the_pairs_as_for_npairs():
    embeddings, labels = batch(4, size=3)
    embeddings, labels = torch.cat([embeddings, -embeddings.flip(0)]), torch.cat([labels, labels.flip(0)])
    triplets = TripletMarginMiner(type_of_triplets="hard")(embeddings, labels)
    value = ALMNLoss(0.0)(embeddings, labels, triplets)
    torch.testing.assert_close(value, NPairsLoss()(embeddings, labels, triplets))
    assert abs(value.item() - NPairsLoss()(embeddings, labels).item()) > 1e-4
    pairs = (torch.tensor([3, 7]), torch.tensor([2, 6]), torch.tensor([3]), torch.tensor([6]))
    rows = embeddings[torch.tensor([3, 2, 7, 6])]
    expected, _ = naive(ALMNLoss(0.6), rows)
    torch.testing.assert_close(ALMNLoss(0.6)(embeddings, labels, pairs), torch.stack(expected).mean())


def test_one_pair_has_no_loss_and_pairs_in_one_place_have_no_margin():
    embeddings, labels = batch(1)
    assert ALMNLoss(1.0)(embeddings, labels).item() == 0
    together = embeddings[:1].expand(6, -1)
    value = ALMNLoss(1.0, scale=7.0)(together, torch.arange(3).repeat_interleave(2))
    assert value.item() == pytest.approx(math.log(3), rel=1e-12)


def test_identical_positives_take_the_limit():
    rows = torch.eye(3, dtype=torch.float64).repeat_interleave(2, 0).requires_grad_()
    value = ALMNLoss(0.5)(rows, torch.arange(3).repeat_interleave(2))
    assert value.item() == pytest.approx(math.log1p(2 * math.exp(-math.cos(math.pi / 4))), rel=1e-12)
    assert torch.autograd.grad(value, rows)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_computes_in_float32(dtype):
    embeddings, labels = batch()
    loss = ALMNLoss(0.5, scale=16.0)
    value = loss(embeddings.to(dtype), labels)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(embeddings.to(dtype).double(), labels).item(), rel=1e-5)


def test_a_similarity_that_only_normalises_is_the_default():
    embeddings, labels = batch()
    torch.testing.assert_close(
        ALMNLoss()(embeddings, labels), ALMNLoss(distance=CosineSimilarity())(embeddings, labels)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta": -0.1}, "beta must be a finite number >= 0 and <= 1, got -0.1"),
        ({"beta": 1.1}, "beta must be a finite number >= 0 and <= 1, got 1.1"),
        ({"mode": "negatives"}, "mode must be one of .* got 'negatives'; did you mean 'negative'"),
        ({"m": 0.5}, "m must be a finite number >= 1, got 0.5"),
        ({"scale": 0.0}, "scale must be a finite number > 0, got 0.0"),
        ({"distance": LpDistance()}, "distance must be a DotProductSimilarity .* got LpDistance with p=2 and power=1"),
        ({"distance": SNRDistance()}, "distance must be a DotProductSimilarity"),
        ({"distance": DotProductSimilarity(power=2)}, "got DotProductSimilarity with p=2 and power=2"),
        ({"distance": DotProductSimilarity(p=1)}, "got DotProductSimilarity with p=1 and power=1"),
    ],
)
def test_invalid_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ALMNLoss(**arguments)


def test_invalid_batches_are_named():
    embeddings, labels = batch()
    with pytest.raises(ValueError, match="not supported"):
        ALMNLoss()(embeddings, labels, ref_emb=embeddings.clone(), ref_labels=labels)
    with pytest.raises(ValueError, match="labels are required, got None"):
        ALMNLoss()(embeddings)
    with pytest.raises(ValueError, match="labels must be integers"):
        ALMNLoss()(embeddings, labels.double())


def test_it_shows_all_that_it_depends_on():
    shown = repr(ALMNLoss(0.5, "multiplicative", 3.0, False, 2.0))
    for part in ("beta=0.5", "mode=multiplicative", "m=3.0", "detach_margin=False", "scale=2.0"):
        assert part in shown
