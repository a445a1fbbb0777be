"""Scores of each learner alone, against loops over digits whose bands of rows are the learners."""

from __future__ import annotations

import csv
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.utils import logging_presets
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from pml_proxyext.testers import PerLearnerTester

CPU, LEARNERS = torch.device("cpu"), 4
METRICS = ("precision_at_1", "mean_average_precision_at_r")


def make_tester(learners: int = LEARNERS, **options: Any) -> PerLearnerTester:
    calculator = AccuracyCalculator(include=METRICS, device=CPU)
    return PerLearnerTester(
        learners, accuracy_calculator=calculator, dataloader_num_workers=0, data_device=CPU, **options
    )


def digits(start: int = 0, count: int = 120) -> TensorDataset:
    """Return digits as 64 pixels: two rows of the image for each of four learners."""
    pixels, labels = load_digits(return_X_y=True)
    part = slice(start, start + count)
    return TensorDataset(torch.from_numpy(pixels[part]).float(), torch.from_numpy(labels[part]))


def units(pixels: Tensor) -> np.ndarray:
    parts = pixels.double().numpy().reshape(len(pixels), LEARNERS, -1)
    norms = np.linalg.norm(parts, axis=2, keepdims=True)
    return parts / np.where(norms > 0, norms, 1)


def naive(queries: np.ndarray, labels: Any, references: np.ndarray, others: Any, same: bool) -> tuple[float, float]:
    """Return precision at 1 and MAP@R, one query at a time."""
    hits, averages = [], []
    for i, query in enumerate(queries):
        allowed = [j for j in range(len(references)) if not (same and i == j)]
        order = sorted(allowed, key=lambda j: -float(query @ references[j]))
        relevant = [int(others[j] == labels[i]) for j in order]
        r = sum(relevant)
        hits.append(relevant[0])
        averages.append(sum(sum(relevant[: k + 1]) / (k + 1) for k in range(r) if relevant[k]) / r)
    return float(np.mean(hits)), float(np.mean(averages))


def test_every_learner_scores_as_in_a_loop_over_its_part_of_real_digits() -> None:
    data = digits()
    scores = make_tester().test({"val": data}, 2, nn.Identity())["val"]
    parts, labels = units(data.tensors[0]), data.tensors[1]
    expected = [naive(parts[:, m], labels, parts[:, m], labels, same=True) for m in range(LEARNERS)]
    assert len({round(value, 3) for value, _ in expected}) > 1  # bands of rows are not equally telling
    for position, metric in enumerate(METRICS):
        alone = [scores[f"learner{m}_{metric}_level0"] for m in range(LEARNERS)]
        # Ties between digits whose band is the same to the last grey may fall either way: two queries in 120.
        assert alone == pytest.approx([values[position] for values in expected], abs=2 / 120)
        assert scores[f"learner_mean_{metric}_level0"] == pytest.approx(np.mean(alone))
    assert scores["epoch"] == 2


def test_the_whole_scores_as_by_pml() -> None:
    data = digits()
    scores = make_tester().test({"val": data}, 1, nn.Identity())["val"]
    calculator = AccuracyCalculator(include=METRICS, device=CPU)
    plain = GlobalEmbeddingSpaceTester(accuracy_calculator=calculator, dataloader_num_workers=0, data_device=CPU)
    expected = plain.test({"val": data}, 1, nn.Identity())["val"]
    assert {name: scores[name] for name in expected} == dict(expected)


def test_the_cosine_is_the_mean_over_pairs_of_learners_and_queries() -> None:
    data = {"query": digits(0, 40), "gallery": digits(40, 90)}
    scores = make_tester().test(data, 1, nn.Identity(), splits_to_eval=[("query", ["gallery"])])["query"]
    parts = units(data["query"].tensors[0])
    cosines = [float(row[p] @ row[q]) for row in parts for p, q in combinations(range(LEARNERS), 2)]
    assert scores["self_pair_cosine"] == pytest.approx(np.mean(cosines), rel=1e-5)


def test_references_may_be_others() -> None:
    queries, gallery = digits(0, 40), digits(40, 90)
    tester = make_tester()
    scores = tester.test(
        {"query": queries, "gallery": gallery}, 1, nn.Identity(), splits_to_eval=[("query", ["gallery"])]
    )["query"]
    for m in range(LEARNERS):
        found, looked_up = units(queries.tensors[0])[:, m], units(gallery.tensors[0])[:, m]
        expected = naive(found, queries.tensors[1], looked_up, gallery.tensors[1], same=False)
        assert scores[f"learner{m}_precision_at_1_level0"] == pytest.approx(expected[0], abs=2 / 40)
        assert scores[f"learner{m}_mean_average_precision_at_r_level0"] == pytest.approx(expected[1], abs=1 / 40)


def test_lengths_of_parts_count_only_without_normalisation() -> None:
    flat = torch.tensor([[3.0, 0.0], [0.5, 0.4], [3.0, 2.5], [0.4, 0.0]])  # near by direction, or by place
    data = TensorDataset(flat.repeat(1, 2), torch.tensor([0, 1, 1, 0]))
    by_direction = make_tester(2).test({"val": data}, 1, nn.Identity())["val"]
    by_place = make_tester(2, normalize_embeddings=False).test({"val": data}, 1, nn.Identity())["val"]
    assert by_direction["learner1_precision_at_1_level0"] == 1
    assert by_place["learner1_precision_at_1_level0"] == 0
    assert by_place["self_pair_cosine"] == pytest.approx(1)


def test_several_levels_have_averages() -> None:
    pixels, labels = digits().tensors
    data = TensorDataset(pixels, torch.stack([labels, labels % 2], dim=1))
    scores = make_tester(label_hierarchy_level="all").test({"val": data}, 1, nn.Identity())["val"]
    levels = [scores[f"learner3_precision_at_1_level{level}"] for level in (0, 1)]
    assert levels[0] < levels[1]
    assert scores["learner3_AVERAGE_precision_at_1"] == pytest.approx(np.mean(levels))


def test_one_learner_has_no_cosine_and_scores_as_the_whole() -> None:
    scores = make_tester(1).test({"val": digits()}, 1, nn.Identity())["val"]
    assert math.isnan(scores["self_pair_cosine"])
    assert scores["learner0_precision_at_1_level0"] == scores["precision_at_1_level0"]


@pytest.mark.parametrize("levels", [0, "all"])
def test_embeddings_that_are_not_finite_are_seen(levels: Any) -> None:
    pixels, labels = digits(count=20).tensors
    finite = make_tester(label_hierarchy_level=levels)
    data = TensorDataset(pixels, torch.stack([labels, labels % 2], dim=1))
    expected = set(finite.test({"val": data}, 1, nn.Identity())["val"])
    broken = pixels.clone()
    broken[3, 5] = math.nan
    data = TensorDataset(broken, torch.stack([labels, labels % 2], dim=1))
    scores = make_tester(label_hierarchy_level=levels).test({"val": data}, 1, nn.Identity())["val"]
    assert scores.pop("epoch") == 1
    assert set(scores) == expected - {"epoch"}
    assert all(math.isnan(value) for value in scores.values())


def test_pml_writes_the_scores_down_and_keeps_the_best_model_by_one_of_them(tmp_path: Path) -> None:
    keeper, *_ = logging_presets.get_record_keeper(str(tmp_path / "csv"), str(tmp_path / "tensorboard"))
    hooks = logging_presets.get_hook_container(keeper, primary_metric="learner_mean_precision_at_1")
    tester = make_tester(end_of_testing_hook=hooks.end_of_testing_hook)
    scores = tester.test({"val": digits()}, 1, nn.Identity())["val"]
    keeper.save_records()
    (path,) = (tmp_path / "csv").glob("*ccurac*.csv")
    (row,) = csv.DictReader(path.open())
    assert float(row["self_pair_cosine"]) == pytest.approx(scores["self_pair_cosine"])
    best = hooks.get_best_epoch_and_accuracy(tester, "val")
    assert best == (1, pytest.approx(scores["learner_mean_precision_at_1_level0"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learners": 0}, "num_learners must be an integer >= 1, got 0"),
        ({"pca": 2}, "pca is not supported"),
    ],
)
def test_invalid_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_tester(**arguments)


def test_a_width_that_the_learners_do_not_divide_is_named() -> None:
    with pytest.raises(ValueError, match=r"width divisible by num_learners 5, got shape \(120, 64\)"):
        make_tester(5).test({"val": digits()}, 1, nn.Identity())
