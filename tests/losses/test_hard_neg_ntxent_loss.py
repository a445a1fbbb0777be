from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pytorch_metric_learning import miners
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import NTXentLoss
from pytorch_metric_learning.reducers import DoNothingReducer, SumReducer
from pytorch_metric_learning.utils.loss_and_miner_utils import get_all_pairs_indices, get_all_triplets_indices
from torch import Tensor

from pml_proxyext.losses import HardNegNTXentLoss
from pml_proxyext.utils import pair_labels
from pml_proxyext.wrappers import CrossBatchMemory, SelfSupervisedLoss

MANY = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 10_000)
CONCENTRATIONS = st.sampled_from([0.0, 0.5, 1.0, 4.0])
TEMPERATURES = st.sampled_from([0.05, 0.5])


def rows(count: int, seed: int, dim: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64).requires_grad_()


def classes(count: int, seed: int, number: int = 3) -> Tensor:
    return torch.randint(number, (count,), generator=torch.Generator().manual_seed(seed + 1))


def loop(
    embeddings: Tensor, labels: Tensor, ref_emb: Tensor | None, ref_labels: Tensor | None, **hyper: float
) -> float:
    """Return the mean over positive pairs whose anchor has negatives, all by scalars."""
    others, other_labels = (embeddings, labels) if ref_emb is None else (ref_emb, ref_labels)

    def x(i: int, k: int) -> float:
        a, b = embeddings[i].tolist(), others[k].tolist()
        cosine = sum(p * q for p, q in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))
        return cosine / hyper["temperature"]

    losses = []
    for i, label in enumerate(labels.tolist()):
        negatives = [x(i, k) for k, other in enumerate(other_labels.tolist()) if other != label]
        if not negatives:
            continue
        tilts = [math.exp(hyper["concentration"] * value) for value in negatives]
        weights = [tilt / (sum(tilts) / len(tilts)) for tilt in tilts]
        total = sum(weight * math.exp(value) for weight, value in zip(weights, negatives, strict=True))
        for p, other in enumerate(other_labels.tolist()):
            if other == label and not (ref_emb is None and p == i):
                positive = math.exp(x(i, p))
                losses.append(-math.log(positive / (positive + total)))
    return sum(losses) / max(len(losses), 1)


@MANY
@given(seed=SEEDS, count=st.integers(2, 8), concentration=CONCENTRATIONS, temperature=TEMPERATURES, two=st.booleans())
def test_it_is_the_mean_of_a_loop_over_pairs(seed, count, concentration, temperature, two):
    batch = [rows(count, seed), classes(count, seed)]
    other = [rows(count + 2, seed + 7), classes(count + 2, seed + 7)] if two else [None, None]
    hyper = {"temperature": temperature, "concentration": concentration}
    found = HardNegNTXentLoss(**hyper)(*batch, None, *other)
    assert found.item() == pytest.approx(loop(*batch, *other, **hyper), rel=1e-9, abs=1e-12)


def tuples(kind: str, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    """Return what a miner could: pairs, triplets, which name pairs several times, and parts of both."""
    if kind == "triplets":
        return get_all_triplets_indices(labels)
    if kind == "miner":
        return miners.MultiSimilarityMiner()(embeddings, labels)
    if kind == "semihard":
        return miners.TripletMarginMiner(margin=0.5, type_of_triplets="semihard")(embeddings, labels)
    a1, p, a2, n = get_all_pairs_indices(labels)
    return a1[::2], p[::2], a2[::3], n[::3]


@MANY
@given(
    seed=SEEDS,
    count=st.integers(4, 9),
    temperature=TEMPERATURES,
    kind=st.sampled_from(["none", "two", "triplets", "semihard", "miner", "some"]),
)
def test_without_concentration_it_is_pmls_ntxent_gradients_included(seed, count, temperature, kind):
    """Sums, for in the mean PML also counts the pairs of anchors without negatives, at 0 each.

    Single tuples are left out: PML takes them for none.
    """
    embeddings, labels = rows(count, seed), classes(count, seed)
    arguments = {"labels": labels}
    if kind == "two":
        arguments |= {"ref_emb": rows(count + 1, seed + 5), "ref_labels": classes(count + 1, seed + 5)}
    elif kind != "none":
        arguments["indices_tuple"] = tuples(kind, embeddings, labels)
        assume(max(len(index) for index in arguments["indices_tuple"]) > 1)
    found = HardNegNTXentLoss(temperature, concentration=0.0, reducer=SumReducer())(embeddings, **arguments)
    expected = NTXentLoss(temperature, reducer=SumReducer())(embeddings, **arguments)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    if expected > 0:
        gradients = (torch.autograd.grad(value, embeddings)[0] for value in (found, expected))
        torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-11)


def pair_values(embeddings: Tensor, labels: Tensor, **hyper: float) -> Tensor:
    unreduced = HardNegNTXentLoss(**hyper, reducer=DoNothingReducer())(embeddings, labels)
    return unreduced["loss"]["losses"]


@MANY
@given(seed=SEEDS, pairs=st.integers(2, 6), temperature=TEMPERATURES)
def test_it_never_falls_as_the_concentration_grows_and_ends_at_the_nearest_negative(seed, pairs, temperature):
    embeddings, labels = rows(2 * pairs, seed), torch.arange(pairs).repeat(2)
    grid = (0.0, 0.3, 1.0, 3.0, 30.0, 1e7)
    rising = [pair_values(embeddings, labels, temperature=temperature, concentration=c) for c in grid]
    assert (torch.stack(rising).diff(dim=0) >= -1e-9).all()
    logits = HardNegNTXentLoss().distance(embeddings) / temperature
    nearest = logits.masked_fill(labels[:, None] == labels, -torch.inf).amax(1)
    partner = torch.arange(2 * pairs).roll(pairs)
    limit = torch.nn.functional.softplus(
        math.log(2 * pairs - 2) + nearest - logits[torch.arange(2 * pairs), partner], threshold=100.0
    )
    torch.testing.assert_close(rising[-1], limit, rtol=1e-4, atol=1e-4)


@MANY
@given(seed=SEEDS, pairs=st.integers(2, 6), concentration=CONCENTRATIONS, temperature=TEMPERATURES)
def test_a_pair_costs_between_floor_and_ceiling_of_cosines(seed, pairs, concentration, temperature):
    embeddings, labels = rows(2 * pairs, seed), torch.arange(pairs).repeat(2)
    found = pair_values(embeddings, labels, temperature=temperature, concentration=concentration)
    floor, ceiling = (math.log1p((2 * pairs - 2) * math.exp(sign * 2 / temperature)) for sign in (-1, 1))
    assert found.min() >= floor * (1 - 1e-12)
    assert found.max() <= ceiling * (1 + 1e-12)


@pytest.mark.parametrize("concentration", [0.0, 1.0, 5.0])
def test_floor_and_ceiling_are_reached(concentration):
    """Partners at one point and all others opposite; then the other way round."""
    up = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    near = torch.cat([up, up, -up, -up])
    for labels, sign in (([0, 0, 1, 1], -1), ([0, 1, 0, 1], None)):
        found = pair_values(near, torch.tensor(labels), temperature=0.5, concentration=concentration)
        if sign is not None:
            expected = math.log1p(2 * math.exp(sign * 2 / 0.5))
        else:  # one negative at cosine 1, one at -1, the positive at -1
            c = concentration
            weights = [2 * math.exp(c * x) / (math.exp(2 * c) + math.exp(-2 * c)) for x in (2, -2)]
            expected = math.log1p(weights[0] * math.exp(4) + weights[1])
        torch.testing.assert_close(found, torch.full((4,), expected, dtype=torch.float64))


@MANY
@given(seed=SEEDS, count=st.integers(2, 8), concentration=CONCENTRATIONS)
def test_order_scales_and_names_of_classes_change_nothing(seed, count, concentration):
    embeddings, labels = rows(count, seed), classes(count, seed)
    loss = HardNegNTXentLoss(0.2, concentration)
    expected = loss(embeddings, labels)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    scales = 1 + torch.rand(count, 1, generator=torch.Generator().manual_seed(seed))
    for same in ((embeddings[order], labels[order]), (embeddings * scales, labels), (embeddings, 1000 - 7 * labels)):
        torch.testing.assert_close(loss(*same), expected, rtol=1e-9, atol=1e-12)


def test_detached_weights_leave_the_value_and_only_push_negatives_away():
    embeddings, labels = rows(12, 3), torch.arange(6).repeat(2)
    attached, detached = (HardNegNTXentLoss(0.1, detach_weights=detach) for detach in (False, True))
    torch.testing.assert_close(attached(embeddings, labels), detached(embeddings, labels))
    for loss, some_negative in ((attached, True), (detached, False)):
        unit = torch.nn.functional.normalize(embeddings.detach())
        mat = (unit @ unit.T).requires_grad_()
        loss.distance.compute_mat = lambda *_, mat=mat: mat
        gradient = torch.autograd.grad(loss(embeddings, labels), mat)[0]
        assert bool((gradient[labels[:, None] != labels] < 0).any()) == some_negative


@pytest.mark.parametrize("concentration", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("temperature", [0.02, 0.001])
def test_float32_stays_finite_where_the_release_overflows(concentration, temperature):
    """Twins among the negatives have logits up to 1 / temperature, and exp(1000) is no float32."""
    embeddings = rows(8, 0).detach().float()
    embeddings[5] = embeddings[1]
    embeddings.requires_grad_()
    labels = pair_labels(torch.tensor([1, 1, 0, 1]))
    value = HardNegNTXentLoss(temperature, concentration)(embeddings, labels)
    exact = HardNegNTXentLoss(temperature, concentration)(embeddings.double(), labels)
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=0)
    assert torch.isfinite(torch.autograd.grad(value, embeddings)[0]).all()


def test_anchors_without_negatives_have_no_loss():
    """All of the second batch is of class 0, so only the anchors of class 0 have positives, and none has negatives."""
    embeddings, other = rows(4, 0), rows(3, 1)
    loss = HardNegNTXentLoss()
    found = loss(embeddings, torch.tensor([0, 0, 1, 1]), ref_emb=other, ref_labels=torch.zeros(3, dtype=torch.long))
    assert found.item() == 0
    assert (torch.autograd.grad(found, embeddings)[0] == 0).all()
    # One pair of tuples whose anchor has a negative, and one whose anchor has none.
    some = tuple(torch.tensor(index) for index in ([0, 2], [1, 3], [0], [2]))
    only = tuple(torch.tensor(index) for index in ([0], [1], [0], [2]))
    assert loss(embeddings, indices_tuple=some) == loss(embeddings, indices_tuple=only) > 0


def test_a_distance_counts_by_its_negative():
    embeddings = torch.tensor([[0.0], [1.0], [3.0]])
    loss = HardNegNTXentLoss(1.0, distance=LpDistance(normalize_embeddings=False))
    found = loss(embeddings, torch.tensor([0, 0, 1]))
    expected = (math.log1p(math.exp(-3 + 1)) + math.log1p(math.exp(-2 + 1))) / 2
    assert found.item() == pytest.approx(expected)


def test_one_labels_object_for_both_batches_keeps_the_pairs():
    embeddings, other, ids = rows(4, 0), rows(4, 1), torch.arange(4)
    loss = HardNegNTXentLoss()
    same_object = loss(embeddings, ids, ref_emb=other, ref_labels=ids)
    assert same_object == loss(embeddings, ids, ref_emb=other, ref_labels=ids.clone()) > 0


def test_two_views_without_labels_are_simclr():
    first, second = rows(4, 0), rows(4, 1)
    found = SelfSupervisedLoss(HardNegNTXentLoss(0.2, 0.0))(first, second)
    expected = NTXentLoss(0.2)(torch.cat([first, second]), torch.arange(4).repeat(2))
    torch.testing.assert_close(found, expected)


def test_a_memory_adds_negatives():
    embeddings = rows(4, 0)
    memory = CrossBatchMemory(HardNegNTXentLoss(0.2), embedding_size=4, memory_size=8).double()
    labels = torch.tensor([0, 0, 1, 1])
    torch.testing.assert_close(memory(embeddings, labels), HardNegNTXentLoss(0.2)(embeddings, labels))
    later = rows(4, 1)
    both, labels_of_both = torch.cat([embeddings.detach(), later.detach()]), torch.cat([labels, labels + 2])
    found = memory(later, labels + 2)
    tuples_of_later = get_all_pairs_indices(labels_of_both)
    keep = [tuples_of_later[0] >= 4, tuples_of_later[2] >= 4]
    a1, p, a2, n = (index[keep[i // 2]] for i, index in enumerate(tuples_of_later))
    expected = HardNegNTXentLoss(0.2)(later, indices_tuple=(a1 - 4, p, a2 - 4, n), ref_emb=both)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ["labels", "triplets", "two"])
@pytest.mark.parametrize("concentration", [0.0, 1.0])
def test_gradients_are_those_of_finite_differences(kind, concentration):
    labels, other = torch.tensor([0, 0, 1, 1, 2]), rows(4, 9)
    arguments = {"labels": labels}
    if kind == "triplets":
        arguments = {"indices_tuple": get_all_triplets_indices(labels)}
    loss = HardNegNTXentLoss(0.3, concentration)

    def of(embeddings: Tensor, other: Tensor) -> Tensor:
        if kind == "two":
            return loss(embeddings, labels, ref_emb=other, ref_labels=torch.tensor([0, 1, 1, 2]))
        return loss(embeddings, **arguments) + 0 * other.sum()

    assert torch.autograd.gradcheck(of, [rows(5, 2), other])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "^labels or indices_tuple are required, got neither$"),
        ({"labels": torch.arange(4), "ref_emb": torch.zeros(4, 4)}, "^ref_labels are required"),
        (
            {"labels": torch.arange(4), "ref_emb": torch.zeros(4, 3), "ref_labels": torch.arange(4)},
            "^ref_emb must have",
        ),
        ({"labels": torch.rand(4)}, "^labels must be integers, got torch.float32$"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        HardNegNTXentLoss()(torch.zeros(4, 4), **arguments)


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({"temperature": 0}, "^temperature must be a finite number > 0, got 0$"),
        ({"temperature": math.nan}, "^temperature must be a finite number > 0"),
        ({"concentration": -0.1}, "^concentration must be a finite number >= 0, got -0.1$"),
        ({"concentration": math.inf}, "^concentration must be a finite number >= 0, got inf$"),
    ],
)
def test_invalid_hyper_parameters_are_named(hyper, message):
    with pytest.raises(ValueError, match=message):
        HardNegNTXentLoss(**hyper)
