import math

import numpy as np
import pytest
from scipy import stats

from pml_proxyext.benchmark.summaries import Estimate, select, summarise


def record(recipe, seed, score, **more):
    metrics = {"precision_at_1": score + 0.1, "r_precision": score, "mean_average_precision_at_r": score - 0.1}
    common = {"data": "glyphs", "split": "test", "steps": 400, "overrides": {}, "title": recipe.title()}
    return {"recipe": recipe, "seed": seed, "metrics": metrics, **common, **more}


RECORDS = [
    record("supcon", 0, 0.70),
    record("supcon", 1, 0.74),
    record("supcon", 2, 0.72),
    record("supcon", 0, 0.60, overrides={"lr": 0.1}),
    record("supcon", 0, 0.50, steps=100),
    record("untrained", 0, 0.40, steps=0),
    record("supcon", 0, 0.30, split="validation"),
    record("arcface", 0, 0.80),
    record("arcface", 0, 0.20, smoke=True),
]


def labels(*records):
    return [summary.label for summary in summarise(records)]


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
        ("Untrained", 0, 1),
    ]
    assert summaries[1].score.mean == pytest.approx(0.62)


def test_summarise_leaves_out_a_metric_that_a_seed_lacks():
    runs = [record("supcon", 0, 0.7), record("supcon", 1, 0.7)]
    runs[0]["metrics"]["NMI"] = 0.9
    (summary,) = summarise(runs)
    assert "NMI" not in summary.metrics
    assert "NMI" in summarise(runs[:1])[0].metrics


def test_summarise_puts_diverged_runs_last():
    summaries = summarise([record("supcon", 0, float("nan")), record("arcface", 0, 0.2), record("untrained", 0, 0.1)])
    assert [summary.recipe for summary in summaries] == ["arcface", "untrained", "supcon"]
    assert math.isnan(summaries[-1].score.mean)


def test_select_always_shows_untrained_lines_whatever_they_are_called():
    old = record("pixels", 0, 0.4, steps=0)
    assert {r["recipe"] for r in select([*RECORDS, old], "test", recipes=["arcface"])} == {
        "arcface",
        "pixels",
        "untrained",
    }


def test_select_keeps_splits_and_smoke_runs_apart():
    assert [r["metrics"]["r_precision"] for r in select(RECORDS, "validation")] == [0.30]
    assert [r["metrics"]["r_precision"] for r in select(RECORDS, "test", smoke=True)] == [0.20]


def test_select_nothing_left_is_an_error():
    with pytest.raises(ValueError, match=r"must be a finished run, got none for split='test'.*\['triplet'\]"):
        select(RECORDS[:1], "test", recipes=["triplet"])


def test_labels_tell_a_changed_recipe():
    changed = record("supcon", 0, 0.7, settings="a" * 12), record("supcon", 1, 0.6, settings="b" * 12)
    assert labels(*changed) == ["Supcon [settings aaaaaaa]", "Supcon [settings bbbbbbb]"]


def test_labels_tell_what_differs_between_environments_and_nothing_else():
    old, new = {"torch": "2.13.0", "machine": "x"}, {"torch": "2.14.0", "machine": "x"}
    runs = [record("supcon", 0, 0.7, environment=old), record("supcon", 0, 0.6, environment=new)]
    assert labels(*runs) == ["Supcon [torch 2.13.0]", "Supcon [torch 2.14.0]"]
    elsewhere = record("supcon", 0, 0.5, environment={**new, "machine": "y", "numpy": "2"})
    assert labels(*runs, elsewhere) == [
        "Supcon [machine x, numpy unknown, torch 2.13.0]",
        "Supcon [machine x, numpy unknown, torch 2.14.0]",
        "Supcon [machine y, numpy 2, torch 2.14.0]",
    ]


def test_environments_are_never_averaged_and_old_lines_stand_apart():
    environment = {"torch": "2.14.0"}
    runs = [record("supcon", seed, 0.7, environment=environment) for seed in (0, 1)] + [record("supcon", 0, 0.6)]
    summaries = summarise(runs)
    assert [(s.label, s.score.count, s.environment) for s in summaries] == [
        ("Supcon", 2, environment),
        ("Supcon [environment unknown]", 1, None),
    ]


def test_labels_of_one_environment_do_not_name_it():
    runs = [record(name, 0, 0.7, environment={"torch": "2"}) for name in ("supcon", "arcface")]
    assert labels(*runs) == ["Supcon", "Arcface"]


def test_labels_tell_settings_of_a_search_from_the_recipes_own():
    own, tuned = record("supcon", 0, 0.6, settings="a" * 12), {"tuned": {"lr": 1}, "settings": "b" * 12}
    assert labels(own, record("supcon", 0, 0.7, **tuned)) == ["Supcon [tuned]", "Supcon [not tuned]"]
    same = record("supcon", 0, 0.7, tuned={"lr": 3e-3}, settings="a" * 12)  # the search chose what was there already
    assert labels(own, same) == ["Supcon [tuned]", "Supcon [not tuned]"]
    again = {"tuned": {"lr": 2}, "settings": "c" * 12}
    assert labels(own, record("supcon", 0, 0.8, **tuned), record("supcon", 0, 0.7, **again)) == [
        "Supcon [tuned, settings bbbbbbb]",
        "Supcon [tuned, settings ccccccc]",
        "Supcon [not tuned]",
    ]


def test_cost_of_a_step_is_the_mean_over_the_lines_that_say_it():
    costs = [{"cpu_seconds_training": 8.0}, {"cpu_seconds_training": 10.0}, {}]
    (summary,) = summarise(record("supcon", seed, 0.7, **cost) for seed, cost in enumerate(costs))
    assert summary.ms_per_step == pytest.approx(22.5)  # (20 + 25) / 2
    assert summarise([record("supcon", 0, 0.7)])[0].ms_per_step is None
    assert summarise([record("untrained", 0, 0.7, steps=0, cpu_seconds_training=0.0)])[0].ms_per_step is None
