import numpy as np
import pytest
import torch
from torch import nn

from pml_proxyext.benchmark.datasets import MemorySet
from pml_proxyext.benchmark.evaluation import METRICS, Evaluator


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    classes = np.repeat(np.arange(6), [3, 4, 5, 4, 3, 5])
    images = generator.integers(0, 256, (len(classes), 3, 3), dtype=np.uint8)
    images[:, 0] = (
        255 * np.eye(6, 3)[classes] + 100 * np.eye(6, 3, -3)[classes]
    )  # classes are partly separable, so that scores lie between 0 and 1
    return MemorySet(images, classes, range(6), list("abcdef"))


def naive_scores(embeddings, labels):
    directions = embeddings / embeddings.norm(dim=1, keepdim=True)
    firsts, precisions, average_precisions = [], [], []
    for i in range(len(labels)):
        others = [j for j in range(len(labels)) if j != i]
        ranked = sorted(others, key=lambda j: -float(directions[i] @ directions[j]))
        hits = [bool(labels[j] == labels[i]) for j in ranked]
        r = sum(hits)
        firsts.append(hits[0])
        precisions.append(sum(hits[:r]) / r)
        average_precisions.append(sum(sum(hits[: k + 1]) / (k + 1) for k in range(r) if hits[k]) / r)
    return dict(zip(METRICS, map(np.mean, (firsts, precisions, average_precisions)), strict=True))


def test_evaluator_scores_equal_a_naive_loop(data):
    scores = Evaluator(data)({"trunk": nn.Flatten(), "embedder": nn.Identity()}, 1)
    expected = naive_scores(data.images.flatten(1).double(), data.labels)
    assert scores == pytest.approx(expected, abs=6e-7)  # six decimals
    assert 0.1 < expected["mean_average_precision_at_r"] < 0.95


def test_evaluator_nmi_only_on_request(data):
    models = {"trunk": nn.Flatten(), "embedder": nn.Identity()}
    assert set(Evaluator(data)(models, 1)) == set(METRICS)
    assert 0 <= Evaluator(data, with_nmi=True)(models, 1)["NMI"] <= 1


def test_evaluator_keeps_norms_and_directions(data):
    evaluator = Evaluator(data)
    evaluator({"trunk": nn.Flatten(), "embedder": nn.Identity()}, 1)
    stored = evaluator.embeddings()
    flat = data.images.flatten(1)
    np.testing.assert_allclose(stored["norms"], flat.norm(dim=1).numpy(), rtol=1e-6)
    np.testing.assert_allclose(stored["embeddings"], torch.nn.functional.normalize(flat).numpy(), rtol=1e-6)
    assert (stored["labels"] == data.labels.numpy()).all()


def test_evaluator_embeddings_that_are_not_finite_score_nan(data):
    broken = MemorySet(np.full((4, 3), np.nan, np.float32), np.array([0, 0, 1, 1]), [0, 1], ["a", "b"])
    scores = Evaluator(broken)({"trunk": nn.Flatten(), "embedder": nn.Identity()}, 1)
    assert set(scores) == set(METRICS)
    assert all(np.isnan(score) for score in scores.values())


def test_evaluator_with_a_gallery_looks_the_queries_up_in_it(data):
    other = np.random.default_rng(1)
    gallery = MemorySet(
        np.concatenate([data.samples[:, 0].numpy(), other.integers(0, 256, (6, 3, 3), dtype=np.uint8)]),
        np.concatenate([data.labels.numpy(), np.arange(6)]),
        range(6),
        list("abcdef"),
    )
    models = {"trunk": nn.Flatten(), "embedder": nn.Identity()}
    evaluator = Evaluator(data, gallery=gallery, recall_at=(1, 2, 50))
    scores = evaluator(models, 1)
    assert scores["precision_at_1"] == scores["recall_at_1"] == 1.0  # each query is in the gallery itself
    assert set(scores) == {*METRICS, "recall_at_1", "recall_at_2", "recall_at_50"}
    assert len(evaluator.embeddings()["labels"]) == len(evaluator.embeddings()["norms"]) == len(data)
    np.testing.assert_allclose(evaluator.embeddings()["norms"], data.images.flatten(1).norm(dim=1).numpy(), rtol=1e-6)
    queries, references = (nn.functional.normalize(part.images.flatten(1).double()) for part in (data, gallery))
    order = (queries @ references.T).argsort(1, descending=True)
    precisions = []
    for ranked, label in zip(gallery.labels[order], data.labels, strict=True):
        r = int((gallery.labels == label).sum())
        precisions.append(float((ranked[:r] == label).float().mean()))
    assert scores["r_precision"] == pytest.approx(np.mean(precisions), abs=1e-6)
