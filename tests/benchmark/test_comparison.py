import math

import numpy as np
import pytest
from scipy import stats

from pml_proxyext.benchmark.comparison import Change, differences_table, paired_differences
from pml_proxyext.benchmark.inference import bootstrap_interval
from pml_proxyext.benchmark.summaries import summarise

BASES = {"nir": "anchor", "guided": "anchor"}
SCORES = {
    "anchor": [0.700, 0.710, 0.690, 0.705, 0.720],
    "nir": [0.712, 0.716, 0.703, 0.713, 0.735],
    "guided": [0.690, 0.712, 0.680, 0.700, 0.715],
    "contrastive": [0.600, 0.610, 0.590, 0.605, 0.620],
}


def record(recipe, seed, score, **more):
    metrics = {"precision_at_1": 0.9, "r_precision": score + 0.01 * seed, "mean_average_precision_at_r": score}
    common = {"data": "glyphs", "split": "test", "steps": 400, "title": recipe.title()}
    return {"recipe": recipe, "seed": seed, "metrics": metrics, **common, **more}


def records(*recipes, **more):
    return [record(name, seed, score, **more) for name in recipes for seed, score in enumerate(SCORES[name])]


def differences(*lines):
    return paired_differences(summarise(lines), BASES)


def test_differences_are_taken_seed_by_seed():
    nir, guided = differences(*records(*SCORES))
    pairs = [method - base for method, base in zip(SCORES["nir"], SCORES["anchor"], strict=True)]
    assert (nir.method.recipe, nir.base.recipe, nir.seeds) == ("nir", "anchor", [0, 1, 2, 3, 4])
    change = nir.changes["mean_average_precision_at_r"]
    assert change.mean == pytest.approx(np.mean(pairs))
    assert (change.low, change.high) == pytest.approx(bootstrap_interval(pairs))
    assert nir.p_value == pytest.approx(stats.ttest_rel(SCORES["nir"], SCORES["anchor"]).pvalue)
    assert nir.changes["precision_at_1"] == Change(0.0, 0.0, 0.0)
    assert guided.method.recipe == "guided"  # the smaller gain comes second


def test_p_values_are_corrected_for_all_comparisons():
    found = differences(*records(*SCORES))
    low, high = sorted(found, key=lambda difference: difference.p_value)
    assert low.adjusted_p == pytest.approx(2 * low.p_value)
    assert high.adjusted_p == pytest.approx(max(high.p_value, low.adjusted_p))
    (alone,) = differences(*records("anchor", "nir"))
    assert alone.adjusted_p == alone.p_value


def test_only_seeds_that_both_have_are_paired():
    shuffled = [*records("anchor")[1:], record("anchor", 7, 0.1), *records("nir")[::-1]]
    (difference,) = differences(*shuffled)
    assert difference.seeds == [1, 2, 3, 4]
    pairs = [method - base for method, base in zip(SCORES["nir"][1:], SCORES["anchor"][1:], strict=True)]
    assert difference.changes["mean_average_precision_at_r"].mean == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"environment": {"torch": "2.14.0"}},
        {"data": "emoji"},
        {"split": "validation"},
        {"steps": 100},
    ],
)
def test_runs_are_never_paired_across(elsewhere):
    assert differences(*records("anchor"), *records("nir", **elsewhere)) == []
    both = [*records("anchor"), *records("nir", **elsewhere), *records("anchor", **elsewhere)]
    (difference,) = differences(*both)
    assert all({**run, **elsewhere} == run for run in difference.base.runs)


def test_a_base_with_several_settings_is_the_one_with_the_methods_own():
    variants = {
        "plain": {},
        "same overrides": {"overrides": {"lr": 1}},
        "tuned": {"tuned": {"lr": 2}, "settings": "t"},
        "fewer seeds": {"overrides": {"lr": 3}},
    }
    bases = [r for name, more in variants.items() for r in records("anchor", title=name, **more)]
    bases = [r for r in bases if r["title"] != "fewer seeds" or r["seed"] == 0]

    def chosen(**more):
        (difference,) = differences(*bases, *records("nir", **more))
        return difference.base.title

    assert chosen() == "plain"
    assert chosen(overrides={"lr": 1}) == "same overrides"
    assert chosen(tuned={"nir_weight": 2}) == "tuned"


def test_of_equally_good_bases_the_best_counts():
    better = [record("anchor", seed, score + 0.1, settings="b") for seed, score in enumerate(SCORES["anchor"])]
    (difference,) = differences(*records("anchor", settings="a"), *better, *records("nir", settings="c"))
    assert difference.base.runs[0]["settings"] == "b"
    assert difference.changes["mean_average_precision_at_r"].mean < 0


def test_a_diverged_run_is_visible_and_not_counted_as_a_test():
    lines = records("anchor", "nir", "guided")
    lines[5]["metrics"]["mean_average_precision_at_r"] = math.nan  # a seed of nir
    guided, nir = differences(*lines)
    assert nir.method.recipe == "nir"  # last
    assert math.isnan(nir.adjusted_p)
    assert guided.adjusted_p == guided.p_value
    assert differences_table([guided, nir]).rows[1][4] == "nan"


def test_change_is_shown_in_points():
    assert str(Change(0.0083, -0.0021, 0.0187)) == "+0.83 [-0.21, +1.87]"
    assert str(Change(-0.0083, math.nan, math.nan)) == "-0.83"


def test_table_of_one_seed_claims_no_interval_and_no_p():
    lines = [line for line in records("anchor", "nir") if line["seed"] == 0]
    table = differences_table(differences(*lines))
    assert table.header == ["Method", "Compared with", "R@1", "R-precision", "MAP@R", "p (Holm)", "Seeds"]
    assert list(table.rows[0]) == ["Nir", "Anchor", "+0.00", "+1.20", "+1.20", "", "1"]


def test_table_shows_some_methods_but_corrects_for_all():
    found = differences(*records(*SCORES))
    table = differences_table(found, ["nir"])
    assert [row[0] for row in table.rows] == ["Nir"]
    assert "Holm for 2 comparisons" in table.caption
    assert list(table.rows[0]) in [list(row) for row in differences_table(found).rows]
    with pytest.raises(ValueError, match=r"must be a method and its base .* got none for recipes=\['supcon'\]"):
        differences_table(found, ["supcon"])


def test_small_p_values_are_bounds():
    base = [0.7, 0.71, 0.72, 0.73, 0.74]
    lines = [record("anchor", seed, score) for seed, score in enumerate(base)]
    lines += [record("nir", seed, score + 0.1 + 1e-4 * seed) for seed, score in enumerate(base)]
    assert differences_table(differences(*lines)).rows[0][-2] == "< 0.001"


def test_methods_with_map_across_modalities_are_compared_by_it():
    lines = []
    for name in ("anchor", "nir"):
        for seed, score in enumerate(SCORES[name]):
            metrics = {"mean_average_precision": score, "recall_at_1": 1 - score, "NMI": 0.5}
            lines.append({**record(name, seed, score), "metrics": metrics})
    (nir,) = differences(*lines)
    mean = np.mean(np.subtract(SCORES["nir"], SCORES["anchor"]))
    assert nir.gain.mean == pytest.approx(mean)
    assert nir.changes["recall_at_1"].mean == pytest.approx(-mean)
    assert nir.p_value == pytest.approx(stats.ttest_rel(SCORES["nir"], SCORES["anchor"]).pvalue)
    table = differences_table([nir], metrics=["recall_at_1", "mean_average_precision"])
    assert table.header[2:4] == ["R@1", "mAP"]
    assert "t test on mAP," in table.caption
