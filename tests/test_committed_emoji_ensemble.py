"""What the page of ABE shows of emoji in pictures is rendered from committed result files, and says what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pml_proxyext.benchmark.ensembles import METHODS
from pml_proxyext.benchmark.experiments import Experiment
from tests.committed import assert_complete, assert_page_shows, assert_tables_are_rendered, load_example, records

SCRIPT = load_example("emoji_ensemble")
EXPERIMENTS: list[Experiment] = [SCRIPT.SEARCH, SCRIPT.EXPERIMENT]


def scores(metric: str) -> dict[str, list[float]]:
    """Return what each method reached on test classes, in the order of the seeds."""
    return {name: SCRIPT.values(records("emoji_ensemble"), name, metric) for name in METHODS}


def test_the_page_shows_every_table_once_and_the_figures() -> None:
    assert_page_shows("abe.md", EXPERIMENTS, ["emoji_ensemble", "emoji_masks"])


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_tables_are_rendered_from_the_committed_file(experiment: Experiment, tmp_path: Path) -> None:
    assert_tables_are_rendered("abe.md", experiment, tmp_path)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_every_run_is_there_once_from_one_environment_and_one_commit(experiment: Experiment) -> None:
    assert_complete(experiment)
    found = records(experiment.name)
    assert {record["split"] for record in found} == {"validation" if "search" in experiment.name else "test"}
    assert {record["steps"] for record in found} == {200}


def test_every_method_had_the_same_budget_and_tests_use_the_best_of_the_search() -> None:
    searched, tested = records("search_emoji_ensemble"), records("emoji_ensemble")
    for name, method in METHODS.items():
        trials = [record for record in searched if record["recipe"] == name]
        assert [trial["overrides"] for trial in trials] == method.trials(6)
        best = max(trials, key=lambda trial: trial["metrics"]["mean_average_precision_at_r"])
        runs = [record for record in tested if record["recipe"] == name]
        assert [run["seed"] for run in runs] == list(range(5))
        assert all(run["tuned"] == best["overrides"] for run in runs)


def test_networks_were_as_large_as_each_other() -> None:
    sizes = {record["parameters"] for record in records("emoji_ensemble")}
    assert max(sizes) < 1.01 * min(sizes)


def test_scores_are_numbers_within_their_ranges() -> None:
    for record in [*records("search_emoji_ensemble"), *records("emoji_ensemble")]:
        for name, value in record["metrics"].items():
            assert np.isfinite(value)
            assert (-1 if name == "self_pair_cosine" else 0) <= value <= 1


def gains(method: str, base: str, metric: str = "mean_average_precision_at_r") -> np.ndarray:
    """Return the difference in points, seed by seed."""
    found = scores(metric)
    return 100 * np.subtract(found[method], found[base])


def test_the_divergence_keeps_learners_apart_and_helps_them_together_at_the_cost_of_each() -> None:
    cosines = scores("self_pair_cosine")
    assert min(cosines["abe_plain"]) > 0.95
    assert max(cosines["abe"]) < 0.2
    assert gains("abe", "abe_plain").min() > 0
    assert gains("abe", "abe_plain", "learner_mean_mean_average_precision_at_r").max() < 0


def test_of_equal_weights_the_ensemble_is_behind_one_head_and_four_and_costs_more() -> None:
    for base in ("one_head", "heads"):
        assert gains("abe", base).max() < 0
    alone = "learner_mean_mean_average_precision_at_r"
    assert gains("abe", "heads", alone).max() < 0
    found = {difference.method.recipe: difference for difference in SCRIPT.differences(records("emoji_ensemble"))}
    assert all(found[name].adjusted_p < 0.05 for name in ("one_head", "heads", "abe_plain"))
    seconds = {name: [r["cpu_seconds"] for r in records("emoji_ensemble") if r["recipe"] == name] for name in METHODS}
    assert np.mean(seconds["abe"]) > 2 * max(np.mean(seconds["one_head"]), np.mean(seconds["heads"]))


def test_the_divergence_changes_little_for_heads_of_their_own() -> None:
    cosines = scores("self_pair_cosine")
    assert max(map(abs, cosines["heads"])) < 0.2
    assert max(cosines["heads_diverge"]) < 0
    (difference,) = (
        one for one in SCRIPT.differences(records("emoji_ensemble")) if one.method.recipe == "heads_diverge"
    )
    assert difference.gain.low < 0 < difference.gain.high
    assert difference.adjusted_p > 0.05


def test_all_methods_had_the_same_best_trial() -> None:
    tuned = [record["tuned"] for record in records("emoji_ensemble")]
    assert len({(settings["lr"], settings["neg_margin"]) for settings in tuned}) == 1
    margins = sorted({record["overrides"]["neg_margin"] for record in records("search_emoji_ensemble")})
    assert tuned[0]["neg_margin"] == margins[0]
