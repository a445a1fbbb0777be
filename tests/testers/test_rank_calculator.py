"""Exact ranks against loops over queries, over all orders of ties, and against PML's calculator."""

import itertools
import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity, DotProductSimilarity, LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from pml_proxyext.testers import RankCalculator

CPU = torch.device("cpu")
KS = (1, 2, 5)
NAMES = ["mean_average_precision", "median_rank", *(f"recall_at_{k}" for k in KS)]


def make_calculator(**options):
    return RankCalculator(**{"recall_at": KS, "device": CPU, **options})


def naive_scores(scores, relevant):
    """One query: average of its scores over all orders of references that keep the scores falling."""
    groups = [np.flatnonzero(scores == value) for value in sorted(set(scores), reverse=True)]
    ranks, precisions, hits = [], [], []
    for orders in itertools.product(*(itertools.permutations(group) for group in groups)):
        hit = relevant[np.concatenate(orders).astype(int)]
        places = np.flatnonzero(hit) + 1
        ranks.append(places[0])
        precisions.append(np.mean([(i + 1) / place for i, place in enumerate(places)]))
        hits.append([places[0] <= k for k in KS])
    return np.mean(precisions), np.mean(ranks), *np.mean(hits, axis=0)


def naive(scores, relevant):
    rows = [naive_scores(s, r) for s, r in zip(scores, relevant, strict=True) if r.any()]
    columns = list(zip(*rows, strict=True))
    return [np.mean(columns[0]), np.median(columns[1]), *(np.mean(column) for column in columns[2:])]


def few_levels(seed, rows, generator=None):
    """Rows whose dot products are small integers, so that many are level, and exactly so."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 2, (rows, 3), generator=generator).float()


@pytest.mark.parametrize("seed", range(6))
def test_scores_are_averages_over_all_orders_of_ties(seed):
    query, reference = few_levels(seed, 9), few_levels(100 + seed, 7)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (9,), generator=generator)
    reference_labels = torch.randint(0, 3, (7,), generator=generator)  # nothing is relevant to label 3
    calculator = make_calculator(distance=DotProductSimilarity(normalize_embeddings=False))
    found = calculator.get_accuracy(query, labels, reference, reference_labels)
    scores, relevant = (query @ reference.T).numpy(), (labels[:, None] == reference_labels).numpy()
    assert [found[name] for name in NAMES] == pytest.approx(naive(scores, relevant), rel=1e-12)


@pytest.mark.parametrize("distance", [CosineSimilarity(), LpDistance(normalize_embeddings=False)])
def test_multi_hot_labels_are_relevant_if_they_share_a_class(distance):
    generator = torch.Generator().manual_seed(0)
    query, reference = torch.randn(12, 4, generator=generator), torch.randn(6, 4, generator=generator)
    labels, reference_labels = (torch.rand(n, 5, generator=generator) < 0.25 for n in (12, 6))
    found = make_calculator(distance=distance).get_accuracy(query, labels.float(), reference, reference_labels)
    mat = distance(query.double(), reference.double())
    relevant = [[bool((a & b).any()) for b in reference_labels] for a in labels]
    assert not np.array(relevant).any(1).all()  # a query without relevant references is left out
    expected = naive((mat if distance.is_inverted else -mat).numpy(), np.array(relevant))
    assert [found[name] for name in NAMES] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("same", [False, True])
def test_average_precision_and_recall_at_1_are_those_of_pml_without_ties(same):
    generator = torch.Generator().manual_seed(1)
    query = torch.nn.functional.normalize(torch.randn(40, 5, generator=generator))
    labels = torch.arange(40) % 7
    reference, among = torch.nn.functional.normalize(torch.randn(60, 5, generator=generator)), torch.arange(60) % 6
    data = (query, labels) if same else (query, labels, reference, among)
    theirs = AccuracyCalculator(include=("mean_average_precision", "precision_at_1"), k=39 if same else 60, device=CPU)
    expected, found = theirs.get_accuracy(*data), make_calculator().get_accuracy(*data)
    assert found["mean_average_precision"] == pytest.approx(expected["mean_average_precision"], rel=1e-6)
    assert found["recall_at_1"] == pytest.approx(expected["precision_at_1"], rel=1e-6)


def test_embeddings_that_are_all_alike_score_by_chance():
    count = 50
    found = make_calculator().get_accuracy(*[torch.ones(count, 3), torch.arange(count)] * 2)
    assert found["median_rank"] == (count + 1) / 2
    assert [found[f"recall_at_{k}"] for k in KS] == pytest.approx([k / count for k in KS], rel=1e-9)
    assert found["mean_average_precision"] == pytest.approx(sum(1 / k for k in range(1, count + 1)) / count)


def test_scores_do_not_depend_on_the_order_of_references_nor_on_the_size_of_chunks():
    generator = torch.Generator().manual_seed(2)
    reference = torch.randn(40, 33, generator=generator)[torch.randint(0, 40, (300,), generator=generator)]
    among = torch.randint(0, 30, (300,), generator=generator)
    query, labels = torch.randn(70, 33, generator=generator), torch.randint(0, 30, (70,), generator=generator)
    expected = make_calculator().get_accuracy(query, labels, reference, among)
    for pairs_at_once in (1, 900, 6100, 10**9):
        shuffled = torch.randperm(300, generator=generator)
        calculator = make_calculator(pairs_at_once=pairs_at_once)
        found = calculator.get_accuracy(query, labels, reference[shuffled], among[shuffled])
        assert found == pytest.approx(expected, rel=1e-12)


def test_references_that_are_alike_are_level_even_if_their_sums_differ_in_the_last_digits():
    class Unsteady(CosineSimilarity):
        def compute_mat(self, query_emb, ref_emb):
            mat = super().compute_mat(query_emb, ref_emb)
            return mat + 1e-14 * torch.arange(mat.shape[1])

    reference = torch.randn(1, 3, generator=torch.Generator().manual_seed(0)).expand(20, 3)
    data = (reference[:3], torch.full((3,), 19), reference, torch.arange(20))  # by the last digits, 19 is the nearest
    assert make_calculator(distance=Unsteady()).get_accuracy(*data)["median_rank"] == 10.5


def test_queries_are_not_found_among_themselves():
    embeddings = few_levels(3, 7)
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 0])
    calculator = make_calculator(distance=DotProductSimilarity(normalize_embeddings=False), pairs_at_once=20)
    found = calculator.get_accuracy(embeddings, labels)
    others = [np.flatnonzero(np.arange(7) != row) for row in range(7)]
    scores = np.array([(embeddings @ embeddings.T)[row, rest].numpy() for row, rest in enumerate(others)])
    relevant = np.array([(labels[rest] == labels[row]).numpy() for row, rest in enumerate(others)])
    assert [found[name] for name in NAMES] == pytest.approx(naive(scores, relevant), rel=1e-12)


def test_recall_among_many_ties_is_exact():
    """A thousand level references, one relevant: the logarithms of factorials must not cost digits."""
    count = 1000
    query, reference = torch.ones(1, 2), torch.ones(count, 2)
    found = make_calculator(recall_at=(10, 999, 1000, 5000)).get_accuracy(
        query, torch.tensor([3]), reference, torch.arange(count)
    )
    recalls = [found[f"recall_at_{k}"] for k in (10, 999, 1000, 5000)]
    assert recalls == pytest.approx([0.01, 0.999, 1.0, 1.0], abs=1e-11)


def test_nan_is_visible_and_no_relevant_reference_is_nan():
    embeddings, labels = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8)
    calculator = make_calculator()
    broken = embeddings.clone()
    broken[5, 1] = math.nan
    for query, reference, among in (
        (broken, embeddings, labels),
        (embeddings, broken, labels),
        (embeddings, embeddings, labels + 8),
        (embeddings[:0], embeddings, labels),
    ):
        found = calculator.get_accuracy(query, labels[: len(query)], reference, among)
        assert list(found) == NAMES
        assert all(math.isnan(score) for score in found.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes(dtype):
    embeddings = torch.eye(5, dtype=dtype)
    found = make_calculator().get_accuracy(embeddings, torch.arange(5), embeddings.flip(0), torch.arange(5).flip(0))
    assert found == {"mean_average_precision": 1, "median_rank": 1} | {f"recall_at_{k}": 1 for k in KS}


def test_metrics_can_be_chosen():
    embeddings = torch.eye(3)
    found = make_calculator().get_accuracy(
        embeddings, torch.arange(3), embeddings, torch.arange(3), include=["median_rank"]
    )
    assert found == {"median_rank": 1.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recall_at": [0]}, "recall_at must be an integer >= 1, got 0"),
        ({"pairs_at_once": 0}, "pairs_at_once must be an integer >= 1, got 0"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_calculator(**options)


@pytest.mark.parametrize(
    ("labels", "among", "message"),
    [
        (torch.arange(2), torch.arange(4), "query_labels must have one row for each row of query"),
        (torch.arange(3), torch.arange(3), "reference_labels must have one row for each row of reference"),
        (torch.ones(3, 2), torch.ones(4, 5), r"must have shapes .* got \(3, 2\) and \(4, 5\)"),
        (torch.arange(3), torch.ones(4, 5), r"must have shapes .* got \(3,\) and \(4, 5\)"),
    ],
)
def test_bad_labels_are_named(labels, among, message):
    with pytest.raises(ValueError, match=message):
        make_calculator().get_accuracy(torch.ones(3, 2), labels, torch.ones(4, 2), among)
