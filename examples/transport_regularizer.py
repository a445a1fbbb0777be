"""Train with two losses on glyphs, with and without the cost of transport to the sphere, and look for unseen classes.

    python examples/transport_regularizer.py search [--smoke]
    python examples/transport_regularizer.py [--smoke]

The search tries settings on validation classes, as many for a loss with the regularizer as for the loss alone. The last
call trains with the best of those that our search has left in docs/results, and evaluates on test classes.
docs/geometric_view.md says what came out. A second call goes on where the first was interrupted.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from pml_proxyext.benchmark.comparison import Difference, differences_table, paired_differences
from pml_proxyext.benchmark.datasets import load_data
from pml_proxyext.benchmark.experiments import Experiment, figure_of, interval_text
from pml_proxyext.benchmark.figures import draw_differences
from pml_proxyext.benchmark.parts import Part
from pml_proxyext.benchmark.recipe import Recipe
from pml_proxyext.benchmark.recipe_fits import fit_recipe
from pml_proxyext.benchmark.recipes import get_recipe
from pml_proxyext.benchmark.report import provenance_line
from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.search_report import search_table
from pml_proxyext.benchmark.search_spaces import LogUniform, search_space
from pml_proxyext.benchmark.summaries import summarise
from pml_proxyext.benchmark.tables import TextTable
from pml_proxyext.benchmark.tuning import draw_settings
from pml_proxyext.benchmark.two_views.report import best_settings
from pml_proxyext.regularizers import OptimalTransportRegularizer

TRIALS, SEEDS, STEPS, CLASSES = 6, 5, 150, 430
BASES, SUFFIX, WITHOUT = ("supcon", "triplet"), "_transport", "_without"
WEIGHT, WEIGHTS = 0.1, LogUniform(0.01, 3.0)
SEARCHED = Path(__file__).parents[1] / "docs" / "results" / "search_transport_regularizer"
SCORE = "mean_average_precision_at_r"

glyphs = cache(load_data)


def with_transport(base: str) -> Recipe:
    """Return the recipe of a loss with the regularizer."""
    recipe = get_recipe(base)
    loss = recipe.loss.with_option(
        "embedding_regularizer", Part("pml_proxyext.regularizers.OptimalTransportRegularizer")
    )
    changes = {"title": f"{recipe.title}, transport", "loss": loss, "compared_with": base}
    return dataclasses.replace(recipe, name=base + SUFFIX, **changes)


def without_transport(base: str) -> Recipe:
    """Return the recipe of a loss for the settings that were chosen with the regularizer: what these alone change."""
    recipe = get_recipe(base)
    changes = {"title": f"{recipe.title}, transport taken off", "compared_with": base + SUFFIX}
    return dataclasses.replace(recipe, name=base + WITHOUT, **changes)


SEARCHED_METHODS = {name: get_recipe(name) for name in BASES} | {name + SUFFIX: with_transport(name) for name in BASES}
METHODS = SEARCHED_METHODS | {name + WITHOUT: without_transport(name) for name in BASES}


def trials(name: str, budget: int) -> list[dict[str, Any]]:
    """Return the settings to try: with the regularizer those of the loss alone, and a weight with each."""
    base = name.removesuffix(SUFFIX)
    space, first = dict(search_space(base)), {}
    if name != base:
        space, first = {**space, "embedding_reg_weight": WEIGHTS}, {"embedding_reg_weight": WEIGHT}
    return [first, *draw_settings(space, budget - 1, base)]


def measure(recipe: str, seed: int, data: str, split: str, steps: int, classes: int, **settings: Any) -> dict[str, Any]:
    """Train on some glyphs and tell others apart."""
    method = METHODS[recipe]
    fit = fit_recipe(method.with_overrides(settings), glyphs(data, split).first_classes(classes), seed, steps)
    generator = torch.Generator().manual_seed(0)
    shuffled = fit.embeddings[torch.randperm(len(fit.embeddings), generator=generator)]
    costs = [OptimalTransportRegularizer(generator=generator)(batch) for batch in shuffled[: 10 * 96].split(96)]
    return {
        "data": data,
        "split": split,
        "title": method.title,
        "metrics": {**fit.metrics, "transport_cost": float(f"{torch.stack(costs).mean():.5g}")},
        "tuned" if split == "test" else "overrides": settings,
    }


def settings_of_search(budget: int, **common: Any) -> list[dict[str, Any]]:
    """Return the trials of all methods; each has its first before any has its second."""
    common = {"seed": 0, "data": "glyphs", "split": "validation", **common}
    return [{"recipe": name, **common, **trials(name, budget)[i]} for i in range(budget) for name in SEARCHED_METHODS]


def settings_of_test(seeds: int, **common: Any) -> list[dict[str, Any]]:
    """Return all seeds of all methods, with what our search chose; a script without its results begins anew."""
    found = best_settings(read_results(SEARCHED)) if SEARCHED.is_dir() else {}
    chosen = {name: found.get(name, trials(name, 1)[0]) for name in SEARCHED_METHODS}
    for base in BASES:
        kept = {name: value for name, value in chosen[base + SUFFIX].items() if name != "embedding_reg_weight"}
        if kept != chosen[base]:  # else they are the runs of the loss alone
            chosen[base + WITHOUT] = kept
    common = {"data": "glyphs", "split": "test", **common}
    return [{"recipe": name, "seed": seed, **common, **own} for seed in range(seeds) for name, own in chosen.items()]


def table(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return a row for each method."""
    metrics = {"precision_at_1": "R@1", "r_precision": "R-precision", SCORE: "MAP@R"}
    rows = []
    for name in sorted({record["recipe"] for record in records}):
        runs = [record["metrics"] for record in records if record["recipe"] == name]
        scores = [interval_text([run[metric] for run in runs], 1, 100) for metric in metrics]
        rows.append([METHODS[name].title, *scores, interval_text([run["transport_cost"] for run in runs], 3)])
    parts = [
        f"percent; mean ± 95% interval over {len(runs)} seeds (Student's t)",
        "cost: of transport from batches of 96 test embeddings to the sphere",
    ]
    header = ["Method", *metrics.values(), "Cost"]
    return TextTable(header, rows, provenance_line(summarise(records), parts), words=("Method",))


def differences(records: Sequence[dict[str, Any]]) -> list[Difference]:
    """Compare a loss with the regularizer with the loss alone, and what is left if it is taken off, seed by seed."""
    return paired_differences(summarise(records), {name: method.compared_with for name, method in METHODS.items()})


def gains(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return a row for each comparison."""
    return differences_table(differences(records))


def search(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return a row for each method with what its search did."""
    return search_table(records, best_settings(records))


def draw(records: Sequence[dict[str, Any]]) -> Figure:
    """Draw the comparisons."""
    return draw_differences(differences(records))


def gains_by_weight(records: Sequence[dict[str, Any]], base: str) -> list[tuple[float, float]]:
    """Return weight and gain in MAP@R of each trial over the trial without the regularizer, all else being the same."""
    plain, regularized = ([r for r in records if r["recipe"] == name] for name in (base, base + SUFFIX))
    return sorted(
        (more["overrides"]["embedding_reg_weight"], more["metrics"][SCORE] - less["metrics"][SCORE])
        for less, more in zip(plain, regularized, strict=True)
    )


def trial_table(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return what the regularizer changes trial by trial; here no setting is chosen by its score."""
    rows = []
    for base in BASES:
        found = gains_by_weight(records, base)
        gain = [100 * value for _, value in found]
        cells = [f"{value:+.2f}" for value in (np.mean(gain), np.median(gain), min(gain), max(gain))]
        best = max(found, key=lambda one: one[1])[0]
        rows.append([METHODS[base + SUFFIX].title, *cells, f"{sum(g > 0 for g in gain)} of {len(gain)}", f"{best:g}"])
    header = ["Method", "Mean", "Median", "Lowest", "Highest", "Above 0", "Weight of the highest"]
    parts = ["MAP@R minus that of the loss alone in the same trial, in points"]
    return TextTable(header, rows, provenance_line(summarise(records), parts), words=("Method",))


def draw_search(records: Sequence[dict[str, Any]]) -> Figure:
    """Draw the gain of each trial over its weight."""
    figure, (axes,) = figure_of("Gain in MAP@R of each trial (points)", [""])
    for base in BASES:
        weights, gain = zip(*gains_by_weight(records, base), strict=True)
        axes.plot(weights, [100 * value for value in gain], "o-", alpha=0.7, label=METHODS[base].title)
    axes.axhline(0, color="black", linewidth=1)
    axes.set(xscale="log", xlabel="weight of the regularizer")
    axes.legend(frameon=False)
    return figure


SMOKE = {"steps": 2, "classes": 60}
FULL = {"steps": STEPS, "classes": CLASSES}
SEARCH = Experiment(
    name="search_transport_regularizer",
    settings=settings_of_search(TRIALS, **FULL),
    smoke=settings_of_search(2, **SMOKE),
    measure=measure,
    tables={"search_transport_regularizer": search, "search_transport_regularizer_trials": trial_table},
    draw=draw_search,
)
EXPERIMENT = Experiment(
    name="transport_regularizer",
    settings=settings_of_test(SEEDS, **FULL),
    smoke=settings_of_test(2, **SMOKE),
    measure=measure,
    tables={"transport_regularizer": table, "transport_regularizer_gains": gains},
    draw=draw,
)

if __name__ == "__main__":
    is_search = sys.argv[1:2] == ["search"]
    (SEARCH if is_search else EXPERIMENT).main(__doc__, sys.argv[2:] if is_search else None)
