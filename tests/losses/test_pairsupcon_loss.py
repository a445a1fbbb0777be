from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.distances import DotProductSimilarity, LpDistance
from pytorch_metric_learning.losses import NTXentLoss
from pytorch_metric_learning.reducers import ClassWeightedReducer, DoNothingReducer, MeanReducer, MultipleReducers
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, normalize, relu

from pml_proxyext.losses import HardNegNTXentLoss, PairSupConLoss
from pml_proxyext.utils import pair_labels
from pml_proxyext.wrappers import CrossBatchMemory

CASES = json.loads((Path(__file__).parents[1] / "golden" / "pairsupcon.json").read_text())["cases"]
INSTANCE = [case for case in CASES if case["kind"] == "instdisc"]
FULL = [case for case in CASES if case["kind"] == "full"]
SIDES = ("emb1", "emb2")


def tensor(rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def leaves_of(case: dict[str, Any]) -> list[Tensor]:
    return [tensor(case[side]).requires_grad_() for side in SIDES]


def require_golden(value: Tensor, leaves: dict[str, Tensor], expected: dict[str, Any]) -> None:
    torch.testing.assert_close(value, tensor(expected["loss"]), rtol=1e-9, atol=1e-12)
    gradients = torch.autograd.grad(value, list(leaves.values()))
    for name, gradient in zip(leaves, gradients, strict=True):
        released = expected[f"grad_{name}"]
        # What a mode of the release leaves out has no gradient there, and zero here.
        wanted = torch.zeros_like(gradient) if released is None else tensor(released)
        torch.testing.assert_close(gradient, wanted, rtol=1e-8, atol=1e-11)


def instance_cases() -> list[Any]:
    cases = []
    for case in INSTANCE:
        cases.append(pytest.param(case, case, False, id=case["name"]))
        if case["detached_weights_variant"] is not None:
            cases.append(pytest.param(case, case["detached_weights_variant"], True, id=f"{case['name']}-detached"))
    return cases


@pytest.mark.parametrize(("case", "expected", "detach_weights"), instance_cases())
@pytest.mark.parametrize("which", ["PairSupConLoss", "HardNegNTXentLoss"])
def test_contrast_matches_the_release_and_its_detached_form(case, expected, detach_weights, which):
    leaves, y = leaves_of(case), torch.tensor(case["pair_labels"])
    hyper = {
        "temperature": case["hyper"]["temperature"],
        "concentration": {"HardNeg": 1.0, "Orig": 0.0}[case["hyper"]["contrast_type"]],
        "detach_weights": detach_weights,
    }
    if not case["hyper"]["normalize_inputs"]:
        hyper["distance"] = DotProductSimilarity(normalize_embeddings=False)
    if which == "HardNegNTXentLoss":
        value = HardNegNTXentLoss(**hyper)(torch.cat(leaves), pair_labels(y))
    else:
        loss = PairSupConLoss(leaves[0].shape[1], projection=False, classifier_weight=0.0, **hyper)
        value = loss(leaves[0], y, ref_emb=leaves[1])
    require_golden(value, dict(zip(SIDES, leaves, strict=True)), expected)


@pytest.mark.parametrize("case", FULL, ids=lambda case: case["name"])
def test_both_terms_match_the_release_in_all_its_modes(case):
    hyper = dict(case["hyper"])
    mode, contrast_type = hyper.pop("mode"), hyper.pop("contrast_type")
    hyper["concentration"] = {"HardNeg": 1.0, "Orig": 0.0}[contrast_type]
    if mode == "classification":
        hyper["beta"] = 0.0
    if mode == "contrastive":
        hyper["classifier_weight"] = 0.0
    leaves = leaves_of(case)
    loss = PairSupConLoss(case["dim"], **hyper).double()
    names = ["classify_weight", "proj_weight1", "proj_weight2"]
    parameters = [loss.classifier.weight, *loss.projection.parameters()]
    with torch.no_grad():
        for name, parameter in zip(names, parameters, strict=True):
            parameter.copy_(tensor(case[name]))
    all_leaves = dict(zip([*SIDES, *names], [*leaves, *parameters], strict=True))
    y = torch.tensor(case["pair_labels"])
    require_golden(loss(leaves[0], y, ref_emb=leaves[1]), all_leaves, case)

    loss.reducer = DoNothingReducer()
    found = loss(leaves[0], y, ref_emb=leaves[1])
    weights = {"instdisc_loss": hyper["beta"], "classification_loss": 1.0}
    for name in weights.keys() & case["losses"].keys():
        expected = tensor(weights[name] * case["losses"][name])
        torch.testing.assert_close(found[name]["losses"].mean(), expected, rtol=1e-9, atol=1e-12)


MANY = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 10_000)
COUNTS = st.integers(1, 7)


def batch(count: int = 6, seed: int = 0, dim: int = 5, classes: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Return premises, labels and hypotheses."""
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(count, dim, generator=generator, dtype=torch.float64) for _ in range(2))
    return first.requires_grad_(), torch.randint(classes, (count,), generator=generator), second.requires_grad_()


def built(dim: int = 5, seed: int = 0, **hyper: Any) -> PairSupConLoss:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return PairSupConLoss(dim, **({"feat_dim": 3, "temperature": 0.2} | hyper))


def terms(loss: PairSupConLoss, first: Tensor, y: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    reducer, loss.reducer = loss.reducer, DoNothingReducer()
    found = loss(first, y, ref_emb=second)
    loss.reducer = reducer
    return found["instdisc_loss"]["losses"], found["classification_loss"]["losses"]


@MANY
@given(
    seed=SEEDS,
    count=COUNTS,
    entailment_label=st.integers(0, 2),
    concentration=st.sampled_from([0.0, 1.0]),
    weights=st.sampled_from([(1.0, 1.0), (0.3, 0.0), (0.0, 2.0)]),
)
def test_it_is_a_loop_over_pairs_and_sentences(seed, count, entailment_label, concentration, weights):
    first, y, second = batch(count, seed, classes=3)
    hyper = {"beta": weights[0], "classifier_weight": weights[1], "concentration": concentration}
    loss = built(num_classes=3, entailment_label=entailment_label, **hyper)
    head, *projection = (parameter.double() for parameter in loss.parameters())

    classification = 0.0
    for i in range(count):
        features = [*first[i].tolist(), *second[i].tolist(), *(first[i] - second[i]).abs().tolist()]
        logits = [sum(w * f for w, f in zip(row, features, strict=True)) for row in head.tolist()]
        classification += math.log(sum(math.exp(logit) for logit in logits)) - logits[y[i]]

    rows = [normalize(projection[1] @ relu(projection[0] @ row), dim=0).tolist() for row in [*first, *second]]
    anchors = [k for k in range(2 * count) if y[k % count] == entailment_label and count > 1]
    contrast = 0.0
    for a in anchors:
        x = [sum(p * q for p, q in zip(rows[a], row, strict=True)) / 0.2 for row in rows]
        negatives = [x[k] for k in range(2 * count) if k % count != a % count]
        tilts = [math.exp(concentration * value) for value in negatives]
        mass = sum(t * math.exp(v) for t, v in zip(tilts, negatives, strict=True)) * len(negatives) / sum(tilts)
        contrast += math.log1p(mass / math.exp(x[(a + count) % (2 * count)]))
    expected = weights[0] * contrast / max(len(anchors), 1) + weights[1] * classification / count
    assert loss(first, y, ref_emb=second).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@MANY
@given(seed=SEEDS, count=COUNTS, detach_weights=st.booleans())
def test_the_contrast_is_that_of_both_sides_in_one_batch_under_pair_labels(seed, count, detach_weights):
    """Gradients included."""
    first, y, second = batch(count, seed)
    loss = built(classifier_weight=0.0, detach_weights=detach_weights)
    found = loss(first, y, ref_emb=second)
    one_batch = loss.project(torch.cat([first, second]))
    expected = HardNegNTXentLoss(0.2, detach_weights=detach_weights)(one_batch, pair_labels(y))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    gradients = (torch.autograd.grad(value, [first, second]) for value in (found, expected))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)


@MANY
@given(seed=SEEDS, count=st.integers(2, 7))
def test_with_entailments_alone_and_uniform_weights_it_is_simclr(seed, count):
    first, _, second = batch(count, seed)
    y = torch.ones(count, dtype=torch.long)
    loss = built(projection=False, concentration=0.0, classifier_weight=0.0)
    expected = NTXentLoss(0.2)(torch.cat([first, second]), torch.arange(count).repeat(2))
    torch.testing.assert_close(loss(first, y, ref_emb=second), expected, rtol=1e-9, atol=1e-12)


@MANY
@given(seed=SEEDS, count=st.integers(2, 7))
def test_the_contrast_knows_neither_sides_nor_order_nor_scales_nor_which_contradiction(seed, count):
    first, y, second = batch(count, seed)
    loss = built(num_classes=3, projection=False, classifier_weight=0.0)
    expected = loss(first, y, ref_emb=second)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    swapped = (y != 1)[:, None]
    scales = 1 + torch.rand(count, 1, generator=torch.Generator().manual_seed(seed))
    for same_first, same_y, same_second in (
        (second, y, first),
        (first[order], y[order], second[order]),
        (first * scales, y, second * 3.7),
        (first, torch.where(y == 1, 1, 2), second),
        (torch.where(swapped, second, first), y, torch.where(swapped, first, second)),
    ):
        torch.testing.assert_close(loss(same_first, same_y, ref_emb=same_second), expected, rtol=1e-9, atol=1e-12)


@MANY
@given(seed=SEEDS, count=st.integers(2, 7), concentration=st.sampled_from([0.0, 1.0, 4.0]))
def test_a_batch_costs_between_floor_and_ceiling_of_cosines(seed, count, concentration):
    first, y, second = batch(count, seed)
    value = built(classifier_weight=0.0, concentration=concentration)(first, y, ref_emb=second)
    if (y == 1).any():
        floor, ceiling = (math.log1p((2 * count - 2) * math.exp(sign * 2 / 0.2)) for sign in (-1, 1))
        assert floor * (1 - 1e-9) <= value <= ceiling * (1 + 1e-9)


def test_a_contradictions_sentences_are_not_contrasted_with_each_other():
    """Whether they are the same or opposite costs them nothing, but it moves a negative of all others."""
    first, _, second = (side.detach() for side in batch(3))
    y = torch.tensor([1, 0, 1])
    loss = built(projection=False, classifier_weight=0.0)
    together, opposite = second.clone(), second.clone()
    together[1], opposite[1] = first[1], -first[1]
    of_others = [terms(loss, first, y, other)[0] for other in (together, opposite)]
    assert of_others[0][1] == of_others[1][1] == 0
    assert not torch.allclose(of_others[0][[0, 2]], of_others[1][[0, 2]])


@pytest.mark.parametrize("count", [1, 4])
def test_without_entailment_the_classifier_still_learns(count):
    first, _, second = batch(count)
    y = torch.zeros(count, dtype=torch.long)
    loss = built()
    contrast, classification = terms(loss, first, y, second)
    assert (contrast == 0).all()
    logits = linear(torch.cat([first, second, (first - second).abs()], dim=1), loss.classifier.weight.double())
    torch.testing.assert_close(classification, cross_entropy(logits, y, reduction="none"))
    loss(first, y, ref_emb=second).backward()
    assert (loss.classifier.weight.grad != 0).any()
    assert all((parameter.grad == 0).all() for parameter in loss.projection.parameters())
    assert torch.isfinite(first.grad).all()
    assert (first.grad != 0).any()


def test_a_single_entailment_has_no_negatives():
    first, _, second = batch(1)
    loss = built()
    contrast, classification = terms(loss, first, torch.tensor([1]), second)
    assert contrast.item() == 0
    value = loss(first, torch.tensor([1]), ref_emb=second)
    torch.testing.assert_close(value, classification.mean())
    assert all(torch.isfinite(grad).all() for grad in torch.autograd.grad(value, [first, second, *loss.parameters()]))


def test_no_pairs_give_zero_with_a_graph():
    first, y, second = (side[:0] for side in batch())
    found = built()(first, y, ref_emb=second)
    assert found.item() == 0
    assert found.requires_grad


@pytest.mark.parametrize("side", [0, 2])
def test_nan_stays_visible_in_a_contradiction_too(side):
    sides = [tensor.detach().clone() for tensor in batch()]
    sides[1] = torch.tensor([1, 0, 1, 0, 1, 0])
    sides[side][1, 2] = torch.nan
    assert all(part.mean().isnan() for part in terms(built(), *sides))


def test_gradients_are_those_of_finite_differences():
    first, _, second = batch(4, 3)
    y = torch.tensor([1, 0, 1, 1])
    loss = built().double()
    parameters = dict(loss.named_parameters())

    def of(first: Tensor, second: Tensor, *values: Tensor) -> Tensor:
        replaced = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(loss, replaced, (first, y), {"ref_emb": second})

    values = [value.detach().clone().requires_grad_() for value in parameters.values()]
    assert torch.autograd.gradcheck(of, [first, second, *values])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_parameters_stay_float32_whatever_the_embeddings_are(dtype):
    first, y, second = batch()
    loss = built()
    found = loss(first.to(dtype), y, ref_emb=second.to(dtype))
    assert {parameter.dtype for parameter in loss.parameters()} == {torch.float32}
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    exact = loss(first.to(dtype).double(), y, ref_emb=second.to(dtype).double())
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-6)
    found.backward()
    assert {parameter.grad.dtype for parameter in loss.parameters()} == {torch.float32}


def test_low_temperatures_stay_finite_in_float32():
    first, _, second = (side.detach().float() for side in batch())
    second[3] = first[0]  # a twin elsewhere
    first.requires_grad_()
    y = torch.tensor([1, 0, 1, 0, 1, 0])
    loss = PairSupConLoss(5, temperature=0.001, projection=False)
    value = loss(first, y, ref_emb=second)
    torch.testing.assert_close(value.double(), loss(first.double(), y, ref_emb=second.double()), rtol=1e-5, atol=0)
    assert torch.isfinite(torch.autograd.grad(value, first)[0]).all()


def test_sub_losses_have_their_own_reducers():
    first, y, second = batch()
    loss = built()
    contrast, classification = terms(loss, first, y, second)
    weights = torch.tensor([0.5, 2.0])
    reducers = {"instdisc_loss": MeanReducer(), "classification_loss": ClassWeightedReducer(weights)}
    loss.reducer = MultipleReducers(reducers)
    expected = contrast.mean() + (weights[y] * classification).mean()
    torch.testing.assert_close(loss(first, y, ref_emb=second), expected)


def test_the_optimizer_groups_are_those_of_the_authors():
    loss = built()
    groups = loss.param_groups(5e-6)
    assert [group["lr"] for group in groups] == pytest.approx([5e-4, 5e-4])
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in loss.parameters()}
    assert [group["lr"] for group in built(projection=False).param_groups(1.0, classifier=3.0)] == [3.0]


def test_a_distance_counts_by_its_negative():
    """Premises 0 and 10, hypotheses 1 and 12."""
    points = [torch.tensor([[0.0], [10.0]]), torch.tensor([[1.0], [12.0]])]
    loss = PairSupConLoss(
        1,
        temperature=5.0,
        concentration=0.0,
        projection=False,
        classifier_weight=0.0,
        distance=LpDistance(normalize_embeddings=False),
    )
    found = loss(points[0], torch.tensor([1, 0]), ref_emb=points[1])
    expected = sum(
        math.log1p(sum(math.exp(-distance / 5) for distance in negatives) / math.exp(-1 / 5)) / 2
        for negatives in ((10, 12), (9, 11))
    )
    assert found.item() == pytest.approx(expected)


class TowardsLarge(DotProductSimilarity):
    """A similarity that is not symmetric: whoever is long is near to everyone."""

    def compute_mat(self, query_emb: Tensor, ref_emb: Tensor) -> Tensor:
        return super().compute_mat(query_emb, ref_emb) + ref_emb.square().sum(1)


def test_each_side_is_the_anchor_once():
    first, y, second = batch()
    distance = TowardsLarge(normalize_embeddings=False)
    found = built(projection=False, classifier_weight=0.0, distance=distance)(first, y, ref_emb=second)
    expected = HardNegNTXentLoss(0.2, distance=distance)(torch.cat([first, second]), pair_labels(y))
    torch.testing.assert_close(found, expected)


def test_one_labels_object_for_both_sides_changes_nothing():
    first, y, second = batch()
    loss = built()
    expected = loss(first, y, ref_emb=second)
    assert loss(first, y, ref_emb=second, ref_labels=y) == expected
    assert loss(first, y, ref_emb=second, ref_labels=y.int()) == expected


PAIRS = torch.tensor([1, 0, 1, 0, 1, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ref_emb": None}, "^ref_emb must be the second view, .* got none$"),
        ({"ref_emb": torch.zeros(5, 5)}, r"^ref_emb must have one row for each row of embeddings"),
        ({"ref_emb": torch.zeros(6, 4)}, r"^ref_emb must have embedding_size 5, got shape \(6, 4\)$"),
        (
            {"embeddings": torch.zeros(6, 4), "ref_emb": torch.zeros(6, 4)},
            r"^embeddings must have embedding_size 5, got shape \(6, 4\)$",
        ),
        ({"labels": None}, "^labels are required, one for each pair, got None$"),
        ({"labels": 2 * PAIRS}, r"^labels must lie in \[0, 2\), got values from 0 to 2"),
        ({"labels": -PAIRS}, r"^labels must lie in \[0, 2\), got values from -1 to 0"),
        ({"labels": PAIRS.float()}, "^labels must be integers, got torch.float32$"),
        ({"labels": pair_labels(PAIRS)}, "labels"),
        ({"ref_labels": 1 - PAIRS}, "^ref_labels must be the labels: .*, got others$"),
        ({"indices_tuple": (PAIRS, PAIRS, PAIRS)}, "not supported"),
    ],
)
def test_bad_input_is_named(changes, message):
    arguments = {"embeddings": torch.zeros(6, 5), "labels": PAIRS, "ref_emb": torch.ones(6, 5)} | changes
    with pytest.raises(ValueError, match=message):
        built()(**arguments)


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({"embedding_size": 0}, "^embedding_size must be an integer >= 1, got 0$"),
        ({"num_classes": 1}, "^num_classes must be an integer >= 2, got 1$"),
        ({"temperature": 0.0}, "^temperature must be a finite number > 0, got 0.0$"),
        ({"beta": -1.0}, "^beta must be a finite number >= 0, got -1.0$"),
        ({"classifier_weight": math.nan}, "^classifier_weight must be a finite number >= 0"),
        ({"feat_dim": 1.5}, "^feat_dim must be an integer >= 1, got 1.5$"),
        ({"entailment_label": 2}, r"^entailment_label must lie in \[0, num_classes=2\), got 2$"),
        ({"entailment_label": -1}, "^entailment_label must be an integer >= 0, got -1$"),
        ({"concentration": math.inf}, "^concentration must be a finite number >= 0, got inf$"),
    ],
)
def test_invalid_hyper_parameters_are_named(hyper, message):
    with pytest.raises(ValueError, match=message):
        PairSupConLoss(**({"embedding_size": 5} | hyper))


def test_a_memory_which_has_one_side_is_refused_in_words():
    memory = CrossBatchMemory(built(), embedding_size=5).float()
    with pytest.raises(ValueError, match=r"indices_tuple is not supported|one row for each row"):
        memory(torch.zeros(6, 5), PAIRS)
