import dataclasses

import pytest

from pml_proxyext.benchmark.parts import Part
from pml_proxyext.benchmark.recipes import RECIPES, get_recipe
from pml_proxyext.benchmark.run import Run, execute
from pml_proxyext.benchmark.search_spaces import search_space

SHIPPED = dict(RECIPES)  # before the page that shows how to add one is run


def test_recipes_cover_the_losses_to_compare():
    pml = {
        "ContrastiveLoss",
        "TripletMarginLoss",
        "MultiSimilarityLoss",
        "NTXentLoss",
        "SupConLoss",
        "ProxyNCALoss",
        "SoftTripleLoss",
        "NormalizedSoftmaxLoss",
        "ArcFaceLoss",
        "NPairsLoss",
    }
    losses = {recipe.loss.path.rsplit(".", 1)[1] for recipe in SHIPPED.values() if recipe.loss}
    pairwise = {"PairwiseCrossEntropyLoss", "SimplifiedPairwiseCrossEntropyLoss"}
    assert losses == pml | pairwise | {"ProxyAnchorLoss", "NIRLoss", "NivMFLoss", "CrossEntropyDMLLoss", "ALMNLoss"}
    similarities = {recipe.loss.options.get("similarity") for recipe in SHIPPED.values() if recipe.loss}
    assert similarities - {None} == {"el_nivmf", "nivmf", "el_vmf", "b_vmf", "kl_vmf", "l2", "cosine"}
    assert all(recipe.name == name for name, recipe in SHIPPED.items())
    assert len({recipe.title for recipe in SHIPPED.values()}) == len(SHIPPED)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs(name, tmp_path):
    steps = None if name == "untrained" else 1
    record = execute(Run(name, steps=steps, smoke=True), tmp_path)
    assert record["recipe"] == name
    assert record["steps"] == (steps or 0)
    assert 0 < record["metrics"]["mean_average_precision_at_r"] < 1
    assert record["metrics"]["precision_at_1"] > 0.5  # glyphs of 24 classes: pixels do better than that


def test_settings_kept_in_a_search_are_no_settings_of_the_run():
    recipe = get_recipe("almn")
    assert recipe.keeps_settings
    assert dataclasses.replace(recipe, keeps_settings=False).settings() == recipe.settings()
    for name, other in SHIPPED.items():
        if other.keeps_settings:  # settings of the one fit the other
            get_recipe(name).with_overrides(dict.fromkeys(search_space(other.compared_with), 1))


def test_with_overrides_reaches_fields_options_and_parts():
    recipe = get_recipe("nir_proxy_nca").with_overrides(
        {"lr": 0.01, "nir_weight": 0.5, "base.softmax_scale": 3, "lr_multipliers.flow": 2, "batch_size": 48}
    )
    assert (recipe.lr, recipe.batch_size) == (0.01, 48)
    assert recipe.loss.options["nir_weight"] == 0.5
    assert recipe.base.options == {"softmax_scale": 3}
    assert recipe.lr_multipliers == {**RECIPES["nir_proxy_nca"].lr_multipliers, "flow": 2.0}
    miner = get_recipe("triplet").with_overrides({"miner.epsilon": 0.2}).miner
    assert miner == Part("pytorch_metric_learning.miners.MultiSimilarityMiner", {"epsilon": 0.2})
    assert RECIPES["nir_proxy_nca"].lr != 0.01


@pytest.mark.parametrize(
    ("recipe", "key", "message"),
    [
        ("nir_proxy_anchor", "nir_wieght", "setting must be one of .* got 'nir_wieght'; did you mean 'nir_weight'"),
        ("supcon", "embeding_size", "did you mean 'embedding_size'"),
        ("supcon", "minor.epsilon", "got 'minor'; did you mean 'miner'"),
        ("supcon", "miner.epsilon", "'supcon' has no miner"),
        ("untrained", "temperature", "'untrained' has no loss"),
        ("triplet", "miner.epsilom", "did you mean 'epsilon'"),
        ("supcon", "name", "setting must be one of"),
        ("supcon", "loss", "setting must be one of"),
    ],
)
def test_with_overrides_what_fits_nothing_is_an_error(recipe, key, message):
    with pytest.raises(ValueError, match=message):
        get_recipe(recipe).with_overrides({key: 1})


@pytest.mark.parametrize(("key", "value"), [("lr", "fast"), ("batch_size", 9.5), ("init_from_data", 3), ("trunk", 7)])
def test_with_overrides_of_another_type_is_an_error(key, value):
    with pytest.raises(ValueError, match=f"{key} must be"):
        get_recipe("supcon").with_overrides({key: value})


def test_get_recipe_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"recipe must be one of .* got 'proxy_ancor'; did you mean 'proxy_anchor'"):
        get_recipe("proxy_ancor")


def test_recipes_are_data_that_cannot_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECIPES["supcon"].lr = 1.0
