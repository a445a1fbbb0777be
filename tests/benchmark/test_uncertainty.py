import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from pml_proxyext.benchmark.__main__ import main
from pml_proxyext.benchmark.datasets import MemorySet
from pml_proxyext.benchmark.datasets.degraded import degradations
from pml_proxyext.benchmark.results import append_result, read_results
from pml_proxyext.benchmark.run import Run, execute
from pml_proxyext.benchmark.uncertainty import (
    CONDITIONS,
    REJECTED,
    evaluate_uncertainty,
    measure,
    read_uncertainty,
)
from pml_proxyext.benchmark.uncertainty_report import TABLES, uncertainty_summaries


@pytest.fixture
def clean():
    """Six classes of strokes, noisy enough that some queries go wrong."""
    generator = np.random.default_rng(0)
    classes = np.repeat(np.arange(6), 5)
    patterns = generator.integers(0, 256, (6, 12, 12))
    noise = generator.integers(-190, 190, (30, 12, 12))
    images = np.clip(patterns[classes] + noise, 0, 255).astype(np.uint8)
    return MemorySet(images, classes, range(6), list("abcdef"))


@pytest.fixture
def models():
    torch.manual_seed(0)
    return {"trunk": nn.Flatten(), "embedder": nn.Linear(144, 8)}


def naive_auroc(positive, negative):
    return np.mean([[(a > b) + (a == b) / 2 for b in negative] for a in positive])


def naive_queries(models, clean, degraded):
    """Return (wrong, norm, cosine) of each query of each level, by loops."""

    def embed(images):
        with torch.no_grad():
            return models["embedder"](images.double().flatten(1) / 255).numpy()

    models["embedder"].double()
    gallery, labels = embed(clean.samples), clean.labels.tolist()
    versions = {"clean": (gallery, list(range(len(labels))))}
    versions |= {part.name: (embed(part.images), part.partners.tolist()) for part in degraded}
    models["embedder"].float()
    found = {}
    for name, (queries, partners) in versions.items():
        found[name] = []
        for i, query in enumerate(queries):
            others = [j for j in range(len(labels)) if j not in (i, partners[i])]
            lengths = {j: np.linalg.norm(query) * np.linalg.norm(gallery[j]) for j in others}
            cosines = {j: query @ gallery[j] / lengths[j] for j in others}
            nearest = max(others, key=cosines.get)
            found[name].append((labels[nearest] != labels[i], np.linalg.norm(query), cosines[nearest]))
    return found


def test_measure_equals_naive_loops(clean, models):
    degraded = list(degradations(clean.samples, clean.labels))
    scores, curves = measure(models, clean, degraded)
    found = naive_queries(models, clean, degraded)
    for condition, parts in CONDITIONS.items():
        wrong, norm, similarity = map(np.array, zip(*(query for part in parts for query in found[part]), strict=True))
        assert 0 < wrong.mean() < 1, condition
        assert scores[f"{condition}/precision_at_1"] == pytest.approx(1 - wrong.mean(), abs=1e-6)
        assert scores[f"{condition}/median_norm"] == pytest.approx(np.median(norm), rel=1e-5)
        for name, certainty in (("norm", norm), ("similarity", similarity)):
            expected = naive_auroc(-certainty[wrong], -certainty[~wrong])
            assert scores[f"{condition}/error_auroc_{name}"] == pytest.approx(expected, abs=1e-6)
            kept = wrong[np.argsort(-certainty)]
            area = np.mean([kept[:k].mean() for k in range(1, len(kept) + 1)])
            assert scores[f"{condition}/rejection_area_{name}"] == pytest.approx(area, abs=1e-6)
            column = 1 if name == "norm" else 2
            dirty = [-query[column] for part in parts if part != "clean" for query in found[part]]
            if dirty:
                expected = naive_auroc(dirty, [-query[column] for query in found["clean"]])
                assert scores[f"{condition}/degraded_auroc_{name}"] == pytest.approx(expected, abs=1e-6)
            if condition == "all":
                left = [kept[: len(kept) - round(fraction * len(kept))].mean() for fraction in REJECTED]
                assert curves[name] == pytest.approx(left, abs=1e-6)
    assert "clean/degraded_auroc_norm" not in scores


def test_measure_with_a_scaled_embedding_changes_the_norms_alone(clean, models):
    degraded = list(degradations(clean.samples, clean.labels))
    before, _ = measure(models, clean, degraded)
    with torch.no_grad():
        for parameter in models["embedder"].parameters():
            parameter.mul_(4)
    after, _ = measure(models, clean, degraded)
    for name, score in before.items():
        assert after[name] == pytest.approx(4 * score if name.endswith("median_norm") else score, rel=1e-5), name


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_measure_of_a_diverged_network_is_nan(clean, models, value):
    with torch.no_grad():
        models["embedder"].bias[0] = value
    scores, curves = measure(models, clean, list(degradations(clean.samples, clean.labels)))
    shown = {name: score for name, score in scores.items() if not np.isnan(score)}
    assert shown == {}
    assert np.isnan(list(curves.values())).all()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder with three measured smoke runs."""
    folder = tmp_path_factory.mktemp("results")
    for run in (Run("untrained", smoke=True), Run("el_vmf", smoke=True), Run("el_vmf", seed=1, smoke=True)):
        execute(run, folder)
    assert evaluate_uncertainty(folder, smoke=True, progress=False) == 3
    return folder


def test_every_run_is_measured_once(results):
    assert evaluate_uncertainty(results, smoke=True, progress=False) == 0
    lines, runs = read_uncertainty(results), read_results(results)
    assert [line["run"] for line in lines] == [run["key"] for run in runs]
    for line, run in zip(lines, runs, strict=True):
        assert line["recipe"] == run["recipe"]
        assert line["seed"] == run["seed"]
        assert line["environment"] == run["environment"]
        assert {condition.split("/")[0] for condition in line["metrics"] if "/" in condition} == set(CONDITIONS)
        assert len(line["rejection"]["norm"]) == len(REJECTED)


def test_clean_queries_score_as_in_the_run(results):
    for line in read_uncertainty(results):
        assert line["metrics"]["clean/precision_at_1"] == pytest.approx(line["metrics"]["precision_at_1"], abs=1e-6)


def test_broken_lines_and_other_measurements_are_left_aside(results, tmp_path):
    (tmp_path / "uncertainty").mkdir()
    lines = (results / "uncertainty" / "runs.jsonl").read_text().splitlines()
    other = json.dumps({**json.loads(lines[1]), "measurement": "another", "key": "another"})
    (tmp_path / "uncertainty" / "runs.jsonl").write_text("\n".join([lines[0], lines[1][:-9], other, ""]))
    with pytest.warns(UserWarning, match="line 2 is no result and is skipped"):
        kept = read_uncertainty(tmp_path)
    assert [line["key"] for line in kept] == [json.loads(lines[0])["key"]]


def test_only_runs_with_models_are_measured(results, tmp_path):
    (run,) = [run for run in read_results(results) if run["recipe"] == "el_vmf" and run["seed"] == 1]
    append_result(tmp_path, run)
    with pytest.raises(ValueError, match="results must hold a run on glyphs with its models"):
        evaluate_uncertainty(tmp_path, smoke=True)
    (tmp_path / "models").mkdir()
    models = f"{run['key']}.pt"
    (tmp_path / "models" / models).write_bytes((results / "models" / models).read_bytes())
    append_result(tmp_path, {**run, "key": "without"})
    assert evaluate_uncertainty(tmp_path, recipes=["el_vmf"], smoke=True, progress=False) == 1
    (line,) = read_uncertainty(tmp_path)
    assert line["metrics"] == next(each for each in read_uncertainty(results) if each["run"] == run["key"])["metrics"]


def test_commands_measure_and_show(results, tmp_path, capsys):
    folder = ["--results", str(results), "--smoke"]
    assert main(["uncertainty", *folder]) == 0
    assert "0 runs" in capsys.readouterr().out
    page = tmp_path / "page.md"
    for kind in TABLES:
        marker = f"{kind}:{results.name}"
        page.write_text(f"<!-- {marker} -->\n<!-- /{marker} -->\n")
        assert main(["table", *folder, "--kind", kind, "--into", str(page)]) == 0
        expected = TABLES[kind](uncertainty_summaries(results, smoke=True)).markdown()
        assert page.read_text() == f"<!-- {marker} -->\n{expected}<!-- /{marker} -->\n"
    assert main(["plot", *folder, "--figures", str(tmp_path)]) == 0
    assert (tmp_path / "uncertainty_norms.png").is_file()
