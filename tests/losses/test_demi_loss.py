from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pytorch_metric_learning import miners
from pytorch_metric_learning.distances import DotProductSimilarity, LpDistance
from pytorch_metric_learning.losses import NTXentLoss
from pytorch_metric_learning.reducers import DoNothingReducer
from pytorch_metric_learning.utils.loss_and_miner_utils import get_all_pairs_indices, get_all_triplets_indices
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch.utils._python_dispatch import TorchDispatchMode

from pml_proxyext.information import CNCEBoosted, CNCEImportance, InfoNCE, effective_sample_size
from pml_proxyext.information.critics import BilinearCritic
from pml_proxyext.losses import DEMILoss
from pml_proxyext.wrappers import CrossBatchMemory, DistributedLossWrapper, SelfSupervisedLoss

CASES = json.loads((Path(__file__).parents[1] / "golden" / "demi_loss.json").read_text())["cases"]
MANY = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 10_000)
PARTS = st.sampled_from(["boosted", "is"])


def tensor(rows: list[Any]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_it_matches_the_fixtures(case):
    leaves = {name: tensor(case[name]).requires_grad_() for name in ("embeddings", "ref_emb") if name in case}
    labels = {name: torch.tensor(case[name]) for name in ("labels", "ref_labels") if name in case}
    settings_of_case = {name: case[name] for name in ("cond_weight", "temperature", "detach_sub")}
    loss = DEMILoss(slice(case["sub_dims"]), case["mode"], **settings_of_case, collect_stats=True)
    expected = case["expected"]
    value = loss(**leaves, **labels)
    torch.testing.assert_close(value, tensor(expected["loss"]), rtol=1e-9, atol=1e-12)
    for leaf, gradient in zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True):
        torch.testing.assert_close(gradient, tensor(expected[f"grad_{leaf}"]), rtol=1e-8, atol=1e-11)
    for name in ("bound_sub", "bound_cond"):
        assert getattr(loss, name) == pytest.approx(expected[name], rel=1e-9, abs=1e-12)
    loss.reducer = DoNothingReducer()
    found = loss(**leaves, **labels)["loss"]
    assert torch.stack(found["indices"], 1).tolist() == expected["pairs"]
    torch.testing.assert_close(found["losses"], tensor(expected["losses_per_pair"]), rtol=1e-9, atol=1e-12)
    sub = DEMILoss(slice(case["sub_dims"]), temperature=case["temperature"], cond_weight=0.0)(**leaves, **labels)
    torch.testing.assert_close(sub, tensor(expected["loss_sub"]), rtol=1e-9, atol=1e-12)


def rows(count: int, seed: int, dim: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64).requires_grad_()


def classes(count: int, seed: int, number: int = 3) -> Tensor:
    return torch.randint(number, (count,), generator=torch.Generator().manual_seed(seed + 1))


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def loop_over_pairs(
    pairs: list[tuple[int, int, list[int]]], psi: list[list[float]], phi: list[list[float]], conditional: str
) -> Iterator[tuple[float, float, float]]:
    """Give both terms and the effective sample size of each (anchor, positive, its negatives), one exp at a time."""
    for a, p, negatives in pairs:
        of_subview = [math.exp(psi[a][k]) for k in negatives]
        sub_loss = -math.log(math.exp(psi[a][p]) / (math.exp(psi[a][p]) + sum(of_subview)))
        if conditional == "boosted":
            total = sum(math.exp(psi[a][k] + phi[a][k]) for k in negatives)
            positive = math.exp(psi[a][p] + phi[a][p])
        else:
            weights = [x / sum(of_subview) for x in of_subview]
            total = sum(
                len(negatives) * weight * math.exp(phi[a][k]) for weight, k in zip(weights, negatives, strict=True)
            )
            positive = math.exp(phi[a][p])
        ess = sum(of_subview) ** 2 / sum(x**2 for x in of_subview) if negatives else 0.0
        yield sub_loss, -math.log(positive / (positive + total)), ess


def pairs_of_labels(labels: Tensor, others: Tensor, one_batch: bool) -> list[tuple[int, int, list[int]]]:
    pairs = []
    for a, label in enumerate(labels.tolist()):
        negatives = [k for k, other in enumerate(others.tolist()) if other != label]
        for p, other in enumerate(others.tolist()):
            if other == label and not (one_batch and p == a):
                pairs.append((a, p, negatives))
    return pairs


def pairs_of_tuples(indices_tuple: tuple[Tensor, ...]) -> list[tuple[int, int, list[int]]]:
    if len(indices_tuple) == 3:
        anchors, positives, negatives = indices_tuple
        indices_tuple = (anchors, positives, anchors, negatives)
    a1, p, a2, n = (index.tolist() for index in indices_tuple)
    return [(a, b, [k for row, k in zip(a2, n, strict=True) if row == a]) for a, b in zip(a1, p, strict=True)]


def cosines(a: Tensor, b: Tensor, temperature: float) -> list[list[float]]:
    return [[cosine(x, y) / temperature for y in b.tolist()] for x in a.tolist()]


KINDS = ["labels", "two", "views", "subviews", "triplets", "some", "miner"]


@MANY
@given(
    seed=SEEDS,
    count=st.integers(2, 7),
    conditional=PARTS,
    kind=st.sampled_from(KINDS),
    weight=st.sampled_from([0.0, 0.7]),
    temperatures=st.sampled_from([(0.3, None), (0.5, 0.2)]),
)
def test_losses_and_records_are_those_of_a_loop(seed, count, conditional, kind, weight, temperatures):
    embeddings, labels = rows(count, seed), classes(count, seed)
    arguments: dict[str, Any] = {"labels": labels}
    others, subviews = embeddings, (embeddings[:, 1:3], embeddings[:, 1:3])
    pairs = pairs_of_labels(labels, labels, one_batch=True)
    if kind == "two":
        others, other_labels = rows(count + 2, seed + 7), classes(count + 2, seed + 7)
        arguments |= {"ref_emb": others, "ref_labels": other_labels}
        subviews = embeddings[:, 1:3], others[:, 1:3]
        pairs = pairs_of_labels(labels, other_labels, one_batch=False)
    elif kind in ("views", "subviews"):
        others = rows(count, seed + 7)
        arguments, subviews = {"ref_emb": others}, (embeddings[:, 1:3], others[:, 1:3])
        pairs = pairs_of_labels(torch.arange(count), torch.arange(count), one_batch=False)
        if kind == "subviews":
            subviews = rows(count, seed + 8), others
            arguments["sub_emb"] = subviews[0]
    elif kind != "labels":
        found = {
            "triplets": lambda: get_all_triplets_indices(labels),
            "some": lambda: tuple(
                index[::step] for index, step in zip(get_all_pairs_indices(labels), (2, 2, 3, 3), strict=True)
            ),
            "miner": lambda: miners.MultiSimilarityMiner()(embeddings, labels),
        }[kind]()
        arguments, pairs = {"indices_tuple": found}, pairs_of_tuples(found)
    temperature, sub_temperature = temperatures
    loss = DEMILoss(slice(1, 3), conditional, temperature, sub_temperature, weight, collect_stats=True)
    value = loss(embeddings, **arguments)
    psi = cosines(*subviews, sub_temperature or temperature)
    expected = list(loop_over_pairs(pairs, psi, cosines(embeddings, others, temperature), conditional))
    if not expected:
        assert value == 0
        return
    assert value.item() == pytest.approx(sum(a + weight * b for a, b, _ in expected) / len(pairs), rel=1e-9, abs=1e-12)
    log_numbers = [math.log(len(negatives) + 1) for *_, negatives in pairs]
    records = {
        "bound_sub": sum(number - a for number, (a, _, _) in zip(log_numbers, expected, strict=True)),
        "bound_cond": sum(number - b for number, (_, b, _) in zip(log_numbers, expected, strict=True)),
        "ess": sum(ess for *_, ess in expected),
    }
    for name, total in records.items():
        assert getattr(loss, name) == pytest.approx(total / len(pairs), rel=1e-9, abs=1e-11)


@MANY
@given(seed=SEEDS, count=st.integers(4, 9), conditional=PARTS, kind=st.sampled_from(["labels", "two", *KINDS[-3:]]))
def test_without_the_conditional_part_it_is_pmls_ntxent_on_the_subview(seed, count, conditional, kind):
    """Single tuples are left out: PML takes them for none."""
    embeddings, labels = rows(count, seed), classes(count, seed)
    arguments: dict[str, Any] = {"labels": labels}
    parts = {"labels": labels}
    if kind == "two":
        other = {"ref_emb": rows(count + 1, seed + 5), "ref_labels": classes(count + 1, seed + 5)}
        arguments |= other
        parts |= other | {"ref_emb": other["ref_emb"][:, :2]}
    elif kind != "labels":
        found = get_all_triplets_indices(labels)
        if kind != "triplets":
            found = tuple(index[::2] for index in get_all_pairs_indices(labels))
        assume(max(len(index) for index in found) > 1)
        arguments = parts = {"indices_tuple": found}
    found_value = DEMILoss(None, conditional, 0.2, cond_weight=0.0)(embeddings, **arguments)
    expected = NTXentLoss(0.2)(embeddings[:, :2], **parts)
    torch.testing.assert_close(found_value, expected, rtol=1e-12, atol=1e-12)
    if expected > 0:
        gradients = (torch.autograd.grad(value, embeddings)[0] for value in (found_value, expected))
        torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-11)


def constant(a: Tensor, b: Tensor) -> Tensor:
    """The same number for all columns of a row."""
    return a[:, :1].expand(len(a), len(b))


@pytest.mark.parametrize("conditional", ["boosted", "is"])
def test_with_a_subview_that_tells_nothing_the_conditional_part_is_ntxent_on_the_whole(conditional):
    embeddings, labels = rows(8, 0), classes(8, 0)
    both, sub = (
        DEMILoss(conditional=conditional, temperature=0.2, sub_critic=constant, cond_weight=weight)(embeddings, labels)
        for weight in (1.0, 0.0)
    )
    torch.testing.assert_close(both - sub, NTXentLoss(0.2)(embeddings, labels), rtol=1e-9, atol=1e-12)


@MANY
@given(seed=SEEDS, count=st.integers(2, 7), dot=st.booleans())
def test_rows_of_two_views_give_the_estimates_of_the_information_room(seed, count, dot):
    a, b = rows(count, seed), rows(count, seed + 1)
    options = {"distance": DotProductSimilarity(normalize_embeddings=False)} if dot else {}
    similar = (lambda x: x) if dot else normalize
    phi = similar(a) @ similar(b).T / 0.3
    psi = similar(a[:, :2]) @ similar(b[:, :2]).T / 0.5
    for conditional, estimator in (("boosted", CNCEBoosted()), ("is", CNCEImportance())):
        loss = DEMILoss(None, conditional, 0.3, 0.5, reducer=DoNothingReducer(), collect_stats=True, **options)
        found = loss(a, ref_emb=b)["loss"]["losses"]
        bounds = InfoNCE().per_row(psi) + estimator.per_row(psi, phi)
        torch.testing.assert_close(found, 2 * math.log(count) - bounds, rtol=1e-9, atol=1e-11)
        assert loss.bound_cond == pytest.approx(estimator(psi, phi).item(), rel=1e-9, abs=1e-11)
        assert loss.ess == pytest.approx(effective_sample_size(psi).mean().item(), rel=1e-9)


@MANY
@given(seed=SEEDS, count=st.integers(2, 6), conditional=PARTS)
def test_a_number_added_to_the_scores_of_a_row_changes_nothing(seed, count, conditional):
    a, b = rows(count, seed), rows(count, seed + 1)

    def shifted(factor: float) -> Any:
        return lambda x, y: x @ y.T + factor * x[:, :1]

    plain, moved = (
        DEMILoss(slice(4), conditional, critic=shifted(f), sub_critic=shifted(g))(a, ref_emb=b)
        for f, g in ((0.0, 0.0), (3.0, -2.0))
    )
    torch.testing.assert_close(plain, moved, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("conditional", ["boosted", "is"])
def test_detached_the_conditional_part_does_not_move_the_subview(conditional):
    a, b, sub, sub_ref = (rows(6, seed) for seed in range(4))
    gradients = {}
    for detach, weight in ((True, 0.0), (True, 1.0), (False, 1.0)):
        loss = DEMILoss(None, conditional, 0.3, cond_weight=weight, detach_sub=detach)
        value = loss(a, ref_emb=b, sub_emb=sub, sub_ref_emb=sub_ref)
        gradients[detach, weight] = torch.autograd.grad(value, [sub, sub_ref, a])
    for i in (0, 1):
        torch.testing.assert_close(gradients[True, 0.0][i], gradients[True, 1.0][i])
        assert not torch.allclose(gradients[True, 1.0][i], gradients[False, 1.0][i], atol=1e-3)
    torch.testing.assert_close(gradients[True, 1.0][2], gradients[False, 1.0][2])


def naive_label_terms(a: Tensor, b: Tensor, labels: list[int], temperature: float) -> list[tuple[float, float]]:
    """Means of the class without the sample they are compared with, by lists."""
    directions = [[x / math.hypot(*row) for x in row] for row in b.tolist()]

    def psi(label: int, k: int) -> float:
        members = [row for j, row in enumerate(directions) if labels[j] == label and j != k]
        if not members:
            return 0.0
        mean = [sum(column) / len(members) for column in zip(*members, strict=True)]
        return cosine(mean, directions[k]) / temperature

    terms = []
    for i, label in enumerate(labels):
        scores = [math.exp(psi(label, k)) for k in range(len(labels))]
        phi = {k: math.exp(cosine(a[i].tolist(), row) / temperature) for k, row in enumerate(directions)}
        total = sum(phi[k] for k in phi if labels[k] == label)
        terms.append((-math.log(scores[i] / sum(scores)), -math.log(phi[i] / total)))
    return terms


@MANY
@given(seed=SEEDS, count=st.integers(1, 8), weight=st.sampled_from([0.0, 0.6]))
def test_with_labels_as_subview_it_is_a_loop_over_classmates(seed, count, weight):
    a, b, labels = rows(count, seed), rows(count, seed + 1), classes(count, seed)
    loss = DEMILoss(conditional="label", temperature=0.3, cond_weight=weight, collect_stats=True)
    found = loss(a, labels, ref_emb=b)
    terms = naive_label_terms(a, b, labels.tolist(), 0.3)
    assert found.item() == pytest.approx(sum(x + weight * y for x, y in terms) / count, rel=1e-9, abs=1e-11)
    numbers = [labels.tolist().count(label) for label in labels.tolist()]
    assert loss.bound_sub == pytest.approx(math.log(count) - sum(x for x, _ in terms) / count, rel=1e-9, abs=1e-11)
    cond = sum(math.log(n) - y for n, (_, y) in zip(numbers, terms, strict=True)) / count
    assert loss.bound_cond == pytest.approx(cond, rel=1e-9, abs=1e-11)
    assert loss.ess == pytest.approx(sum(numbers) / count - 1)


def entropy(labels: Tensor) -> float:
    shares = labels.unique(return_counts=True)[1] / len(labels)
    return -sum(share * math.log(share) for share in shares.tolist())


@MANY
@given(seed=SEEDS, count=st.integers(1, 9), scale=st.sampled_from([0.1, 1.0, 30.0]), table=st.booleans())
def test_no_score_of_labels_shows_more_than_the_entropy_of_the_batchs_labels(seed, count, scale, table):
    a, b, labels = rows(count, seed), rows(count, seed + 1), classes(count, seed)
    of_classes = rows(3, seed + 2)
    critic = (lambda c, y: scale * of_classes[c] @ y.T) if table else None
    loss = DEMILoss(conditional="label", temperature=1 / scale, sub_critic=critic, collect_stats=True)
    loss(a, labels, ref_emb=b)
    assert loss.bound_sub <= entropy(labels) + 1e-9
    assert loss.bound_cond <= sum(math.log((labels == c).sum()) for c in labels) / count + 1e-9


def test_the_entropy_of_the_labels_is_reached_where_classes_are_apart():
    directions, labels = torch.eye(3, dtype=torch.float64), torch.tensor([0, 0, 1, 1, 2, 2])
    loss = DEMILoss(conditional="label", temperature=0.01, collect_stats=True)
    loss(directions[labels], labels, ref_emb=directions[labels])
    assert loss.bound_sub == pytest.approx(math.log(3), rel=1e-9)
    assert loss.bound_cond == pytest.approx(0, abs=1e-9)


def test_pmls_rule_for_negatives_is_no_bound_with_class_labels_and_the_label_mode_is():
    """Two classes, told apart by all coordinates: there is log 2 to know, and NT-Xent tells one of 65."""
    b = torch.eye(2, dtype=torch.float64).repeat(64, 1)
    labels = torch.arange(128) % 2
    values = {}
    for conditional, subview in (("boosted", slice(2)), ("label", None)):
        loss = DEMILoss(subview, conditional, 0.05, collect_stats=True)
        loss(b, labels, ref_emb=b.clone(), ref_labels=labels)
        values[conditional] = loss.bound_sub
    assert values["boosted"] > math.log(64)
    assert values["label"] == pytest.approx(math.log(2), rel=1e-6)


def test_a_table_of_classes_can_score_the_labels_and_learns():
    torch.manual_seed(0)
    table = nn.Embedding(3, 4)

    class OfClasses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = table

        def forward(self, labels: Tensor, samples: Tensor) -> Tensor:
            return self.table(labels) @ samples.T

    loss = DEMILoss(conditional="label", cond_weight=0.0, sub_critic=OfClasses())
    b, labels = rows(6, 0).detach().float(), torch.tensor([0, 0, 1, 1, 2, 2])
    expected = cross_entropy(table(labels) @ b.T, torch.arange(6))
    torch.testing.assert_close(loss(b, labels, ref_emb=b.clone()), expected)
    optimizer = torch.optim.SGD(loss.param_groups(0.1))
    for _ in range(5):
        optimizer.zero_grad()
        loss(b, labels, ref_emb=b.clone()).backward()
        optimizer.step()
    assert loss(b, labels, ref_emb=b.clone()) < expected


@pytest.mark.parametrize("conditional", ["boosted", "is"])
def test_a_memory_adds_negatives_and_the_subview_is_taken_of_it(conditional):
    loss = DEMILoss(slice(1, 3), conditional, 0.2)
    memory = CrossBatchMemory(loss, embedding_size=4, memory_size=8).double()
    first, labels, later = rows(4, 0), torch.tensor([0, 0, 1, 1]), rows(4, 1)
    torch.testing.assert_close(memory(first, labels), loss(first, labels))
    found = memory(later, labels + 2)
    queue = torch.cat([first, later]).detach()
    pairs = [(a, p, [*negatives, 0, 1, 2, 3]) for a, p, negatives in pairs_of_labels(labels, labels, one_batch=True)]
    pairs = [(a, p + 4, [k + 4 for k in negatives[:2]] + negatives[2:]) for a, p, negatives in pairs]
    psi, phi = cosines(later[:, 1:3], queue[:, 1:3], 0.2), cosines(later, queue, 0.2)
    expected = sum(a + b for a, b, _ in loop_over_pairs(pairs, psi, phi, conditional)) / len(pairs)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_two_views_in_place_of_labels_are_one_batch_or_anchors_and_partners():
    a, b = rows(4, 0), rows(4, 1)
    loss, ids = DEMILoss(temperature=0.2), torch.arange(4)
    symmetric, one_way = (SelfSupervisedLoss(loss, symmetric=which)(a, b) for which in (True, False))
    torch.testing.assert_close(symmetric, loss(torch.cat([a, b]), ids.repeat(2)))
    torch.testing.assert_close(one_way, loss(a, ref_emb=b))
    torch.testing.assert_close(one_way, loss(a, ids, ref_emb=b, ref_labels=ids))  # one object for both


def test_the_distributed_wrapper_hands_subviews_on():
    a, b, sub = rows(4, 0), rows(4, 1), rows(4, 2)
    loss = DEMILoss()
    assert DistributedLossWrapper(loss)(a, ref_emb=b, sub_emb=sub) == loss(a, ref_emb=b, sub_emb=sub)


def test_a_distance_counts_by_its_negative_and_the_subview_may_be_a_function():
    a, b = torch.tensor([[0.0, 1.0], [2.0, 5.0]]), torch.tensor([[1.0, 1.0], [4.0, 5.0]])
    loss = DEMILoss(lambda z: 2 * z[:, :1], temperature=1.0, distance=LpDistance(normalize_embeddings=False))
    first = math.log1p(math.exp(2 - 8)) + math.log1p(math.exp(2 + 1 - 8 - math.hypot(4, 4)))
    second = math.log1p(math.exp(4 - 2)) + math.log1p(math.exp(4 + 2 - 2 - math.hypot(1, 4)))
    assert loss(a, ref_emb=b).item() == pytest.approx((first + second) / 2)


def test_modules_become_parts_of_the_loss_with_their_optimizer_groups():
    loss = DEMILoss(nn.Linear(8, 3), critic=BilinearCritic(8, 8), sub_critic=BilinearCritic(3, 3))
    assert {name.split(".")[0] for name in loss.state_dict()} == {"subview", "critic", "sub_critic"}
    groups = loss.param_groups(0.1, sub_critic=5.0)
    assert sorted(group["lr"] for group in groups) == pytest.approx([0.1, 0.1, 0.5])
    assert sum(len(group["params"]) for group in groups) == 4
    loss(torch.randn(4, 8), ref_emb=torch.randn(4, 8)).backward()
    assert all(parameter.grad.abs().sum() > 0 for name, parameter in loss.named_parameters() if "bias" not in name)


@pytest.mark.parametrize("conditional", ["boosted", "is", "label"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_ends_before_the_scores(conditional, dtype):
    a, b = rows(6, 0).detach().to(dtype), rows(6, 1).detach().to(dtype)
    arguments = {"labels": torch.tensor([0, 0, 1, 1, 2, 2])} if conditional == "label" else {}
    loss = DEMILoss(conditional=conditional, temperature=0.02)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(a, ref_emb=b, **arguments)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(a.float(), ref_emb=b.float(), **arguments))


def test_subviews_in_half_precision_follow_the_embeddings():
    a, b, sub = (rows(6, seed).detach().float() for seed in range(3))
    found = DEMILoss()(a, ref_emb=b, sub_emb=sub.bfloat16())
    torch.testing.assert_close(found, DEMILoss()(a, ref_emb=b, sub_emb=sub.bfloat16().float()))


@pytest.mark.parametrize("conditional", ["boosted", "is"])
def test_rows_of_two_views_compile_into_one_graph(conditional):
    a, b, sub = (rows(6, seed).detach().float() for seed in range(3))
    loss = DEMILoss(conditional=conditional)
    torch.compiler.reset()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(a, ref_emb=b, sub_emb=sub), loss(a, ref_emb=b, sub_emb=sub))
    torch.compiler.reset()


@pytest.mark.parametrize("conditional", ["boosted", "is"])
def test_large_scores_neither_overflow_nor_saturate(conditional):
    """PML's NTXentLoss ends at the logarithm of the smallest float, 87 in float32, with no gradient."""
    a = torch.tensor([[100.0, 0.0, 0.0, 0.0], [0.0, 100.0, 0.0, 0.0]], requires_grad=True)
    b = a.detach().flip(0)
    dot = DotProductSimilarity(normalize_embeddings=False)
    value = DEMILoss(slice(2), conditional, temperature=1.0, distance=dot)(a, ref_emb=b)
    sub, cond = 10_000.0, {"boosted": 20_000.0, "is": 10_000.0}[conditional]
    assert value.item() == pytest.approx(sub + cond)
    assert torch.autograd.grad(value, a)[0].abs().max() > 50


@pytest.mark.parametrize("conditional", ["boosted", "is"])
def test_anchors_without_negatives_cost_nothing_and_keep_the_graph(conditional):
    a, b = rows(3, 0), rows(3, 1)
    for labels in (torch.zeros(3, dtype=torch.long), torch.tensor([0, 0, 1])):
        loss = DEMILoss(conditional=conditional, collect_stats=True)
        value = loss(a, labels, ref_emb=b, ref_labels=torch.zeros(3, dtype=torch.long))
        gradient = torch.autograd.grad(value, a)[0]
        assert value == 0
        assert (gradient == 0).all()
        assert loss.bound_sub == loss.bound_cond == loss.ess == 0
    one = DEMILoss(conditional=conditional)(a[:1], ref_emb=b[:1])
    assert one == 0
    assert one.requires_grad


@pytest.mark.parametrize("conditional", ["boosted", "is", "label"])
@pytest.mark.parametrize("place", ["embeddings", "ref_emb", "sub_emb"])
def test_nan_is_visible_wherever_it_is(conditional, place):
    """In the last coordinate, which the subview does not see, and without any negatives too."""
    for labels in (torch.arange(3), torch.zeros(3, dtype=torch.long)):
        tensors = {name: rows(3, seed).detach() for seed, name in enumerate(("embeddings", "ref_emb", "sub_emb"))}
        if conditional == "label":
            del tensors["sub_emb"]
        if place not in tensors:
            continue
        tensors[place][1, -1] = torch.nan
        value = DEMILoss(conditional=conditional)(**tensors, labels=labels, ref_labels=labels)
        assert value.isnan()


def test_no_tensor_is_larger_than_the_matrix_however_many_pairs_there_are():
    """Two classes of 20: 760 positive pairs, which in PML's NTXentLoss meet 800 negative pairs each."""

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for item in out if isinstance(out, (tuple, list)) else [out]:
                if isinstance(item, Tensor):
                    Largest.size = max(Largest.size, item.numel())
            return out

    embeddings, labels = rows(40, 0), torch.arange(40) % 2
    with Largest():
        DEMILoss()(embeddings, labels).backward()
    assert Largest.size == 40 * 40


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({"subview": 3}, "subview must be None, a slice or a function, got 3"),
        ({"critic": "cosine"}, "critic must be None or a function, got 'cosine'"),
        ({"sub_critic": slice(2)}, "sub_critic must be None or a function"),
        ({"conditional": "bosted"}, "conditional must be one of .* did you mean 'boosted'"),
        ({"conditional": "label", "subview": slice(2)}, "subview is not supported with conditional='label'"),
        ({"temperature": 0}, "temperature must be a finite number > 0, got 0"),
        ({"sub_temperature": -1}, "sub_temperature must be a finite number > 0, got -1"),
        ({"cond_weight": -1}, "cond_weight must be a finite number >= 0, got -1"),
    ],
)
def test_bad_hyper_parameters_are_refused(hyper, message):
    with pytest.raises(ValueError, match=message):
        DEMILoss(**hyper)


IDS = torch.arange(3)
LABEL = {"conditional": "label"}


@pytest.mark.parametrize(
    ("hyper", "arguments", "message"),
    [
        ({}, {}, "labels, indices_tuple or the rows' partners in ref_emb are required, got no ref_emb"),
        ({}, {"ref_emb": rows(2, 1)}, "got 2 rows of it for 3 embeddings"),
        ({}, {"labels": IDS, "ref_emb": rows(3, 1)}, "ref_labels are required"),
        ({}, {"ref_emb": rows(3, 1), "sub_ref_emb": rows(3, 2)}, "sub_emb is required together with sub_ref_emb"),
        ({}, {"ref_emb": rows(3, 1), "sub_emb": rows(2, 2)}, "sub_emb must have one row for each row of embeddings"),
        ({}, {"ref_emb": rows(3, 1), "sub_emb": rows(3, 2, dim=2)}, r"sub_emb must be as wide .* got widths 2 and 4"),
        ({}, {"ref_emb": rows(3, 1), "sub_emb": rows(3, 2)[0]}, "sub_emb must have shape"),
        (
            {},
            {"ref_emb": rows(3, 1), "sub_emb": rows(3, 2), "sub_ref_emb": rows(2, 3)},
            "sub_ref_emb must have one row for each row of ref_emb",
        ),
        ({"subview": slice(9, None)}, {"labels": IDS}, "subview must take at least one coordinate"),
        ({"critic": lambda a, b: a}, {"labels": IDS}, r"all pairs, \(3, 3\), got shape \(3, 4\)"),
        (LABEL, {"labels": IDS}, "ref_emb must be the second view"),
        (LABEL, {"ref_emb": rows(3, 1)}, "labels are required with conditional='label'"),
        (LABEL, {"labels": IDS, "ref_emb": rows(2, 1)}, "ref_emb must have one row"),
        (LABEL, {"labels": IDS, "ref_emb": rows(3, 1), "ref_labels": IDS + 1}, "ref_labels must be the labels"),
        (LABEL, {"labels": IDS, "ref_emb": rows(3, 1), "sub_emb": rows(3, 2)}, "sub_emb is not supported"),
        (LABEL, {"labels": IDS, "ref_emb": rows(3, 1), "indices_tuple": (IDS,) * 3}, "indices_tuple is not supported"),
    ],
)
def test_bad_input_is_refused(hyper, arguments, message):
    with pytest.raises(ValueError, match=message):
        DEMILoss(**hyper)(rows(3, 0), **arguments)


def test_a_memory_refuses_labels_as_subview_in_words():
    memory = CrossBatchMemory(DEMILoss(conditional="label"), embedding_size=4)
    with pytest.raises(ValueError, match="indices_tuple is not supported with conditional='label'"):
        memory(rows(4, 0), torch.tensor([0, 0, 1, 1]))
