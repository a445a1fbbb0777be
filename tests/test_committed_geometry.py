"""What the page of SGP's measurements shows is rendered from committed result files, and says what they say."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from statistics import mean

import numpy as np
import pytest

from pml_proxyext.benchmark.experiments import Experiment
from pml_proxyext.benchmark.geometry_pairs.report import num_rounds, values
from tests.committed import assert_complete, assert_page_shows, assert_tables_are_rendered, load_example, records

PAGE = "sgp_measured.md"
PICTURES, CLOUDS = load_example("geometry_of_pictures"), load_example("geometry_of_clouds")
EXPERIMENTS: list[Experiment] = [PICTURES.EXPERIMENT, CLOUDS.EXPERIMENT]
each_experiment = pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)


def score(experiment: Experiment, recipe: str, metric: str) -> float:
    return mean(values(records(experiment.name), recipe, metric))


def of_rounds(experiment: Experiment, recipe: str, metric: str) -> list[float]:
    count = num_rounds(records(experiment.name), recipe)
    return [score(experiment, recipe, f"{metric}_{number}") for number in range(count)]


def test_the_page_shows_every_table_once_and_the_figures() -> None:
    assert_page_shows(PAGE, EXPERIMENTS, [*(one.name for one in EXPERIMENTS), PICTURES.MATCHES.name])


@each_experiment
def test_tables_are_rendered_from_complete_committed_files(experiment: Experiment, tmp_path: Path) -> None:
    assert_tables_are_rendered(PAGE, experiment, tmp_path)
    assert_complete(experiment)


@each_experiment
def test_all_arms_have_five_seeds_and_three_rounds_and_are_shares(experiment: Experiment) -> None:
    found = records(experiment.name)
    for setting in experiment.settings:
        (line,) = [one for one in found if all(one[name] == value for name, value in setting.items())]
        assert all(np.isfinite(value) and 0 <= value <= 1 for value in line["metrics"].values())
    assert {record["seed"] for record in found} == set(range(5))
    assert num_rounds(found, "sgp") == num_rounds(found, "no_verifier") == 3


@each_experiment
def test_there_is_something_to_learn(experiment: Experiment) -> None:
    """Being told the truth beats the bootstrap clearly; an experiment without this could show nothing."""
    assert score(experiment, "oracle", "recall") > score(experiment, "bootstrap", "recall") + 0.15


@each_experiment
def test_the_last_round_is_better_than_the_bootstrap_and_near_the_truth(experiment: Experiment) -> None:
    last = of_rounds(experiment, "sgp", "recall")[-1]
    assert last >= score(experiment, "bootstrap", "recall") + 0.12
    assert last >= 0.8 * score(experiment, "oracle", "recall")


@each_experiment
def test_the_precision_of_labels_does_not_fall_between_rounds(experiment: Experiment) -> None:
    precision = of_rounds(experiment, "sgp", "precision")
    assert all(later >= earlier - 0.05 for earlier, later in pairwise(precision))


@each_experiment
def test_without_the_verifier_labels_are_worse(experiment: Experiment) -> None:
    with_it, without = (of_rounds(experiment, recipe, "precision") for recipe in ("sgp", "no_verifier"))
    assert all(one > other for one, other in zip(with_it, without, strict=True))


def test_bootstrap_and_root_sift_are_where_the_page_says() -> None:
    found = {name: score(PICTURES.EXPERIMENT, name, "recall") for name in ("bootstrap", "root_sift", "oracle")}
    assert found["bootstrap"] < found["root_sift"] - 0.1
    assert found["root_sift"] == pytest.approx(found["oracle"], abs=0.03)


def test_scans_are_registered_nearly_as_well_as_by_the_truth_from_the_first_round_on() -> None:
    recall, truth = of_rounds(CLOUDS.EXPERIMENT, "sgp", "recall"), score(CLOUDS.EXPERIMENT, "oracle", "recall")
    assert min(recall) > truth - 0.05
    right = of_rounds(CLOUDS.EXPERIMENT, "sgp", "right")
    assert right == sorted(right)
    assert right[-1] > 0.95
    assert 1 / 7 < of_rounds(CLOUDS.EXPERIMENT, "sgp", "inlier_ratio")[-1] < 1 / 5


def test_learning_adds_to_what_is_in_the_inputs_of_scans() -> None:
    bootstrap, inputs = (score(CLOUDS.EXPERIMENT, recipe, "recall") for recipe in ("bootstrap", "inputs"))
    learnt = [*of_rounds(CLOUDS.EXPERIMENT, "sgp", "recall"), *of_rounds(CLOUDS.EXPERIMENT, "no_verifier", "recall")]
    assert bootstrap < inputs < min(learnt)


def test_right_matches_of_pictures_fall_at_first_while_recall_rises() -> None:
    shares = of_rounds(PICTURES.EXPERIMENT, "sgp", "inlier_ratio")
    assert shares[0] < score(PICTURES.EXPERIMENT, "bootstrap", "inlier_ratio") < shares[-1]
    assert of_rounds(PICTURES.EXPERIMENT, "sgp", "recall")[0] > score(PICTURES.EXPERIMENT, "bootstrap", "recall") + 0.1


def test_the_figure_is_of_runs_of_the_table_and_shows_gain_and_loss() -> None:
    drawn = records("geometry_of_pictures_matches")
    of_table = {record["key"]: record["metrics"] for record in records("geometry_of_pictures")}
    assert {record["recipe"] for record in drawn} == {"bootstrap", "sgp"}
    assert all(record["metrics"] == of_table[record["key"]] for record in drawn)
    assert_complete(PICTURES.MATCHES)
    gains = PICTURES.gains(drawn)
    assert set(gains) == set(PICTURES.TEST_PICTURES)
    assert max(gains.values()) > 0.5 > 0 > min(gains.values())
