"""The scores against loops over queries, against PML's calculator, and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor

from pml_proxyext.testers import HammingKNN, MultiLabelAccuracyCalculator

CPU = torch.device("cpu")
BOTH = ("mean_average_precision", "mean_average_precision_of_found")


def data(n: int, num_classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=generator), (torch.rand(n, num_classes, generator=generator) < 0.25).long()


def by_loop(
    query: Tensor, labels: Tensor, reference: Tensor, reference_labels: Tensor, includes_query: bool, k: int | None
) -> list[tuple[float, float]]:
    """Return both average precisions of each query that has something to find, one neighbour after another."""
    values = []
    for i, row in enumerate(query):
        others = [j for j in range(len(reference)) if not (includes_query and i == j)]
        ranked = sorted(others, key=lambda j: ((row - reference[j]) ** 2).sum().item())
        is_relevant = {j: any(a and b for a, b in zip(labels[i], reference_labels[j], strict=True)) for j in others}
        to_find = sum(is_relevant.values())
        if not to_find:
            continue
        found, total = 0, 0.0
        for place, j in enumerate(ranked[:k], start=1):
            if is_relevant[j]:
                found += 1
                total += found / place
        values.append((total / to_find, total / found if found else 0.0))
    return values


@pytest.mark.parametrize("includes_query", [False, True])
@given(st.integers(2, 12), st.integers(2, 14), st.integers(1, 4), st.integers(1, 6), st.integers(0, 10_000))
def test_both_ways_of_counting_match_the_loop(includes_query, n, m, num_classes, k, seed):
    query, labels = data(n, num_classes, seed)
    reference, reference_labels = (query, labels) if includes_query else data(m, num_classes, seed + 1)
    k = min(k, len(reference) - 1)
    calculator = MultiLabelAccuracyCalculator(include=BOTH, k=k, device=CPU)
    scores = calculator.get_accuracy(query, labels, reference, reference_labels, includes_query)
    values = by_loop(query, labels, reference, reference_labels, includes_query, k)
    for name, column in zip(BOTH, zip(*values, strict=True) if values else [()] * 2, strict=True):
        expected = sum(column) / len(column) if column else math.nan
        assert scores[name] == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_all_scores_are_those_of_pml_on_the_labels_themselves():
    query, labels = data(40, 5)
    reference, reference_labels = data(60, 5, seed=1)
    names = (
        "precision_at_1",
        "r_precision",
        "mean_average_precision_at_r",
        "mean_average_precision",
        "mean_reciprocal_rank",
    )
    plain = AccuracyCalculator(include=names, label_comparison_fn=lambda a, b: (a * b).sum(-1) > 0, device=CPU)
    expected = plain.get_accuracy(query, labels, reference, reference_labels)
    scores = MultiLabelAccuracyCalculator(device=CPU).get_accuracy(query, labels, reference, reference_labels)
    assert set(scores) == {*names, "mean_average_precision_of_found"}
    for name in names:
        assert scores[name] == pytest.approx(expected[name], rel=1e-12)
    assert len({round(scores[name], 6) for name in names[:4]}) == 4


def test_the_two_ways_by_hand():
    """Of four relevant references the nearest two are looked at, and the second is relevant."""
    reference = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]])
    labels = torch.tensor([[0, 1], [1, 0], [1, 1], [1, 0], [1, 0]])
    arguments = (torch.zeros(1, 1), torch.tensor([[1, 0]]), reference, labels)
    scores = MultiLabelAccuracyCalculator(include=BOTH, k=2, device=CPU).get_accuracy(*arguments)
    assert scores == {"mean_average_precision": 0.5 / 4, "mean_average_precision_of_found": 0.5}
    scores = MultiLabelAccuracyCalculator(include=BOTH, device=CPU).get_accuracy(*arguments)
    assert scores["mean_average_precision"] == pytest.approx((1 / 2 + 2 / 3 + 3 / 4 + 4 / 5) / 4)
    assert scores["mean_average_precision_of_found"] == scores["mean_average_precision"]
    scores = MultiLabelAccuracyCalculator(include=BOTH, k=1, device=CPU).get_accuracy(*arguments)
    assert scores == {"mean_average_precision": 0.0, "mean_average_precision_of_found": 0.0}


@pytest.mark.parametrize("name", [*BOTH, "mean_reciprocal_rank", "precision_at_1"])
def test_every_score_can_be_asked_for_alone(name):
    query, labels = data(8, 2)
    scores = MultiLabelAccuracyCalculator(include=(name,), device=CPU).get_accuracy(query, labels)
    assert list(scores) == [name]
    everything = MultiLabelAccuracyCalculator(device=CPU)
    assert everything.get_accuracy(query, labels, include=(name,)) == scores


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
def test_labels_of_any_dtype_and_numpy_arrays(dtype):
    query, labels = data(8, 3)
    calculator = MultiLabelAccuracyCalculator(include=BOTH, device=CPU)
    expected = calculator.get_accuracy(query, labels)
    assert calculator.get_accuracy(query, labels.to(dtype)) == expected
    assert calculator.get_accuracy(query.numpy(), labels.numpy()) == expected


def test_queries_with_nothing_to_find_are_left_out_and_nothing_at_all_is_nan():
    codes = torch.tensor([[0.0], [1.0], [2.0]])
    calculator = MultiLabelAccuracyCalculator(include=BOTH, device=CPU)
    some = calculator.get_accuracy(codes, torch.tensor([[1, 0], [1, 0], [0, 0]]))
    assert some == dict.fromkeys(BOTH, 1.0)
    nothing = calculator.get_accuracy(codes, torch.tensor([[1, 0], [0, 1], [0, 0]]))
    assert all(math.isnan(score) for score in nothing.values())


def test_codes_are_ranked_by_hamming_distance():
    codes = torch.tensor([[0.9, 0.9, 0.9], [0.9, 0.9, 0.1], [0.9, 0.1, 0.1], [0.1, 0.1, 0.1]])
    labels = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 1]])
    calculator = MultiLabelAccuracyCalculator(include=BOTH, device=CPU, knn_func=HammingKNN())
    arguments = (codes[:1], labels[:1], codes[1:], labels[1:])
    assert calculator.get_accuracy(*arguments) == dict.fromkeys(BOTH, 0.5)


@pytest.mark.parametrize(
    ("labels", "others", "message"),
    [
        (torch.tensor([0, 1]), None, r"query_labels must be multi-hot of shape \(N, num_classes\), got shape \(2,\)"),
        (torch.tensor([[0, 2], [0, 1]]), None, "query_labels must be 0 or 1 for every class, got values from 0 to 2"),
        (torch.eye(2), torch.eye(3), r"reference_labels must be multi-hot of shape \(N, 2\), got shape \(3, 3\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, others, message):
    calculator = MultiLabelAccuracyCalculator(device=CPU)
    reference = None if others is None else torch.rand(3, 4)
    with pytest.raises(ValueError, match=message):
        calculator.get_accuracy(torch.rand(2, 4), labels, reference, others)


def test_scores_of_clustering_are_refused():
    with pytest.raises(ValueError, match="got 'NMI', which is not supported"):
        MultiLabelAccuracyCalculator(include=("NMI",))
    assert not {"NMI", "AMI"} & set(MultiLabelAccuracyCalculator(device=CPU).get_curr_metrics())
