"""What the page of DEMI shows of emoji without labels is rendered from committed result files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pml_proxyext.benchmark.experiments import Experiment
from pml_proxyext.benchmark.self_supervised.methods import METHODS
from pml_proxyext.benchmark.self_supervised.report import best_settings, differences
from pml_proxyext.benchmark.summaries import RANKED_BY
from tests.committed import assert_complete, assert_page_shows, assert_tables_are_rendered, load_example, records

SCRIPT = load_example("emoji_demi")
EXPERIMENTS: list[Experiment] = [SCRIPT.SEARCH, SCRIPT.EXPERIMENT]


def test_the_page_shows_every_table_once_and_the_figures() -> None:
    assert_page_shows("demi.md", EXPERIMENTS, [experiment.name for experiment in EXPERIMENTS])


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_tables_are_rendered_from_complete_committed_files(experiment: Experiment, tmp_path: Path) -> None:
    assert_tables_are_rendered("demi.md", experiment, tmp_path)
    assert_complete(experiment)
    split = "validation" if experiment is SCRIPT.SEARCH else "test"
    assert {record["split"] for record in records(experiment.name)} == {split}
    steps = {record["steps"] for record in records(experiment.name) if record["recipe"] in METHODS}
    assert steps == {SCRIPT.STEPS}


def test_every_method_had_the_same_trials_and_is_tested_with_its_best() -> None:
    searched, tested = records("search_emoji_demi"), records("emoji_demi")
    assert {record["seed"] for record in searched} == {0}
    chosen = best_settings(searched)
    for name, method in METHODS.items():
        assert [r["overrides"] for r in searched if r["recipe"] == name] == method.trials(SCRIPT.TRIALS)
        runs = [record for record in tested if record["recipe"] == name]
        assert [run["seed"] for run in runs] == list(range(SCRIPT.SEEDS))
        assert all(run["tuned"] == chosen[name] for run in runs)


def test_scores_are_numbers_within_their_ranges() -> None:
    for record in [*records("search_emoji_demi"), *records("emoji_demi")]:
        for name, value in record["metrics"].items():
            assert np.isfinite(value)
            assert value >= 0
            assert name == "loss" or value <= 1


def test_the_page_reads_the_differences_as_they_are() -> None:
    found = {(one.method.recipe, one.base.recipe): one for one in differences(records("emoji_demi"))}
    weighted, to_views = found["demi_is", "multi_crop"], found["demi_is", "infonce"]
    assert weighted.adjusted_p < 0.05 < to_views.adjusted_p
    assert weighted.gain.low > 0
    assert to_views.gain.low > 0
    for base in ("infonce", "multi_crop"):
        assert all(change.low < 0 < change.high for change in found["demi_boosted", base].changes.values())
    for name in ("multi_crop", "demi_boosted", "demi_is"):
        probe = found[name, "infonce"].changes["subgroup_accuracy"]
        assert 0.01 < probe.mean < 0.02
        assert probe.low < 0
    losses = [run["metrics"]["loss"] for run in records("emoji_demi") if run["recipe"] == "infonce"]
    assert np.mean(losses) < 0.06 * np.log(128)
    chosen = best_settings(records("search_emoji_demi")).values()
    assert {one["temperature"] for one in chosen} == {
        min(trial["temperature"] for trial in METHODS["infonce"].trials(6))
    }
    trials = {(one["recipe"], one["temperature"]): one["metrics"][RANKED_BY] for one in records("search_emoji_demi")}
    for name, temperature in trials:
        if name == "demi_is":
            assert (trials[name, temperature] > trials["infonce", temperature]) == (temperature <= 0.1)
