import csv
import math
import sqlite3

import numpy as np
import pytest
import torch
from pytorch_metric_learning.utils import logging_presets
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import nn
from torch.utils.data import TensorDataset

from pml_proxyext.testers import Rejection, UncertaintyTester

CPU = torch.device("cpu")
NAMES = ["error_auroc", "rejection_area", "rejection_area_normalized"]


def make_tester(include=("precision_at_1",), **options):
    calculator = AccuracyCalculator(include=include, k=1, device=CPU)
    return UncertaintyTester(accuracy_calculator=calculator, dataloader_num_workers=0, data_device=CPU, **options)


def make_data(seed=0, count=40, classes=4):
    """Embeddings whose norms say something of whether they lie near their class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    noise = torch.rand(count, 1, generator=generator)
    directions = torch.eye(classes)[labels] + noise * torch.randn(count, classes, generator=generator)
    norms = 5 - 4 * noise + torch.rand(count, 1, generator=generator)
    return TensorDataset(norms * torch.nn.functional.normalize(directions), labels)


def naive_errors(queries, query_labels, references, reference_labels, same):
    """Return errors and norms of the queries that have a reference of their class, by loops in float64."""
    wrong, norms = [], []
    for i, query in enumerate(queries.double()):
        allowed = [j for j in range(len(references)) if not (same and i == j)]
        if not any(reference_labels[j] == query_labels[i] for j in allowed):
            continue
        cosines = {j: float(torch.cosine_similarity(query, references[j].double(), dim=0)) for j in allowed}
        wrong.append(bool(reference_labels[max(cosines, key=cosines.get)] != query_labels[i]))
        norms.append(float(query.norm()))
    return wrong, norms


def check_against(scores, rejections, wrong, certainty):
    expected = Rejection(wrong, certainty)
    assert 0 < np.mean(wrong) < 1
    assert rejections[0].error == pytest.approx(expected.error)
    assert scores["error_auroc_level0"] == pytest.approx(expected.auroc)
    assert scores["rejection_area_level0"] == pytest.approx(expected.error.mean())
    assert scores["rejection_area_normalized_level0"] == pytest.approx(expected.normalized_area)
    for percent in (0, 10, 30, 50):
        kept = np.argsort(certainty)[round(percent / 100 * len(wrong)) :]
        assert scores[f"error_rejecting_{percent}_level0"] == pytest.approx(np.mean(np.array(wrong)[kept]))
    assert scores["error_rejecting_0_level0"] == pytest.approx(1 - scores["precision_at_1_level0"])


def test_queries_among_themselves_equal_a_naive_loop():
    data, tester = make_data(), make_tester()
    scores = tester.test({"val": data}, 3, nn.Identity())["val"]
    wrong, norms = naive_errors(*data.tensors, *data.tensors, same=True)
    assert len(wrong) == 40
    check_against(scores, tester.rejections["val"], wrong, norms)
    assert scores["epoch"] == 3


def test_queries_in_other_references_equal_a_naive_loop():
    queries, references = make_data(1), make_data(2, count=24, classes=3)  # the queries' fourth class has no reference
    embedder = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        embedder.weight.copy_(torch.diag(torch.tensor([1.0, 2.0, 1.0, 3.0])))
    references = TensorDataset(torch.cat([references.tensors[0], torch.zeros(24, 1)], 1), references.tensors[1])
    tester = make_tester()
    data = {"query": queries, "gallery": references}
    scores = tester.test(data, 1, nn.Identity(), embedder, [("query", ["gallery"])])["query"]
    with torch.no_grad():
        embedded = [(embedder(split.tensors[0]), split.tensors[1]) for split in (queries, references)]
    wrong, norms = naive_errors(*embedded[0], *embedded[1], same=False)
    assert len(wrong) == 30
    check_against(scores, tester.rejections["query"], wrong, norms)


def test_each_split_has_its_own_certainty():
    data, tester = {"a": make_data(1), "b": make_data(2)}, make_tester()
    together = tester.test(data, 1, nn.Identity(), splits_to_eval=[("a", ["a", "b"]), ("b", ["b"])])
    everything = [torch.cat(parts) for parts in zip(data["a"].tensors, data["b"].tensors, strict=True)]
    for split, references in (("a", everything), ("b", data["b"].tensors)):
        wrong, norms = naive_errors(*data[split].tensors, *references, same=True)
        check_against(together[split], tester.rejections[split], wrong, norms)


def test_certainty_is_a_function_of_the_embeddings_as_the_network_returns_them():
    data, seen = make_data(), []

    def certainty(embeddings):
        seen.append(embeddings)
        return -embeddings.square().sum(1)

    scores = make_tester(certainty=certainty).test({"val": data}, 1, nn.Identity())["val"]
    torch.testing.assert_close(seen[0], data.tensors[0])
    by_norm = make_tester().test({"val": data}, 1, nn.Identity())["val"]
    assert scores["error_auroc_level0"] == pytest.approx(1 - by_norm["error_auroc_level0"])


@pytest.mark.parametrize(("sign", "auroc", "area"), [(1, 1, 0), (-1, 0, None)])
def test_perfect_and_reversed_certainty(sign, auroc, area):
    data = make_data()
    wrong, _ = naive_errors(*data.tensors, *data.tensors, same=True)
    right = 1 - torch.tensor(wrong).double()
    scores = make_tester(certainty=lambda _: sign * right).test({"val": data}, 1, nn.Identity())["val"]
    assert scores["error_auroc_level0"] == auroc
    if area is None:
        assert scores["rejection_area_normalized_level0"] > 1
    else:
        assert scores["rejection_area_normalized_level0"] == area


def test_all_right_is_nan_where_order_is_worth_nothing():
    data = TensorDataset(torch.tensor([[1.0, 0], [2, 0], [0, 1], [0, 2]]), torch.tensor([0, 0, 1, 1]))
    scores = make_tester().test({"val": data}, 1, nn.Identity())["val"]
    assert math.isnan(scores["error_auroc_level0"])
    assert math.isnan(scores["rejection_area_normalized_level0"])
    assert scores["rejection_area_level0"] == scores["error_rejecting_50_level0"] == 0


@pytest.mark.parametrize("splits", [None, [("val", ["other"])]])
def test_embeddings_that_are_not_finite_score_nan(splits):
    embeddings, labels = make_data().tensors
    broken = TensorDataset(torch.where(torch.arange(40)[:, None] == 5, torch.nan, embeddings), labels)
    scores = make_tester().test({"val": broken, "other": make_data(1)}, 1, nn.Identity(), splits_to_eval=splits)["val"]
    named = {f"{name}_level0": scores[f"{name}_level0"] for name in ["precision_at_1", *NAMES, "error_rejecting_10"]}
    assert np.isnan(list(named.values())).all(), named


def test_levels_of_labels_and_their_average():
    embeddings, labels = make_data().tensors
    data = TensorDataset(embeddings, torch.stack([labels, labels // 2], dim=1))
    tester = make_tester(label_hierarchy_level="all")
    scores = tester.test({"val": data}, 1, nn.Identity())["val"]
    for level in (0, 1):
        wrong, norms = naive_errors(
            embeddings, data.tensors[1][:, level], *(embeddings, data.tensors[1][:, level]), True
        )
        assert tester.rejections["val"][level].error == pytest.approx(Rejection(wrong, norms).error)
    for name in NAMES:
        assert scores[f"AVERAGE_{name}"] == pytest.approx((scores[f"{name}_level0"] + scores[f"{name}_level1"]) / 2)


def test_own_comparison_of_labels_is_used():
    calculator = AccuracyCalculator(
        include=("precision_at_1",), k=1, device=CPU, label_comparison_fn=lambda a, b: (a - b).abs() <= 1
    )
    tester = UncertaintyTester(accuracy_calculator=calculator, dataloader_num_workers=0, data_device=CPU)
    scores = tester.test({"val": make_data()}, 1, nn.Identity())["val"]
    strict = make_tester().test({"val": make_data()}, 1, nn.Identity())["val"]
    assert scores["error_rejecting_0_level0"] == pytest.approx(1 - scores["precision_at_1_level0"])
    assert scores["error_rejecting_0_level0"] < strict["error_rejecting_0_level0"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_networks_of_other_precision(dtype):
    embeddings, labels = make_data().tensors
    scores = make_tester().test({"val": TensorDataset(embeddings.to(dtype), labels)}, 1, nn.Identity())["val"]
    full = make_tester().test({"val": make_data()}, 1, nn.Identity())["val"]
    assert scores["error_auroc_level0"] == pytest.approx(full["error_auroc_level0"], abs=0.02)


def test_scores_are_kept_by_the_record_keeper(tmp_path):
    keeper, *_ = logging_presets.get_record_keeper(str(tmp_path / "csv"), str(tmp_path / "tensorboard"))
    hooks = logging_presets.get_hook_container(keeper, primary_metric="precision_at_1", save_models=False)
    tester = make_tester(rejected=(0, 0.125), end_of_testing_hook=hooks.end_of_testing_hook)
    for epoch in (1, 2):
        scores = tester.test({"val": make_data(epoch)}, epoch, nn.Identity())["val"]
    keeper.save_records()
    (table,) = [path for path in (tmp_path / "csv").glob("*UncertaintyTester*.csv") if "VAL" in path.name]
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 2
    for name in [*NAMES, "error_rejecting_0", "error_rejecting_12_5"]:
        assert float(rows[1][f"{name}_level0"]) == pytest.approx(scores[f"{name}_level0"])
    (base,) = (tmp_path / "csv").glob("*.db")
    connection = sqlite3.connect(base)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master") if "UncertaintyTester" in name]
    (kept,) = connection.execute(f"SELECT error_auroc_level0 FROM {names[0]} WHERE epoch = 2").fetchall()
    connection.close()
    assert kept[0] == pytest.approx(scores["error_auroc_level0"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"certainty": "norm"}, "certainty must be a function of the embeddings, got 'norm'"),
        ({"rejected": (0.1, 1.5)}, "rejected must be a finite number >= 0 and <= 1, got 1.5"),
        ({"rejected": (1.0,)}, "rejected must be fractions below 1"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_tester(**options)


def test_certainty_of_another_shape_is_refused():
    tester = make_tester(certainty=lambda embeddings: embeddings.square())
    with pytest.raises(ValueError, match=r"certainty must return shape \(40,\) .* got shape \(40, 4\)"):
        tester.test({"val": make_data()}, 1, nn.Identity())
