"""What the page of CrossCLR shows of emoji in pictures and in words is rendered from committed result files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pml_proxyext.benchmark.comparison import paired_differences
from pml_proxyext.benchmark.experiments import Experiment
from pml_proxyext.benchmark.summaries import summarise
from pml_proxyext.benchmark.two_views.methods import METHODS
from tests.committed import assert_complete, assert_page_shows, assert_tables_are_rendered, load_example, records

SCRIPT = load_example("emoji_image_to_text")
EXPERIMENTS: list[Experiment] = [SCRIPT.SEARCH, SCRIPT.EXPERIMENT]


def test_the_page_shows_every_table_once_and_the_figure() -> None:
    assert_page_shows("crossclr.md", EXPERIMENTS, [SCRIPT.EXPERIMENT.name])


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_tables_are_rendered_from_complete_committed_files(experiment: Experiment, tmp_path: Path) -> None:
    assert_tables_are_rendered("crossclr.md", experiment, tmp_path)
    assert_complete(experiment)
    assert {record["steps"] for record in records(experiment.name)} == {300}


def test_every_method_had_the_same_budget_and_tests_use_the_best_of_the_search() -> None:
    searched, tested = records("search_emoji_text"), records("emoji_text")
    assert {(record["split"], record["seed"]) for record in searched} == {("validation", 0)}
    assert {record["split"] for record in tested} == {"test"}
    for name in METHODS:
        trials = [record for record in searched if record["recipe"] == name]
        assert [trial["overrides"] for trial in trials] == METHODS[name].trials(12)
        best = max(trials, key=lambda trial: trial["metrics"]["mean_average_precision"])
        runs = [record for record in tested if record["recipe"] == name]
        assert [run["seed"] for run in runs] == list(range(10))
        assert all(run["tuned"] == best["overrides"] for run in runs)


def test_scores_are_numbers_within_their_ranges() -> None:
    for record in [*records("search_emoji_text"), *records("emoji_text")]:
        for name, value in record["metrics"].items():
            assert np.isfinite(value)
            assert (value >= 1) if "median_rank" in name else (0 <= value <= 1)


def test_the_page_reads_the_differences_as_they_are() -> None:
    differences = paired_differences(
        summarise(records("emoji_text")), {name: method.compared_with for name, method in METHODS.items()}
    )
    found = {difference.method.recipe: difference for difference in differences}
    intra = found["crossclr_intra"]
    assert intra.gain.low < 0 < intra.gain.high < 0.0025
    plain = np.mean([run["metrics"]["recall_at_1"] for run in intra.base.runs])
    assert intra.changes["recall_at_1"].high < (18.7 / 17.9 - 1) * plain  # the smaller of the paper's two rises
    assert found["crossclr_pruning"].gain.low < 0 < found["crossclr_pruning"].gain.high
    for name in ("crossclr_weights", "crossclr"):
        assert found[name].gain.mean < -0.005
        assert found[name].adjusted_p < 0.05
    for name, sign in (("ntxent", 1), ("dcl", 1), ("max_margin", -1)):
        assert sign * found[name].gain.mean > 0
        assert found[name].adjusted_p < 0.05
    assert found["clip"].gain.low < 0 < found["clip"].gain.high
    means = {summary.recipe: summary.score.mean for summary in summarise(records("emoji_text"))}
    level = [means[name] for name in ("ntxent", "crossclr_plain", "crossclr_pruning", "crossclr_intra")]
    assert max(level) == max(means.values())
    assert max(level) - min(level) < 0.001
