"""CMC and mAP across cameras against stored numbers, loops over queries, and PML's tester."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning.distances import BaseDistance, DotProductSimilarity
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import nn
from torch.utils.data import TensorDataset

from pml_proxyext.testers import CrossCameraAccuracyCalculator, RankCalculator, camera_labels

CASES = json.loads((Path(__file__).parents[1] / "golden" / "crossgan.json").read_text())["cmc"]
CPU = torch.device("cpu")


class Stored(BaseDistance):
    """Distances from a table; an embedding is the number of its row or column."""

    def __init__(self, table):
        super().__init__(normalize_embeddings=False)
        self.table = torch.tensor(table, dtype=torch.float64)

    def compute_mat(self, query_emb, ref_emb):
        return self.table[query_emb[:, 0].long()][:, ref_emb[:, 0].long()]


def numbers(count):
    return torch.arange(count, dtype=torch.float64)[:, None]


def naive(scores, ids, among, cameras, among_cameras, k):
    """Rank by rank, of rows without ties: CMC at k and mAP over the queries that count."""
    hits, precisions = [], []
    for row, identity, camera in zip(scores, ids, cameras, strict=True):
        kept = [j for j in range(len(among)) if (among[j], among_cameras[j]) != (identity, camera)]
        order = sorted(kept, key=lambda j: -row[j])
        places = [place for place, j in enumerate(order, start=1) if among[j] == identity]
        if places:
            hits.append(places[0] <= k)
            precisions.append(np.mean([(i + 1) / place for i, place in enumerate(places)]))
    return (np.mean(hits), np.mean(precisions)) if hits else (math.nan, math.nan)


@pytest.mark.parametrize("case", CASES, ids=["small", "large"])
@pytest.mark.parametrize("pairs_at_once", [1, 100, 10**6])
def test_fixtures(case, pairs_at_once):
    labels = [camera_labels(*(torch.tensor(case[f"{side}_{name}"]) for name in ("id", "cam")), 9) for side in "qg"]
    calculator = CrossCameraAccuracyCalculator(
        num_cameras=9, distance=Stored(case["dist"]), pairs_at_once=pairs_at_once, device=CPU
    )
    found = calculator.get_accuracy(numbers(len(labels[0])), labels[0], numbers(len(labels[1])), labels[1])
    for name in (1, 5, 10):
        assert found[f"recall_at_{name}"] == pytest.approx(case[f"rank{name}"], rel=1e-9)
    assert found["mean_average_precision"] == pytest.approx(case["mAP"], rel=1e-9)
    ranks = [rank for rank in case["first_match_rank"] if rank is not None]
    assert len(ranks) == case["valid"]
    assert found["median_rank"] == np.median(ranks)


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_scores_are_those_of_a_loop(seed, num_ids, num_cameras, same):
    generator = torch.Generator().manual_seed(seed)
    items, queries = (torch.randn(count, 3, generator=generator, dtype=torch.float64) for count in (9, 5))
    queries = items[:5] if same else queries
    ids, among = (torch.randint(0, num_ids, (count,), generator=generator) for count in (5, 9))
    cameras, among_cameras = (torch.randint(0, num_cameras, (count,), generator=generator) for count in (5, 9))
    if same:
        ids, cameras = among[:5], among_cameras[:5]
    scores = queries @ items.T
    calculator = CrossCameraAccuracyCalculator(
        num_cameras, recall_at=(2,), distance=DotProductSimilarity(normalize_embeddings=False), device=CPU
    )
    query_labels = camera_labels(ids, cameras, num_cameras)
    labels = camera_labels(among, among_cameras, num_cameras)
    # A query that is in the gallery has its own identity and camera there, and is out in any case.
    found = calculator.get_accuracy(queries, query_labels, items, labels, ref_includes_query=same)
    expected = naive(*(part.tolist() for part in (scores, ids, among, cameras, among_cameras)), k=2)
    measured = found["recall_at_2"], found["mean_average_precision"]
    assert measured == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_two_cameras_that_see_everything_once_are_two_modalities():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 30, 4, generator=generator)
    ids = torch.arange(30)
    labels = [camera_labels(ids, torch.full_like(ids, camera), 2) for camera in (0, 1)]
    found = CrossCameraAccuracyCalculator(num_cameras=2, device=CPU).get_accuracy(a, labels[0], b, labels[1])
    assert found == RankCalculator(device=CPU).get_accuracy(a, ids, b, ids)


def test_ties_are_judged_by_expectation():
    ids = torch.arange(20).repeat(2)
    labels = camera_labels(ids, torch.arange(40) // 20, 2)
    found = CrossCameraAccuracyCalculator(num_cameras=2, device=CPU).get_accuracy(torch.ones(40, 3), labels)
    # 39 others, of which none is out: the one partner is in any place alike.
    assert [found[f"recall_at_{k}"] for k in (1, 5, 10)] == pytest.approx([1 / 39, 5 / 39, 10 / 39])


def test_items_of_the_same_camera_and_identity_are_out_and_others_of_that_camera_stay():
    gallery = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.5, 0.5]])  # nearest first
    labels = camera_labels(torch.tensor([0, 1, 0]), torch.tensor([0, 0, 1]), 2)
    calculator = CrossCameraAccuracyCalculator(num_cameras=2, recall_at=(1, 2), device=CPU)
    found = calculator.get_accuracy(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), gallery, labels)
    assert found == {"mean_average_precision": 0.5, "median_rank": 2.0, "recall_at_1": 0.0, "recall_at_2": 1.0}


def test_nothing_that_counts_is_nan_and_nan_is_visible():
    embeddings, calculator = torch.eye(4), CrossCameraAccuracyCalculator(num_cameras=2, device=CPU)
    alone = camera_labels(torch.arange(4), torch.zeros(4, dtype=torch.long), 2)
    assert all(math.isnan(value) for value in calculator.get_accuracy(embeddings, alone).values())
    pairs = camera_labels(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]), 2)
    broken = embeddings.clone()
    broken[3, 0] = math.nan
    assert all(math.isnan(value) for value in calculator.get_accuracy(broken, pairs).values())
    gallery = camera_labels(torch.zeros(3, dtype=torch.long), torch.tensor([0, 1, 0]), 2)
    for item in range(3):  # item 1 is out for this query, and NaN in it is a mistake all the same
        broken = embeddings[:3].clone()
        broken[item] = math.nan
        found = calculator.get_accuracy(embeddings[:1], torch.tensor([1]), broken, gallery)
        assert all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize("splits", [[("query", ["gallery"])], [("query", ["query", "gallery"])]])
def test_it_serves_in_the_tester_of_pml(splits):
    generator = torch.Generator().manual_seed(1)
    ids, cameras = torch.arange(24) % 6, torch.arange(24) % 4
    embeddings, labels = torch.randn(24, 3, generator=generator), camera_labels(ids, cameras, 4)
    data = {"query": TensorDataset(embeddings[:8], labels[:8]), "gallery": TensorDataset(embeddings[8:], labels[8:])}
    calculator = CrossCameraAccuracyCalculator(num_cameras=4, recall_at=(3,), device=CPU)
    tester = GlobalEmbeddingSpaceTester(accuracy_calculator=calculator, dataloader_num_workers=0, data_device=CPU)
    found = tester.test(data, 1, nn.Identity(), splits_to_eval=splits)["query"]
    units = nn.functional.normalize(embeddings)
    start = 0 if "query" in splits[0][1] else 8
    gallery = [part[start:].tolist() for part in (units, ids, cameras)]
    scores = (units[:8] @ units[start:].T).tolist()
    expected = naive(scores, ids[:8].tolist(), gallery[1], cameras[:8].tolist(), gallery[2], k=3)
    assert (found["recall_at_3_level0"], found["mean_average_precision_level0"]) == pytest.approx(expected)


def test_it_is_a_calculator_of_pml():
    assert isinstance(CrossCameraAccuracyCalculator(num_cameras=2, device=CPU), AccuracyCalculator)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.arange(3), torch.tensor([0, 1, 2]), 2), r"cameras must lie in \[0, 2\), got values from 0 to 2"),
        ((torch.arange(3), torch.zeros(2).long(), 2), "cameras must have one row for each row of ids"),
        ((torch.ones(3), torch.zeros(3).long(), 2), "ids must be integers"),
        ((torch.arange(3), torch.zeros(3).long(), 0), "num_cameras must be an integer >= 1, got 0"),
    ],
)
def test_bad_labels_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        camera_labels(*arguments)


def test_labels_of_two_columns_are_refused():
    labels = torch.zeros(4, 2, dtype=torch.long)
    with pytest.raises(ValueError, match=r"labels must be of shape \(N,\), see camera_labels, got \(4, 2\)"):
        CrossCameraAccuracyCalculator(num_cameras=2, device=CPU).get_accuracy(torch.eye(4), labels)
