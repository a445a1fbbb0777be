"""Tables and figures of geometry, from lines made by hand."""

import numpy as np
import torch

from pml_proxyext.benchmark.geometry_pairs.arms import TITLES
from pml_proxyext.benchmark.geometry_pairs.pictures import PicturePair
from pml_proxyext.benchmark.geometry_pairs.report import (
    draw_matches,
    draw_rounds,
    num_rounds,
    rounds_table,
    values,
)
from pml_proxyext.trainers import PointPair

SCORES = ("recall", "inlier_ratio", "feature_match_recall")
ENVIRONMENT = {"torch": "2", "pytorch-metric-learning": "2", "machine": "m"}


def line(recipe, seed):
    base = 0.1 * seed
    if recipe in ("sgp", "no_verifier"):
        names = [*SCORES, "kept", "precision", "right"]
        metrics = {f"{name}_{n}": base + 0.2 * n + 0.01 * i for i, name in enumerate(names) for n in (0, 1)}
    else:
        metrics = {name: base + 0.01 * i for i, name in enumerate(SCORES)}
    return {"recipe": recipe, "seed": seed, "metrics": metrics, "environment": ENVIRONMENT, "commit": "c"}


RECORDS = [line(recipe, seed) for recipe in ("sgp", "bootstrap", "oracle", "no_verifier") for seed in (1, 2)]


def test_values_and_rounds_are_those_of_an_arm():
    assert values(RECORDS, "bootstrap", "recall") == [0.1, 0.2]
    assert (num_rounds(RECORDS, "sgp"), num_rounds(RECORDS, "oracle")) == (2, 0)


def test_the_table_has_a_row_for_each_arm_or_round_in_order():
    table = rounds_table(RECORDS, "near enough")
    names = [row[0] for row in table.rows]
    arms = [TITLES[name] for name in ("bootstrap", "sgp", "no_verifier", "oracle")]
    assert names == [arms[0], *(f"{arm}, round {n}" for arm in arms[1:3] for n in (0, 1)), arms[3]]
    assert {len(row) for row in table.rows} == {len(table.header)}
    by_name = {row[0]: row for row in table.rows}
    assert by_name[arms[0]][1].startswith("15.0 ±")
    assert by_name[arms[0]][4:] == ["", "", ""]
    assert by_name["SGP, round 1"][5].startswith("39.0 ±")  # precision: 0.1 and 0.2, 0.2 of the round, 0.04
    assert "near enough" in table.caption


def test_figures_show_both_loops_and_both_bounds():
    figure = draw_rounds(RECORDS)
    recall, _, labels = figure.axes
    assert {text.get_text() for text in recall.get_legend().get_texts()} == {
        TITLES[name] for name in ("sgp", "no_verifier", "bootstrap", "oracle")
    }
    np.testing.assert_allclose(recall.lines[0].get_ydata(), [15, 35])
    assert len(labels.lines) == 3


def test_matches_are_drawn_with_what_is_right():
    points = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    corners = PointPair(points, points, points, points)
    pair = PicturePair(np.zeros((8, 10), np.uint8), np.zeros((8, 10), np.uint8), corners)
    right = {"before": torch.tensor([True, False]), "after": torch.tensor([True, True, True])}
    found = {"before": [[0, 0], [1, 2]], "after": [[0, 0], [1, 1], [2, 2]]}
    figure = draw_matches([(pair, {name: (found[name], right[name]) for name in found})])
    before, after = figure.axes
    assert "1 of 2 right" in before.get_title()
    assert "3 of 3 right" in after.get_title()
    assert [list(one.get_xdata()) for one in after.lines] == [[1, 11], [3, 13], [5, 15]]
