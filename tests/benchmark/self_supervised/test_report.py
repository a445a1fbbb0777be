import math

import numpy as np
import pytest

from pml_proxyext.benchmark.inference import holm, paired_p_value
from pml_proxyext.benchmark.self_supervised.methods import METHODS, UNTRAINED
from pml_proxyext.benchmark.self_supervised.report import (
    best_settings,
    differences,
    draw,
    draw_search,
    gains,
    scores,
    search,
)

MAP = "mean_average_precision_at_r"
TITLES = {name: one.title for name, one in (METHODS | UNTRAINED).items()}
VALUES = {
    "demi_is": [0.30, 0.32, 0.31, 0.35, 0.33],
    "untrained": [0.05, 0.06, 0.05, 0.04, 0.05],
    "infonce": [0.20, 0.235, 0.20, 0.24, 0.21],
    "multi_crop": [0.25, 0.24, 0.29, 0.24, 0.28],
}


def record(recipe, seed, value, split="test", **settings):
    steps = 3 if recipe in METHODS else 0
    metrics = {MAP: value, "precision_at_1": value + 0.1, "r_precision": value, "subgroup_accuracy": 1 - value}
    metrics |= {"loss": 10 * value} if steps else {}
    place = {"data": "d", "split": split, "steps": steps, "title": TITLES[recipe], "cpu_seconds": 2.0}
    chosen = {"overrides": settings} if split == "validation" else {"tuned": settings}
    return {
        "recipe": recipe,
        "seed": seed,
        "metrics": metrics,
        "cpu_seconds_training": 1.5,
        **place,
        **chosen,
        **settings,
    }


RECORDS = [
    record(name, seed, value, **({"lr": 0.1} if name in METHODS else {}))
    for name, of_one in VALUES.items()
    for seed, value in enumerate(of_one)
]
TRIALS = [
    record("infonce", 0, 0.3, "validation", lr=1, temperature=0.5),
    record("infonce", 0, 0.5, "validation", lr=2, temperature=0.1),
    record("infonce", 0, math.nan, "validation", lr=3, temperature=0.2),
    record("demi_is", 0, 0.4, "validation", lr=4, temperature=0.3),
]


def test_scores_are_in_the_order_of_the_methods_with_what_is_not_trained_last():
    table = scores(RECORDS)
    assert table.header == ["Method", "MAP@R", "R@1", "Probe", "Loss", "ms/step", "Seeds"]
    assert [row[0] for row in table.rows] == [TITLES[n] for n in ("infonce", "multi_crop", "demi_is", "untrained")]
    first, last = table.rows[0], table.rows[-1]
    mean = np.mean(VALUES["infonce"])
    means = [f"{100 * value:.1f}" for value in (mean, mean + 0.1, 1 - mean)]
    assert [cell.split(" ± ")[0] for cell in first[1:5]] == [*means, f"{10 * mean:.2f}"]
    assert list(first[5:]) == ["500", "5"]
    assert list(last[4:]) == ["", "", "5"]


def test_every_method_is_set_against_each_of_its_bases_and_holm_counts_all_of_them():
    found = {(one.method.recipe, one.base.recipe): one for one in differences(RECORDS)}
    pairs = [("demi_is", "infonce"), ("demi_is", "multi_crop"), ("multi_crop", "infonce")]
    assert sorted(found) == pairs
    raw = [paired_p_value(np.subtract(VALUES[a], VALUES[b]).tolist()) for a, b in pairs]
    assert [found[pair].adjusted_p for pair in pairs] == pytest.approx(holm(raw))
    for a, b in pairs:
        change = np.mean(np.subtract(VALUES[a], VALUES[b]))
        assert found[a, b].gain.mean == pytest.approx(change)
        assert found[a, b].changes["subgroup_accuracy"].mean == pytest.approx(-change)


def test_gains_show_them():
    table = gains(RECORDS)
    assert table.header == ["Method", "Compared with", "MAP@R", "R@1", "Probe", "p (Holm)", "Seeds"]
    assert "corrected by Holm for 3 comparisons" in table.caption
    assert len(table.rows) == 3


def test_best_settings_are_those_of_the_best_trial_and_never_of_one_that_diverged():
    assert best_settings(TRIALS)["infonce"] == {"lr": 2, "temperature": 0.1}
    assert best_settings([TRIALS[2], TRIALS[0]])["infonce"] == {"lr": 1, "temperature": 0.5}
    row = next(iter(search(TRIALS).rows))
    assert list(row) == [TITLES["infonce"], "3", "50.0", "30.0", "lr=2, temperature=0.1", "6"]


def test_the_figure_has_all_seeds_and_their_mean():
    retrieval, probe = draw(RECORDS).axes
    assert [label.get_text() for label in retrieval.get_yticklabels()] == [
        TITLES[name] for name in ("infonce", "multi_crop", "demi_is", "untrained")
    ]
    dots, mean = retrieval.get_lines()[:2]
    np.testing.assert_allclose(dots.get_xdata(), 100 * np.array(VALUES["infonce"]))
    np.testing.assert_allclose(mean.get_xdata(), [100 * np.mean(VALUES["infonce"])] * 2)
    np.testing.assert_allclose(probe.get_lines()[0].get_xdata(), 100 - 100 * np.array(VALUES["infonce"]))


def test_the_figure_of_the_search_has_all_trials_by_temperature():
    (axes,) = draw_search(TRIALS).axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    np.testing.assert_allclose(lines[TITLES["infonce"]].get_xdata(), [0.1, 0.2, 0.5])
    np.testing.assert_allclose(lines[TITLES["infonce"]].get_ydata(), [50, np.nan, 30])
    assert list(lines[TITLES["demi_is"]].get_ydata()) == [40]
