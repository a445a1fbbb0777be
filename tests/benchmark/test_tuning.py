import json

import pytest

from pml_proxyext.benchmark.datasets import DATASETS
from pml_proxyext.benchmark.recipes import RECIPES, get_recipe
from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.run import Run
from pml_proxyext.benchmark.search_spaces import LogUniform, Uniform
from pml_proxyext.benchmark.tuning import (
    SETTINGS_FILE,
    choose,
    draw_settings,
    read_settings,
    shipped_settings,
    trials,
    tune,
    write_settings,
)


def test_trials_begin_with_the_recipe_and_grow_with_the_budget():
    assert trials("supcon", 1) == [{}]
    few, many = trials("proxy_anchor", 4), trials("proxy_anchor", 9)
    assert many[:4] == few
    assert len({json.dumps(trial) for trial in many}) == 9
    assert trials("untrained", 5) == [{}]


def test_trials_cover_each_dimension():
    drawn = trials("supcon", 65)[1:]
    for key, low, middle, high in (("lr", 5e-4, 5e-6**0.5, 1e-2), ("temperature", 0.03, 0.018**0.5, 0.6)):
        values = [trial[key] for trial in drawn]
        assert low <= min(values) < max(values) <= high
        assert 26 <= sum(value < middle for value in values) <= 38  # 32 of 64, evenly spread
    assert {trial["images_per_class"] for trial in drawn} == {2, 4, 8}


def test_trials_over_a_base_keep_what_was_chosen_for_it():
    chosen = {"lr": 0.01, "softmax_scale": 3.0, "lr_multipliers.proxies": 7.0, "images_per_class": 2}
    for trial in trials("nir_proxy_nca", 3, chosen):
        recipe = get_recipe("nir_proxy_nca").with_overrides(trial)
        assert (recipe.lr, recipe.images_per_class, recipe.base.options["softmax_scale"]) == (0.01, 2, 3.0)
        assert recipe.lr_multipliers["proxies"] == 7.0
    assert set(trials("nir_proxy_nca", 2, chosen)[1]) - set(trials("nir_proxy_nca", 1, chosen)[0]) == {
        "nir_weight",
        "noise_scale",
        "lr_multipliers.flow",
        "detach_condition",
    }


def test_trials_that_keep_settings_change_only_their_own():
    chosen = {"lr": 0.01, "images_per_class": 4, "embedding_reg_weight": 0.05}
    drawn = trials("almn", 4, chosen)
    assert drawn[0] == chosen
    for trial in drawn[1:]:
        assert trial == {**chosen, "beta": trial["beta"], "detach_margin": trial["detach_margin"]}


def test_tune_gives_kept_settings_to_the_recipes_that_keep_them(tmp_path):
    chosen = tune(["almn_normalized"], "glyphs", 2, tmp_path, smoke=True, progress=False)
    assert set(chosen) == {"almn_normalized", "npairs_normalized"}
    records = [r for r in read_results(tmp_path) if r["recipe"] == "almn_normalized"]
    assert len(records) == 2
    assert all(chosen["npairs_normalized"].items() <= r["overrides"].items() for r in records)


def test_tune_spends_the_same_on_each_and_takes_the_best_on_validation_classes(tmp_path):
    chosen = tune(["supcon", "nir_proxy_nca", "untrained"], "glyphs", 3, tmp_path, smoke=True, progress=False)
    records = read_results(tmp_path)
    spent = {name: [r for r in records if r["recipe"] == name] for name in chosen}
    assert {name: len(runs) for name, runs in spent.items()} == {
        "supcon": 3,
        "proxy_nca": 3,
        "nir_proxy_nca": 3,
        "untrained": 1,
    }
    assert {r["split"] for r in records} == {"validation"}
    for name, runs in spent.items():
        best = max(runs, key=lambda r: r["metrics"]["mean_average_precision_at_r"])
        assert chosen[name] == best["overrides"]
    inherited = get_recipe("nir_proxy_nca").over_base(chosen["proxy_nca"])
    assert inherited.items() <= chosen["nir_proxy_nca"].items()
    assert read_settings(tmp_path / SETTINGS_FILE, "glyphs") == chosen

    lines = (tmp_path / "runs.jsonl").read_bytes()
    assert tune(list(chosen), "glyphs", 3, tmp_path, smoke=True, progress=False) == chosen
    assert (tmp_path / "runs.jsonl").read_bytes() == lines  # nothing is done twice


def test_choose_never_takes_a_trial_that_diverged():
    runs = [Run("supcon", overrides={"temperature": t}, split="validation") for t in (0.1, 0.2, 0.3)]
    scores = [float("nan"), 0.2, 0.1]
    records = [
        {"key": run.key, "metrics": {"mean_average_precision_at_r": score}}
        for run, score in zip(runs, scores, strict=True)
    ]
    assert choose({"supcon": runs}, records) == {"supcon": {"temperature": 0.2}}
    assert choose({"supcon": runs}, records[::2]) == {"supcon": {"temperature": 0.3}}


def test_read_settings_of_another_data_set_or_damaged_is_an_error(tmp_path):
    path = tmp_path / SETTINGS_FILE
    write_settings(path, "glyphs", 3, {"supcon": {"lr": 0.1}})
    assert read_settings(path, "glyphs") == {"supcon": {"lr": 0.1}}
    with pytest.raises(ValueError, match=r"settings must be those of the data set 'emoji', got .* of 'glyphs'"):
        read_settings(path, "emoji")
    path.write_text("[]")
    with pytest.raises(ValueError, match="settings must be a file that 'tune' has written"):
        read_settings(path, "glyphs")
    with pytest.raises(ValueError, match="No such file"):
        read_settings(tmp_path / "nowhere.json", "glyphs")


@pytest.mark.parametrize("data", DATASETS)
def test_shipped_settings_fit_the_recipes(data):
    for name, settings in shipped_settings(data).items():
        assert name in RECIPES
        Run(name, data=data, tuned=settings).resolved_recipe()


def test_tune_with_a_budget_out_of_range_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="budget must be an integer >= 1, got 0"):
        tune(["supcon"], "glyphs", 0, tmp_path)


def test_spaces_that_begin_alike_have_the_same_points_of_what_they_share():
    shared = {"lr": LogUniform(1e-3, 1e-1), "dropout": Uniform(0.0, 0.7)}
    few = draw_settings(shared, 6, "a name")
    more = draw_settings({**shared, "margin": Uniform(0.0, 1.0)}, 6, "a name")
    assert [{key: one[key] for key in shared} for one in more] == few
    assert draw_settings(shared, 6, "another name") != few
