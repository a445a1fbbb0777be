import math

import numpy as np
import pytest

from pml_proxyext.benchmark.two_views.methods import METHODS
from pml_proxyext.benchmark.two_views.report import (
    best_settings,
    draw,
    draw_search,
    gains,
    scores,
    search,
    search_gains,
)

NAMES = ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank", "mean_average_precision")


def record(recipe, seed, value, split="test", **settings):
    metrics = {f"{direction}{name}": value for direction in ("", "a_to_b_", "b_to_a_") for name in NAMES}
    metrics |= {f"{direction}median_rank": 10 * value for direction in ("", "a_to_b_", "b_to_a_")}
    metrics |= {"b_to_a_recall_at_1": 1 - value}
    place = {"data": "d", "split": split, "steps": 3, "title": METHODS[recipe].title, "cpu_seconds": 2.0}
    chosen = {"overrides": settings} if split == "validation" else {"tuned": settings}
    return {"recipe": recipe, "seed": seed, "metrics": metrics, **place, **chosen}


VALUES = {
    "crossclr": [0.3, 0.32, 0.31, 0.35, 0.33],
    "crossclr_plain": [0.2, 0.235, 0.2, 0.24, 0.21],
    "ntxent": [0.2] * 5,
}
RECORDS = [record(name, seed, value, lr=0.1) for name, of_one in VALUES.items() for seed, value in enumerate(of_one)]
TRIALS = [
    record("ntxent", 0, 0.3, "validation", lr=1),
    record("ntxent", 0, 0.5, "validation", lr=2),
    record("ntxent", 0, math.nan, "validation", lr=3),
    record("clip", 0, 0.4, "validation", lr=4),
]


def test_scores_are_in_the_order_of_the_methods_and_of_one_direction():
    table = scores(RECORDS, "a_to_b", "there")
    assert table.header == ["Method", "R@1", "R@5", "R@10", "MdR", "mAP"]
    titles = [METHODS[name].title for name in ("ntxent", "crossclr_plain", "crossclr")]
    assert [row[0] for row in table.rows] == titles
    assert list(table.rows[0][1:]) == ["20.0 ± 0.0"] * 3 + ["2.0 ± 0.0", "20.0 ± 0.0"]
    assert table.caption.startswith("d, test classes; 3 steps; there; percent")
    assert "5 seeds" in table.caption
    assert scores(RECORDS, "b_to_a", "back").rows[0][1] == "80.0 ± 0.0"


def test_gains_are_paired_differences_to_what_a_method_is_compared_with():
    table = gains(RECORDS)
    rows = {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    full, plain, ntxent = (METHODS[name].title for name in ("crossclr", "crossclr_plain", "ntxent"))
    assert {title: row["Compared with"] for title, row in rows.items()} == {full: plain, ntxent: full}
    mean = 100 * np.mean(np.subtract(VALUES["crossclr"], VALUES["crossclr_plain"]))
    assert rows[full]["mAP"].startswith(f"{mean:+.2f} [")
    assert {"mAP", "R@1", "R@10"} <= set(table.header)
    assert "t test on mAP, corrected by Holm for 2 comparisons" in table.caption


def test_best_settings_are_those_of_the_best_trial_and_never_of_one_that_diverged():
    assert best_settings(TRIALS) == {"ntxent": {"lr": 2}, "clip": {"lr": 4}}
    assert best_settings([TRIALS[2], TRIALS[0]]) == {"ntxent": {"lr": 1}}


def test_search_shows_them():
    table = search(TRIALS)
    assert table.header[2:4] == ["Best mAP", "Median mAP"]
    assert list(table.rows[0]) == [METHODS["ntxent"].title, "3", "50.0", "30.0", "lr=2", "6"]


def test_search_gains_are_differences_trial_by_trial_to_the_plain_contrast():
    plain, intra, full = [0.2, 0.3, 0.1, 0.3], [0.21, 0.29, 0.14, 0.3], [0.1, 0.2, 0.05, 0.27]
    records = [
        record(name, 0, value, "validation", lr=i)
        for i, values in enumerate(zip(plain, intra, full, plain, strict=True))
        for name, value in zip(("crossclr_plain", "crossclr_intra", "crossclr", "ntxent"), values, strict=True)
    ]
    table = search_gains(records)
    assert table.header == ["Method", "Mean", "Median", "Lowest", "Highest", "Above 0"]
    assert [list(row) for row in table.rows] == [
        [METHODS["crossclr_intra"].title, "+1.00", "+0.50", "-1.00", "+4.00", "2 of 4"],
        [METHODS["crossclr"].title, "-7.00", "-7.50", "-10.00", "-3.00", "0 of 4"],
    ]


def test_figures_show_methods_and_trials():
    (axes,) = draw(RECORDS).axes
    assert "mAP" in axes.get_xlabel()
    mean = 100 * np.mean(np.subtract(VALUES["crossclr"], VALUES["crossclr_plain"]))
    assert axes.get_lines()[-1].get_xdata()[0] == pytest.approx(mean)
    (axes,) = draw_search(TRIALS).axes
    points = {METHODS[name].title: line.get_xdata() for name, line in zip(METHODS, axes.get_lines(), strict=True)}
    assert list(points["NT-Xent"][:2]) == [30, 50]
    assert [text.get_text() for text in axes.texts] == [method.title for method in METHODS.values()]
