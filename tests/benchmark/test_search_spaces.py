import pytest

from pml_proxyext.benchmark.parts import Part
from pml_proxyext.benchmark.recipe import Recipe
from pml_proxyext.benchmark.recipes import RECIPES
from pml_proxyext.benchmark.search_spaces import Choice, LogUniform, Uniform, search_space


def test_dimensions_reach_from_end_to_end_evenly():
    assert [Uniform(1.0, 3.0).at(u) for u in (0.0, 0.5)] == [1.0, 2.0]
    assert [LogUniform(0.01, 100.0).at(u) for u in (0.0, 0.5, 0.75)] == [0.01, 1.0, 10.0]
    drawn = [Choice(("a", "b", "c")).at(i / 30) for i in range(30)]
    assert [drawn.count(option) for option in "abc"] == [10, 10, 10]
    assert LogUniform(1.0, 2.0).at(0.123456) == 1.09  # three digits


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_space_whose_ends_it_takes(name):
    space = search_space(name)
    for position in (0.0, 0.999):
        settings = {key: dimension.at(position) for key, dimension in space.items()}
        RECIPES[name].with_overrides(settings)
    if RECIPES[name].loss is not None:
        # No method has many more numbers to turn than another.
        assert (2 if RECIPES[name].keeps_settings else 3) <= len(space) <= 6


def test_all_methods_may_change_rate_and_batches_but_those_that_keep_what_their_base_has():
    for name, recipe in RECIPES.items():
        if recipe.loss is None:
            continue
        common = {"lr", "images_per_class"}
        if recipe.base is not None or recipe.keeps_settings:
            assert not common & set(search_space(name))
        else:
            assert common <= set(search_space(name))


def test_parameters_of_losses_are_among_what_is_searched():
    for name, recipe in RECIPES.items():
        rates = {key for key in search_space(name) if key.startswith("lr_multipliers.")}
        assert bool(rates) == bool(recipe.lr_multipliers), name


def test_recipe_without_a_space_is_an_error(monkeypatch):
    recipe = Recipe("circle", "Circle", Part("pytorch_metric_learning.losses.CircleLoss"))
    monkeypatch.setitem(RECIPES, "circle", recipe)
    with pytest.raises(ValueError, match=r"recipe must be one with a search space, .* got 'circle'"):
        search_space("circle")
