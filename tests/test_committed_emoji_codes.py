"""What the page of DCVH shows of emoji across vendors is rendered from committed result files."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import numpy as np
import pytest

from pml_proxyext.benchmark.experiments import Experiment
from tests.committed import assert_complete, assert_page_shows, assert_tables_are_rendered, load_example, records

SCRIPT = load_example("emoji_codes")
EXPERIMENTS: list[Experiment] = [SCRIPT.SEARCH, SCRIPT.EXPERIMENT]


def scores(metric: str) -> dict[tuple[str, int], float]:
    """Return the mean over seeds for each method and width."""
    found: dict[tuple[str, int], list[float]] = {}
    for record in records("emoji_codes"):
        found.setdefault((record["recipe"], record["width"]), []).append(record["metrics"][metric])
    return {key: mean(values) for key, values in found.items()}


def test_the_page_shows_every_table_once_and_the_figure() -> None:
    assert_page_shows("dcvh.md", EXPERIMENTS, ["emoji_codes"])


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_tables_are_rendered_from_complete_committed_files(experiment: Experiment, tmp_path: Path) -> None:
    assert_tables_are_rendered("dcvh.md", experiment, tmp_path)
    assert_complete(experiment)
    split = "validation" if experiment is SCRIPT.SEARCH else "test"
    assert {record["split"] for record in records(experiment.name)} == {split}


def test_every_method_had_the_same_budget_and_tests_use_the_best_of_the_search() -> None:
    searched = records("search_emoji_codes")
    for name, method in SCRIPT.METHODS.items():
        trials = [
            {key: record[key] for key in ("lr", "dropout", "weight") if key in record}
            for record in searched
            if record["recipe"] == name
        ]
        assert trials == method.trials(12)
    assert SCRIPT.best_trials(searched) == SCRIPT.CHOSEN
    assert {record["seed"] for record in records("emoji_codes")} == set(range(5))


def test_scores_are_numbers_within_their_ranges() -> None:
    for record in [*records("search_emoji_codes"), *records("emoji_codes")]:
        for name, value in record["metrics"].items():
            assert np.isfinite(value)
            assert (value > 0) if name == "queries_per_second" else (0 <= value <= 1)


def test_separate_classifiers_do_no_better_than_chance_and_sharing_beats_aligning() -> None:
    """What the page says of labels in common, where chance is 4.5 %."""
    found = scores("map_label")
    for width in SCRIPT.WIDTHS:
        assert found["codes", width] < 0.06
        assert found["codes_shared", width] > found["codes_aligned", width] > 3 * found["codes", width]
        assert found["floats_shared", width] > found["floats_aligned", width] > 2 * found["floats", width]


def test_aligning_shared_codes_helps_the_longer_ones_alone() -> None:
    found = scores("map_label")
    gains = [found["codes_shared_aligned", width] - found["codes_shared", width] for width in SCRIPT.WIDTHS]
    assert gains[0] < 0 < gains[1] < gains[2]
    assert all(found["floats_shared_aligned", width] < found["floats_shared", width] for width in SCRIPT.WIDTHS)


def test_no_training_finds_the_same_emoji_as_the_inputs_do() -> None:
    found = scores("map_emoji")
    assert max(value for (recipe, _), value in found.items() if recipe in SCRIPT.METHODS) < found["inputs", 256] / 2
    assert found["signs", 64] > max(found[name, 64] for name in SCRIPT.METHODS)


def test_the_two_ways_of_counting_disagree_on_codes_and_inputs() -> None:
    by_all, by_found = scores("map_label_at_50"), scores("map_label_at_50_of_found")
    codes, inputs = ("codes_shared_aligned", 64), ("inputs", 256)
    assert by_all[codes] > by_all[inputs]
    assert by_found[codes] < by_found[inputs]
