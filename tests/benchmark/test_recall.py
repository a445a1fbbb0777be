import pytest
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from pml_proxyext.benchmark.evaluation import METRICS
from pml_proxyext.benchmark.recall import RecallCalculator


def batch(seed, n=40, classes=6, dim=3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    return torch.randn(n, dim, generator=generator) + 0.6 * torch.nn.functional.one_hot(labels, classes)[
        :, :dim
    ], labels


def naive_recall(query, query_labels, reference, reference_labels, k, leave_out_itself):
    hits = []
    for i in range(len(query)):
        others = [j for j in range(len(reference)) if not (leave_out_itself and i == j)]
        if not any(reference_labels[j] == query_labels[i] for j in others):
            continue  # nothing to find
        ranked = sorted(others, key=lambda j: float((query[i] - reference[j]).norm()))
        hits.append(any(reference_labels[j] == query_labels[i] for j in ranked[:k]))
    return sum(hits) / len(hits)


@pytest.mark.parametrize("seed", range(3))
def test_recall_equals_a_naive_loop_each_query_against_all_others(seed):
    embeddings, labels = batch(seed)
    labels[-1] = 99  # the only one of its class: it does not count
    scores = RecallCalculator([1, 2, 4, 8, 1000], METRICS).get_accuracy(embeddings, labels)
    for k in (1, 2, 4, 8):
        expected = naive_recall(embeddings, labels, embeddings, labels, k, True)
        assert scores[f"recall_at_{k}"] == pytest.approx(expected, abs=1e-12)
    assert scores["recall_at_1000"] == 1.0  # more than there are
    assert scores["recall_at_1"] == pytest.approx(scores["precision_at_1"])
    assert 0.05 < scores["recall_at_1"] < scores["recall_at_4"] < 1


def test_recall_equals_a_naive_loop_in_a_gallery():
    (query, query_labels), (gallery, gallery_labels) = batch(0, n=20), batch(1, n=30)
    query_labels[0] = 77  # nothing to find in the gallery
    scores = RecallCalculator([1, 3], METRICS).get_accuracy(query, query_labels, gallery, gallery_labels)
    for k in (1, 3):
        expected = naive_recall(query, query_labels, gallery, gallery_labels, k, False)
        assert scores[f"recall_at_{k}"] == pytest.approx(expected, abs=1e-12)


def test_recall_never_falls_with_k():
    scores = RecallCalculator(range(1, 20), []).get_accuracy(*batch(5))
    values = [scores[f"recall_at_{k}"] for k in range(1, 20)]
    assert values == sorted(values)


@pytest.mark.parametrize("recall_at", [(), (30,)])
def test_other_metrics_are_those_of_pml(recall_at):
    embeddings, labels = batch(2)
    expected = AccuracyCalculator(include=METRICS, k="max_bin_count", device=torch.device("cpu"))
    found = RecallCalculator(recall_at, METRICS).get_accuracy(embeddings, labels)
    assert {name: found[name] for name in METRICS} == expected.get_accuracy(embeddings, labels)


def test_recall_at_nothing_is_an_error():
    with pytest.raises(ValueError, match="recall_at must be an integer >= 1, got 0"):
        RecallCalculator([0], METRICS)
