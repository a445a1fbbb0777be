from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import NTXentLoss
from pytorch_metric_learning.reducers import DoNothingReducer
from torch import Tensor
from torch.nn.functional import cross_entropy

from pml_proxyext.losses import CrossCLRLoss
from pml_proxyext.losses.cross_modal_samples import CrossModalSamples
from pml_proxyext.wrappers import CrossBatchMemory, SelfSupervisedLoss

CASES = json.loads((Path(__file__).parents[1] / "golden" / "crossclr.json").read_text())["cases"]
RELEASED = [case for case in CASES if case["kind"] == "only_intra"]
FULL = [case for case in CASES if case["kind"] == "full"]


def tensor(rows: list[Any]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def require_golden(value: Tensor, leaves: list[Tensor], expected: dict[str, Any]) -> None:
    torch.testing.assert_close(value, tensor(expected["loss"]), rtol=1e-9, atol=1e-12)
    gradients = torch.autograd.grad(value, leaves)
    for gradient, name in zip(gradients, ("grad_a", "grad_b"), strict=True):
        torch.testing.assert_close(gradient, tensor(expected[name]), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("case", RELEASED, ids=lambda case: case["name"])
@pytest.mark.parametrize(
    ("expected", "switches"),
    [
        ("official", None),
        ("variant_self_dropped_weight_on_logit", {"weight_on": "logit"}),
        ("variant_paper_eq2_weight_on_exp", {}),
    ],
)
def test_the_release_and_its_two_departures_match_the_fixtures(case, expected, switches):
    leaves = [tensor(case[name]).requires_grad_() for name in ("emb_a", "emb_b")]
    if switches is None:
        loss = CrossCLRLoss.as_released(**case["hyper"])
    else:
        loss = CrossCLRLoss(**case["hyper"], weighting="none", prune_threshold=None, **switches)
    require_golden(loss(leaves[0], ref_emb=leaves[1]), leaves, case[expected])


def built(hyper: dict[str, Any]) -> CrossCLRLoss:
    assert hyper["cosine"]
    return CrossCLRLoss(
        temperature=hyper["tau"],
        negative_weight=hyper["lam"],
        weight_scale=hyper["kappa"],
        prune_threshold=hyper["gamma"],
        weighting=hyper["weighting"],
        weight_on=hyper["lam_on"],
        self_logit=hyper["self_logit"],
        score=hyper["score"],
        self_term=hyper["self_term"],
        intra_modality=hyper["intra"],
    )


def pool_of(case: dict[str, Any]) -> CrossModalSamples | None:
    """The batch has the ids 0, 1, ..., and stands in the queue at ``idx``."""
    queue = case["queue"]
    if queue is None:
        return None
    ids = torch.arange(100, 100 + len(queue["emb_a"]))
    ids[torch.tensor(queue["idx"])] = torch.arange(case["batch"])
    return CrossModalSamples(*(tensor(queue[name]) for name in ("emb_a", "emb_b", "raw_a", "raw_b")), ids)


@pytest.mark.parametrize("case", FULL, ids=lambda case: case["name"])
def test_the_full_loss_matches_the_fixtures(case):
    leaves = [tensor(case[name]).requires_grad_() for name in ("emb_a", "emb_b")]
    raw = {"input_emb": tensor(case["raw_a"]), "ref_input_emb": tensor(case["raw_b"])}
    loss, ids = built(case["hyper"]), torch.arange(case["batch"])
    require_golden(loss(leaves[0], ids, ref_emb=leaves[1], **raw, pool=pool_of(case)), leaves, case)


def batch(rows: int = 6, seed: int = 0, repeats: int = 1) -> dict[str, Tensor]:
    """Embeddings with a graph, features with a common direction, and ids, each of which stands ``repeats`` times."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"embeddings": (rows, 4), "ref_emb": (rows, 4), "input_emb": (rows, 5), "ref_input_emb": (rows, 3)}
    tensors = {
        name: torch.randn(*shape, generator=generator, dtype=torch.float64) + (0.5 if "input" in name else 0.0)
        for name, shape in shapes.items()
    }
    for name in ("embeddings", "ref_emb"):
        tensors[name].requires_grad_()
    order = torch.randperm(rows, generator=generator)
    return tensors | {"labels": (torch.arange(rows) // repeats * 7 - 3)[order]}


def pool(rows: int = 11, seed: int = 0, filled: int | None = None, **first: Tensor) -> CrossModalSamples:
    """A batch's rows at the beginning, others with some of the batch's ids after it, and the rest not filled."""
    others = {name: tensor.detach() for name, tensor in batch(rows, seed + 1, repeats=2).items()}
    count = len(first["labels"])
    tensors = {name: torch.cat([first[name].detach(), others[name][count:]]) for name in others}
    return CrossModalSamples(**tensors, is_filled=torch.arange(rows) < (rows if filled is None else filled))


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def is_pruned(loss: CrossCLRLoss, scores: list[float]) -> list[bool]:
    unit = max(scores) if loss.score == "max" else 1
    return [loss.prune_threshold is not None and unit > 0 and x / unit > loss.prune_threshold for x in scores]


def naive(loss: CrossCLRLoss, samples: dict[str, Tensor], queue: CrossModalSamples | None = None) -> list[float]:
    """One number at a time, and both directions one after the other."""
    own = {name: tensor.tolist() for name, tensor in samples.items()}
    rows = own if queue is None else {name: getattr(queue, name)[queue.is_filled].tolist() for name in own}
    minus = 0 if loss.self_term == "include" else 1
    losses = []
    for z, other, raw in (("embeddings", "ref_emb", "input_emb"), ("ref_emb", "embeddings", "ref_input_emb")):
        n, m = len(own[z]), len(rows[z])
        scores = [(sum(cosine(x, y) for y in rows[raw]) - minus) / m for x in own[raw]]
        scores_in_queue = [(sum(cosine(x, y) for y in rows[raw]) - minus) / m for x in rows[raw]]
        pruned, pruned_in_queue = is_pruned(loss, scores), is_pruned(loss, scores_in_queue)
        weights = [1.0] * n
        if loss.weighting == "eq5":
            weights = [math.exp(x / loss.weight_scale) for x in scores]
        elif loss.weighting == "normalized" and sum(scores) > 0:
            weights = [math.exp(x / loss.weight_scale / sum(scores)) for x in scores]
            weights = [x * n / sum(weights) for x in weights]
        for i in range(n):
            total = float(loss.self_logit == "one")
            for k in range(n):
                if own["labels"][k] != own["labels"][i] and not pruned[k]:
                    total += math.exp(cosine(own[z][i], own[other][k]) / loss.temperature)
            for k in range(m if loss.intra_modality else 0):
                if rows["labels"][k] != own["labels"][i] and not pruned_in_queue[k]:
                    logit = cosine(own[z][i], rows[z][k]) / loss.temperature
                    on_exp = loss.weight_on == "exp"
                    total += (
                        loss.negative_weight * math.exp(logit) if on_exp else math.exp(loss.negative_weight * logit)
                    )
            cosines = [cosine(own[z][i], own[other][p]) for p in range(n) if own["labels"][p] == own["labels"][i]]
            positives = [math.exp(x / loss.temperature) for x in cosines]
            mean = sum(math.log((x + total) / x) for x in positives) / len(positives)
            losses.append(weights[i] * mean / 2)
    return losses


SWITCHES = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.05, 0.3]),
        "negative_weight": st.sampled_from([0.0, 0.6]),
        "weight_scale": st.sampled_from([0.1, 1.0]),
        "prune_threshold": st.sampled_from([None, 0.3, 0.7]),
        "weighting": st.sampled_from(["normalized", "eq5", "none"]),
        "weight_on": st.sampled_from(["exp", "logit"]),
        "self_logit": st.sampled_from(["drop", "one"]),
        "score": st.sampled_from(["max", "raw"]),
        "self_term": st.sampled_from(["include", "zero"]),
        "intra_modality": st.booleans(),
    }
)


@settings(max_examples=100, deadline=None)
@given(
    switches=SWITCHES,
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 8),
    repeats=st.integers(1, 3),
    filled=st.one_of(st.none(), st.integers(8, 11)),
)
def test_each_rows_losses_are_those_of_a_loop_with_and_without_a_pool(switches, seed, rows, repeats, filled):
    loss = CrossCLRLoss(**switches, reducer=DoNothingReducer())
    samples = batch(rows, seed, repeats)
    queue = None if filled is None else pool(11, seed, filled, **samples)
    found = loss(**samples, pool=queue)
    values = torch.cat([found["a_to_b"]["losses"], found["b_to_a"]["losses"]])
    assert values.tolist() == pytest.approx(naive(loss, samples, queue), rel=1e-9, abs=1e-11)
    assert found["b_to_a"]["indices"].tolist() == list(range(rows))


def value(samples: dict[str, Any], **switches: Any) -> Tensor:
    return CrossCLRLoss(**({"temperature": 0.1} | switches))(**samples)


PLAIN = {"weighting": "none", "prune_threshold": None, "intra_modality": False}
MANY = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 10_000)
ROWS = st.integers(1, 9)


@MANY
@given(seed=SEEDS, instances=ROWS, repeats=st.integers(1, 3))
def test_without_its_additions_it_is_the_mean_of_two_ntxent_losses_gradients_included(seed, instances, repeats):
    samples = batch(instances * repeats, seed, repeats)
    a, b, ids = samples["embeddings"], samples["ref_emb"], samples["labels"]
    ntxent = NTXentLoss(temperature=0.1)
    expected = (
        ntxent(a, ids, ref_emb=b, ref_labels=ids.clone()) + ntxent(b, ids, ref_emb=a, ref_labels=ids.clone())
    ) / 2
    found = value(samples, **PLAIN)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    if instances > 1:  # without negatives, PML's loss has lost its graph
        for one, other in zip(*(torch.autograd.grad(x, [a, b]) for x in (found, expected)), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)


@MANY
@given(seed=SEEDS, rows=ROWS, repeats=st.integers(1, 3))
def test_intra_modality_terms_more_of_them_less_pruning_and_the_releases_self_term_only_add(seed, rows, repeats):
    samples, unweighted = batch(rows, seed, repeats), {"weighting": "none"}
    inter = value(samples, **unweighted, intra_modality=False)
    little, more = (value(samples, **unweighted, negative_weight=weight) for weight in (0.3, 0.8))
    unpruned = value(samples, **unweighted, prune_threshold=1.0)
    with_self = value(samples, **unweighted, prune_threshold=1.0, self_logit="one")
    rising = torch.stack([torch.zeros_like(inter), inter, little, more, unpruned, with_self])
    assert (rising.diff() >= -1e-12).all()


@MANY
@given(seed=SEEDS, rows=ROWS, weight=st.sampled_from([0.0, 0.5, 1.0]), temperature=st.sampled_from([0.03, 0.5]))
def test_a_row_costs_no_more_than_its_ceiling(seed, rows, weight, temperature):
    samples = batch(rows, seed)
    loss = CrossCLRLoss(temperature, weight, weighting="none", prune_threshold=None, reducer=DoNothingReducer())
    ceiling = math.log(1 + (1 + weight) * (rows - 1)) + 2 / temperature
    for found in loss(**samples).values():
        assert (found["losses"] >= 0).all()
        assert (found["losses"] <= ceiling / 2 + 1e-9).all()


@MANY
@given(seed=SEEDS, rows=ROWS, repeats=st.integers(1, 3))
def test_order_scales_and_the_exchange_of_the_modalities_change_nothing(seed, rows, repeats):
    samples = batch(rows, seed, repeats)
    expected = value(samples)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    exchanged = {"embeddings": "ref_emb", "input_emb": "ref_input_emb"}
    exchanged |= {name: other for other, name in exchanged.items()}
    for same in (
        {name: tensor[order] for name, tensor in samples.items()},
        {name: samples[exchanged.get(name, name)] for name in samples},
        {name: tensor if name == "labels" else 3.7 * tensor for name, tensor in samples.items()},
        samples | {"labels": 5 - 2 * samples["labels"]},
    ):
        torch.testing.assert_close(value(same), expected, rtol=1e-9, atol=1e-11)


@MANY
@given(seed=SEEDS, rows=st.integers(2, 8))
def test_rows_of_one_id_attract_one_another_across_and_leave_one_another_alone_within(seed, rows):
    samples = batch(rows, seed) | {"labels": torch.arange(rows).clamp(min=1) - 1}  # the first two rows share an id
    loss = CrossCLRLoss(weighting="none", prune_threshold=None, reducer=DoNothingReducer())
    first_row = loss(**samples)["a_to_b"]["losses"][0]
    gradients = torch.autograd.grad(first_row, [samples["embeddings"], samples["ref_emb"]])
    within, across = (gradient[1] for gradient in gradients)
    assert (within == 0).all()
    anchor, other = samples["embeddings"][0], samples["ref_emb"][1]
    if rows == 2:  # nothing to compete with
        assert first_row == 0
        assert (across == 0).all()
    else:  # a step against the gradient turns the other row of the id towards the anchor
        assert (across @ (anchor - (anchor @ other) / (other @ other) * other)).item() <= 0


def test_ids_that_all_differ_are_the_default():
    samples = batch()
    without = {name: tensor for name, tensor in samples.items() if name != "labels"}
    assert value(without) == value(samples)


def test_embeddings_stand_in_for_features_and_count_as_constants():
    samples = batch()
    a, b = samples["embeddings"], samples["ref_emb"]
    only = {"embeddings": a, "labels": samples["labels"], "ref_emb": b}
    switches = {"weight_scale": 0.5, "prune_threshold": 0.5}
    found = value(only, **switches)
    expected = value(only | {"input_emb": a.detach(), "ref_input_emb": b.detach()}, **switches)
    assert found == expected
    assert found != value(samples, **switches)
    for one, other in zip(*(torch.autograd.grad(x, [a, b]) for x in (found, expected)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("switches", [{"prune_threshold": -100.0}, {"prune_threshold": -1.5, "score": "raw"}])
def test_without_negatives_the_loss_is_zero_and_keeps_its_graph(switches):
    for samples in (batch(), batch() | {"labels": torch.zeros(6, dtype=torch.long)}, batch(1)):
        found = value(samples | {name: samples[name].abs() for name in ("input_emb", "ref_input_emb")}, **switches)
        gradients = torch.autograd.grad(found, [samples["embeddings"], samples["ref_emb"]])
        assert found.item() == 0
        assert all((gradient == 0).all() for gradient in gradients)
    assert CrossCLRLoss.as_released()(**batch(1)).item() > 0  # the release's batch of one pair


def test_no_pairs_give_zero_with_a_graph():
    samples = {name: tensor[:0] for name, tensor in batch().items()}
    found = value(samples)
    assert found.item() == 0
    assert torch.autograd.grad(found, samples["embeddings"])[0].shape == (0, 4)


@pytest.mark.parametrize("queue", [False, True])
@pytest.mark.parametrize("switches", [{}, {"weight_on": "logit", "self_logit": "one"}, {"negative_weight": 0.0}])
def test_gradients_are_those_of_finite_differences(switches, queue):
    samples = batch(5, repeats=2)
    queued = pool(9, filled=7, **samples) if queue else None
    loss = CrossCLRLoss(temperature=0.3, weight_scale=0.5, **switches)

    def of(a: Tensor, b: Tensor) -> Tensor:
        return loss(**(samples | {"embeddings": a, "ref_emb": b}), pool=queued)

    assert torch.autograd.gradcheck(of, [samples["embeddings"], samples["ref_emb"]])


def test_far_apart_rows_stay_finite_in_float32_where_the_released_code_has_infinity():
    """Partners point away from one another: at this temperature their probability is below the smallest float."""
    a = torch.eye(4)
    found = CrossCLRLoss.as_released(temperature=0.005)(a, ref_emb=-a)
    assert found.item() == pytest.approx(1 / 0.005 + math.log(7), rel=1e-5)


@pytest.mark.parametrize("name", ["embeddings", "ref_emb", "input_emb", "ref_input_emb"])
@pytest.mark.parametrize("switches", [{}, {"weighting": "none"}, {"weighting": "eq5", "weight_scale": 1.0}])
def test_nan_stays_visible(name, switches):
    samples = batch()
    samples[name] = samples[name].detach().clone()
    samples[name][2, 1] = torch.nan
    assert value(samples, **switches).isnan()


def test_features_without_a_direction_give_uniform_weights():
    samples = batch() | {"input_emb": torch.zeros(6, 5), "ref_input_emb": torch.zeros(6, 3)}
    torch.testing.assert_close(value(samples), value(samples, weighting="none", prune_threshold=None))


def test_half_precision_is_computed_in_float32():
    samples = {name: tensor if name == "labels" else tensor.detach().bfloat16() for name, tensor in batch().items()}
    found = value(samples)
    assert found.dtype == torch.float32
    exact = value({name: tensor if name == "labels" else tensor.double() for name, tensor in samples.items()})
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("with_pool", [False, True])
def test_a_compiled_graph_computes_the_same(with_pool):
    samples = batch(repeats=2)
    queued = pool(filled=9, **samples) if with_pool else None
    loss = CrossCLRLoss(temperature=0.1)
    torch.compiler.reset()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)(**samples, pool=queued)
    expected = loss(**samples, pool=queued)
    torch.testing.assert_close(compiled, expected)
    for one, other in zip(*(torch.autograd.grad(x, samples["embeddings"]) for x in (compiled, expected)), strict=True):
        torch.testing.assert_close(one, other)


def test_a_distance_counts_by_its_negative():
    a, b = torch.tensor([[0.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 4.0]])
    loss = CrossCLRLoss(1.0, distance=LpDistance(normalize_embeddings=False), **PLAIN)
    distances = torch.tensor([[1.0, 4.0], [math.sqrt(5), 2.0]])
    own = torch.arange(2)
    expected = (cross_entropy(-distances, own) + cross_entropy(-distances.T, own)) / 2
    torch.testing.assert_close(loss(a, ref_emb=b), expected)


def test_one_labels_object_for_both_views_keeps_the_partners():
    samples = batch()
    assert value(samples | {"ref_labels": samples["labels"]}) == value(samples)
    assert value(samples | {"ref_labels": samples["labels"].clone().int()}) == value(samples)


IDS = torch.arange(6)
FOUR = torch.zeros(4, 5, dtype=torch.float64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ref_emb": None}, "^ref_emb must be the second view, .* got none$"),
        (
            {"ref_emb": FOUR[:, :4]},
            r"^ref_emb must have one row for each row of embeddings, got shapes \(4, 4\) and \(6, 4\)$",
        ),
        ({"ref_emb": torch.zeros(6, 3)}, r"^ref_emb must have embedding_size 4, got shape \(6, 3\)$"),
        ({"input_emb": FOUR}, r"^input_emb must have one row for each row of embeddings, got shapes \(4, 5\)"),
        ({"ref_input_emb": FOUR}, r"^ref_input_emb must have one row for each row of embeddings"),
        ({"input_emb": None}, "^input_emb and ref_input_emb must be given both or none, got ref_input_emb alone$"),
        ({"ref_input_emb": None}, "^input_emb and ref_input_emb must be given both or none, got input_emb alone$"),
        ({"input_emb": IDS[:, None]}, "^input_emb must be floating point, got torch.int64$"),
        ({"labels": IDS.double()}, "^labels must be integers, got torch.float64$"),
        ({"ref_labels": IDS.flip(0)}, "^ref_labels must be the labels: .*, got others$"),
        ({"labels": None, "ref_labels": IDS}, "^ref_labels must be the labels: .*, got labels=None$"),
        ({"indices_tuple": (IDS, IDS, IDS)}, "not supported"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        CrossCLRLoss()(**(batch() | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embeddings": FOUR}, r"^pool.embeddings must have embedding_size 4, got shape \(4, 5\)$"),
        ({"input_emb": FOUR}, "^pool.input_emb must have one row for each row of pool.labels"),
        ({"labels": torch.zeros(11)}, "^pool.labels must be integers"),
    ],
)
def test_a_pool_that_does_not_fit_is_named(changes, message):
    samples = batch()
    with pytest.raises(ValueError, match=message):
        CrossCLRLoss()(**samples, pool=pool(**samples)._replace(**changes))


@pytest.mark.parametrize("missing", [["labels"], ["input_emb", "ref_input_emb"]])
def test_a_pool_needs_ids_and_features(missing):
    samples = batch()
    queued = pool(**samples)
    with pytest.raises(ValueError, match=r"^labels, input_emb and ref_input_emb are required together with pool"):
        CrossCLRLoss()(**(samples | dict.fromkeys(missing)), pool=queued)


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"temperature": 0.0}, "^temperature must be a finite number > 0, got 0.0$"),
        ({"negative_weight": -1}, "^negative_weight must be a finite number >= 0"),
        ({"weight_scale": math.nan}, "^weight_scale must be a finite number > 0"),
        ({"prune_threshold": math.inf}, "^prune_threshold must be a finite number"),
        ({"weighting": "normalised"}, "^weighting must be one of .* did you mean 'normalized'"),
        ({"weight_on": "log"}, "^weight_on must be one of 'exp', 'logit'"),
        ({"self_logit": "zero"}, "^self_logit must be one of 'drop', 'one'"),
        ({"score": "min"}, "^score must be one of 'max', 'raw'"),
        ({"self_term": "one"}, "^self_term must be one of 'include', 'zero'"),
    ],
)
def test_invalid_hyper_parameters_are_named(switches, message):
    with pytest.raises(ValueError, match=message):
        CrossCLRLoss(**switches)


@pytest.mark.parametrize("wrapper", [SelfSupervisedLoss, lambda loss: CrossBatchMemory(loss, 4)])
def test_wrappers_that_have_one_view_refuse_it_in_words(wrapper):
    samples = batch()
    call = [samples["embeddings"], samples["ref_emb"] if wrapper is SelfSupervisedLoss else samples["labels"]]
    with pytest.raises(ValueError, match=r"ref_emb must be the second view|not supported"):
        wrapper(CrossCLRLoss()).float()(*call)
