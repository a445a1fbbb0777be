import io
import math

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from pml_proxyext.benchmark.report import (
    Estimate,
    insert_table,
    markdown_table,
    print_recipes,
    rich_table,
    select,
    summarise,
)


def record(recipe, seed, score, **more):
    metrics = {"precision_at_1": score + 0.1, "r_precision": score, "mean_average_precision_at_r": score - 0.1}
    common = {"data": "glyphs", "split": "test", "steps": 400, "overrides": {}, "title": recipe.title()}
    return {"recipe": recipe, "seed": seed, "metrics": metrics, "versions": {"torch": "2"}, **common, **more}


RECORDS = [
    record("supcon", 0, 0.70),
    record("supcon", 1, 0.74),
    record("supcon", 2, 0.72),
    record("supcon", 0, 0.60, overrides={"lr": 0.1}),
    record("supcon", 0, 0.50, steps=100),
    record("pixels", 0, 0.40, steps=0),
    record("supcon", 0, 0.30, split="validation"),
    record("arcface", 0, 0.80),
    record("arcface", 0, 0.20, smoke=True),
]


def test_estimate_is_the_t_interval():
    values = [0.70, 0.74, 0.72]
    estimate = Estimate.of(values)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert estimate.mean - estimate.half_width == pytest.approx(low, rel=1e-12)
    assert estimate.mean + estimate.half_width == pytest.approx(high, rel=1e-12)
    # by hand: standard deviation 0.02, t(0.975, 2) = 4.302653
    assert estimate.half_width == pytest.approx(4.302653 * 0.02 / math.sqrt(3), rel=1e-6)
    assert str(estimate) == "72.0 ± 5.0"


def test_estimate_of_one_seed_claims_no_interval():
    estimate = Estimate.of([0.5])
    assert math.isnan(estimate.half_width)
    assert str(estimate) == "50.0"


def test_summarise_keeps_variants_apart_and_sorts_by_map_at_r():
    summaries = summarise(select(RECORDS, "test"))
    assert [(s.label, s.steps, s.score.count) for s in summaries] == [
        ("Arcface", 400, 1),
        ("Supcon", 400, 3),
        ("Supcon (lr=0.1)", 400, 1),
        ("Supcon", 100, 1),
        ("Pixels", 0, 1),
    ]
    assert summaries[1].score.mean == pytest.approx(0.62)


def test_summarise_leaves_out_a_metric_that_a_seed_lacks():
    runs = [record("supcon", 0, 0.7), record("supcon", 1, 0.7)]
    runs[0]["metrics"]["NMI"] = 0.9
    (summary,) = summarise(runs)
    assert "NMI" not in summary.metrics
    assert "NMI" in markdown_table(summarise(runs[:1]))


def test_select_always_shows_the_untrained_line():
    assert {r["recipe"] for r in select(RECORDS, "test", recipes=["arcface"])} == {"arcface", "pixels"}


def test_select_keeps_splits_and_smoke_runs_apart():
    assert [r["metrics"]["r_precision"] for r in select(RECORDS, "validation")] == [0.30]
    assert [r["metrics"]["r_precision"] for r in select(RECORDS, "test", smoke=True)] == [0.20]


def test_select_nothing_left_is_an_error():
    with pytest.raises(ValueError, match=r"must be a finished run, got none for split='test'.*\['triplet'\]"):
        select(RECORDS[:1], "test", recipes=["triplet"])


def test_markdown_table_shows_the_numbers():
    lines = markdown_table(summarise(select(RECORDS, "test"))).splitlines()
    assert lines[0] == "| Method | Steps | R@1 | R-precision | MAP@R | Seeds |"
    assert lines[1] == "| :-- | --: | --: | --: | --: | --: |"
    assert lines[3] == "| Supcon | 400 | 82.0 ± 5.0 | 72.0 ± 5.0 | 62.0 ± 5.0 | 3 |"
    assert "95% confidence interval" in lines[-1]
    assert "torch 2" in lines[-1]


def test_rich_table_shows_the_same_cells():
    summaries = summarise(select(RECORDS, "test"))
    screen = io.StringIO()
    Console(width=200, file=screen).print(rich_table(summaries))
    text = screen.getvalue()
    cells = [cell for line in markdown_table(summaries).splitlines()[2:7] for cell in line.strip("| ").split(" | ")]
    assert all(cell in text for cell in cells)


def test_print_recipes_names_all(capsys):
    print_recipes()
    shown = capsys.readouterr().out
    assert "proxy_anchor" in shown
    assert "el_nivmf" in shown


def test_summarise_puts_diverged_runs_last_and_shows_them():
    summaries = summarise([record("supcon", 0, float("nan")), record("arcface", 0, 0.2), record("pixels", 0, 0.1)])
    assert [summary.recipe for summary in summaries] == ["arcface", "pixels", "supcon"]
    assert "| Supcon | nan | nan | nan | 1 |" in markdown_table(summaries)


def test_summarise_keeps_results_of_a_changed_recipe_apart():
    runs = [record("supcon", 0, 0.7, settings="a" * 12), record("supcon", 1, 0.6, settings="b" * 12)]
    labels = [summary.label for summary in summarise(runs)]
    assert labels == ["Supcon [settings aaaaaaa]", "Supcon [settings bbbbbbb]"]


def test_insert_table_replaces_what_stands_between_the_markers():
    page = "before\n<!-- results:a -->\nold\n<!-- /results:a -->\nafter\n"
    renewed = insert_table(page, "a", "new\n")
    assert renewed == "before\n<!-- results:a -->\nnew\n<!-- /results:a -->\nafter\n"
    assert insert_table(renewed, "a", "new\n") == renewed


@pytest.mark.parametrize("page", ["", "<!-- results:b -->\n<!-- /results:b -->", "<!-- results:a -->\nnever closed"])
def test_insert_table_needs_both_markers(page):
    with pytest.raises(ValueError, match="the page must have the lines '<!-- results:a -->'"):
        insert_table(page, "a", "new\n")
