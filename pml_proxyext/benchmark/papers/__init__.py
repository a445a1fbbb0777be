"""The papers' own runs on photographs, as recipes, each for one data set."""

from pml_proxyext.benchmark.papers.abe import ABE_RECIPES
from pml_proxyext.benchmark.papers.baselines import BASELINE_RECIPES
from pml_proxyext.benchmark.papers.cross_entropy import CROSS_ENTROPY_RECIPES
from pml_proxyext.benchmark.papers.nir import NIR_RECIPES
from pml_proxyext.benchmark.papers.nivmf import NIVMF_RECIPES
from pml_proxyext.benchmark.recipe import Recipe

__all__ = ["PAPER_RECIPES", "paper_recipe_names"]

#: The recipes by name.
PAPER_RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (*BASELINE_RECIPES, *NIR_RECIPES, *NIVMF_RECIPES, *CROSS_ENTROPY_RECIPES, *ABE_RECIPES)
}


def paper_recipe_names() -> dict[str, list[str]]:
    """Return the names of the recipes by their data set; the first is the untrained network."""
    names: dict[str, list[str]] = {}
    for recipe in PAPER_RECIPES.values():
        names.setdefault(recipe.data or "", []).append(recipe.name)
    return names
