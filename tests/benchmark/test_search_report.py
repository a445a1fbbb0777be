import math

import pytest

from pml_proxyext.benchmark.search_report import search_table


def record(recipe, score, seed=0, **overrides):
    place = {"data": "glyphs", "split": "validation", "steps": 400}
    metrics = {"mean_average_precision_at_r": score}
    line = {"recipe": recipe, "title": recipe.title(), "seed": seed, "metrics": metrics, **place}
    return {**line, "overrides": overrides, "cpu_seconds": 10.4}


TRIALS = [
    record("supcon", 0.70),
    record("supcon", 0.80, lr=0.003),
    record("supcon", 0.30, lr=0.1),
    record("arcface", 0.90, scale=8),
    record("arcface", 0.50, scale=64),
]


def test_rows_are_methods_with_trials_best_median_choice_and_cost():
    table = search_table(TRIALS, {"supcon": {"lr": 0.0031234, "images_per_class": 4}, "arcface": {}})
    assert table.header == ["Method", "Trials", "Best MAP@R", "Median MAP@R", "Chosen", "CPU seconds"]
    assert [list(row) for row in table.rows] == [
        ["Arcface", "2", "90.0", "70.0", "defaults", "21"],
        ["Supcon", "3", "80.0", "70.0", "lr=0.00312, images_per_class=4", "31"],
    ]
    assert table.caption.startswith("glyphs, validation classes; 400 steps; percent, over trials; 5 runs")


def test_seeds_of_a_trial_are_one_trial():
    table = search_table([*TRIALS[:3], record("supcon", 0.90, seed=1)], {})
    assert list(table.rows[0])[1:4] == ["3", "80.0", "80.0"]  # 0.8 twice, 0.3


def test_a_trial_that_diverged_is_the_lowest():
    lines = [*TRIALS[:3], record("supcon", math.nan, lr=1), record("supcon", math.nan, lr=2)]
    assert list(search_table(lines, {}).rows[0])[1:4] == ["5", "80.0", "30.0"]
    lines = [record("supcon", 0.7), record("supcon", math.nan, lr=1), record("supcon", math.nan, lr=2)]
    assert list(search_table(lines, {}).rows[0])[1:4] == ["3", "70.0", "nan"]


def test_cost_is_left_open_where_a_run_does_not_say():
    incomplete = [dict(line) for line in TRIALS]
    del incomplete[0]["cpu_seconds"]
    assert [row[-1] for row in search_table(incomplete, {}).rows] == ["21", ""]


def test_untrained_lines_are_no_search():
    untrained = {**record("untrained", 0.4), "steps": 0}
    assert len(search_table([*TRIALS, untrained], {}).rows) == 2


@pytest.mark.parametrize("lines", [[], [*TRIALS, {**TRIALS[0], "data": "emoji"}]])
def test_records_must_be_of_one_data_set(lines):
    with pytest.raises(ValueError, match="records must be runs on one data set and split, got"):
        search_table(lines, {})
