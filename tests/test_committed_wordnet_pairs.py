"""What the page of PairSupCon shows of WordNet's pairs is rendered from a committed file, and says what that says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.sentence_pairs import METHODS
from pml_proxyext.benchmark.summaries import Estimate

ROOT = Path(__file__).parents[1]
PAGE, RESULTS = ROOT / "docs" / "pairsupcon.md", ROOT / "docs" / "results" / "wordnet_pairs"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("wordnet_pairs", ROOT / "examples" / "wordnet_pairs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = load()
RECORDS = read_results(RESULTS)


def test_tables_and_figure_are_rendered_from_the_committed_file(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    SCRIPT.EXPERIMENT.main("What.", ["--table", "--results", str(RESULTS), "--into", str(page)])
    assert page.read_text() == PAGE.read_text()
    assert "](figures/wordnet_pairs.png)" in PAGE.read_text()
    assert (ROOT / "docs" / "figures" / "wordnet_pairs.png").is_file()


def test_every_run_is_there_once_from_one_environment_and_one_commit() -> None:
    settings = [tuple(setting.values()) for setting in SCRIPT.EXPERIMENT.settings]
    assert sorted((r["recipe"], r["seed"], r["texts"], r["steps"]) for r in RECORDS) == sorted(settings)
    assert len({str(record["environment"]) for record in RECORDS}) == 1
    (commit,) = {record["commit"] for record in RECORDS}
    assert not commit.endswith("+")


@pytest.mark.parametrize("recipe", METHODS)
def test_every_method_had_the_same_search_and_took_its_best_trial(recipe: str) -> None:
    trials = METHODS[recipe].trials(SCRIPT.TRIALS)
    for record in (r for r in RECORDS if r["recipe"] == recipe):
        assert [{k: v for k, v in one.items() if k not in SCRIPT.METRICS} for one in record["search"]] == trials
        assert record["tuned"] == trials[int(np.argmax([one["NMI"] for one in record["search"]]))]


def test_accuracy_counts_each_cluster_for_one_class() -> None:
    classes, clusters = np.array([0, 0, 0, 1, 1, 2]), np.array([2, 2, 0, 0, 0, 0])
    # The third class has the cluster that is left: none of its own samples is there.
    assert SCRIPT.accuracy(classes, clusters) == pytest.approx(4 / 6)


@pytest.mark.parametrize(("metric", "at_most"), [("NMI", 0.004), ("ACC", 0.007)])
def test_no_loss_improved_the_clusters(metric: str, at_most: float) -> None:
    encoder, *others = (scores[metric] for scores in SCRIPT.by_recipe(RECORDS).values())
    for scores in others:
        difference = Estimate.of(np.subtract(scores, encoder).tolist())
        assert abs(difference.mean) < min(at_most, difference.half_width)


def test_what_was_gained_on_words() -> None:
    encoder, *others = SCRIPT.by_recipe(RECORDS).values()
    gains = {
        (recipe, name): np.subtract(scores[name], encoder[name])
        for recipe, scores in zip(list(METHODS)[1:], others, strict=True)
        for name in ("SimLex-999", "WordSim-353")
    }
    contrast = gains.pop(("Contrast, c = 0", "WordSim-353"))
    assert contrast.min() > 0.011
    assert contrast.max() < 0.018
    assert gains["Siamese, cosine regression", "SimLex-999"].min() > 0.002
    assert gains["Siamese, cosine regression", "WordSim-353"].max() < -0.003
    assert all(abs(gain.mean()) < 0.006 for gain in gains.values())


def test_losses_on_embeddings_do_harm_at_high_rates_and_pairsupcon_does_not() -> None:
    trials = SCRIPT.of_trials(RECORDS)
    lowest = {recipe: min(one["NMI"] for one in tried) for recipe, tried in trials.items()}
    harmed = [lowest.pop(name) for name in ("Triplet", "Siamese, contrastive", "Siamese, cosine regression")]
    assert max(harmed) < 0.32
    assert min(lowest.values()) > 0.41
