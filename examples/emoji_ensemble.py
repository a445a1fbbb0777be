"""Tell drawings of emoji apart by four learners that differ in where they look: ABE, heads of their own, and one head.

    python -m pml_proxyext.benchmark prepare emoji
    python examples/emoji_ensemble.py search [--smoke]
    python examples/emoji_ensemble.py [--smoke]

The first call needs the extra emoji, and fetches and draws; a trial (--smoke) does without. The search tries settings
on validation classes; the last call trains with the best of those that our search has left in docs/results, and
evaluates on test classes. docs/abe.md says what came out. A second call goes on where the first was interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pml_proxyext.benchmark.comparison import Difference, differences_table, paired_differences
from pml_proxyext.benchmark.datasets.emoji import load_emoji_images
from pml_proxyext.benchmark.ensembles import METHODS, image_stand_in, score, train
from pml_proxyext.benchmark.experiments import Experiment, figure_of, interval_text
from pml_proxyext.benchmark.report import provenance_line
from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.search_report import search_table
from pml_proxyext.benchmark.summaries import summarise
from pml_proxyext.benchmark.tables import TextTable
from pml_proxyext.benchmark.two_views.report import best_settings

DATA, TRIALS, SEEDS, STEPS, SMOKE_STEPS = "emoji_images", 6, 5, 200, 2
SEARCHED = Path(__file__).parents[1] / "docs" / "results" / "search_emoji_ensemble"
LOADERS = {DATA: cache(load_emoji_images), "stand_in": cache(image_stand_in)}
COLUMNS = {
    "mean_average_precision_at_r": "MAP@R",
    "precision_at_1": "R@1",
    "learner_mean_mean_average_precision_at_r": "One: MAP@R",
    "learner_mean_precision_at_1": "One: R@1",
    "self_pair_cosine": "Cosine",
}


def measure(recipe: str, seed: int, data: str, split: str, steps: int, **settings: Any) -> dict[str, Any]:
    """Train on some emoji, and tell others apart."""
    method, images = METHODS[recipe], LOADERS[data](split)
    network = train(method, images.train, steps, **settings)
    return {
        "data": data,
        "split": split,
        "title": method.title,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "metrics": score(network, images.evaluation, method.learners),
        "tuned" if split == "test" else "overrides": settings,
    }


def settings_of_search(data: str, budget: int, steps: int) -> list[dict[str, Any]]:
    """Return the trials of all methods; each has its first before any has its second."""
    common = {"seed": 0, "data": data, "split": "validation", "steps": steps}
    trials = {name: method.trials(budget) for name, method in METHODS.items()}
    return [{"recipe": name, **common, **trials[name][i]} for i in range(budget) for name in METHODS]


def settings_of_test(data: str, seeds: int, steps: int) -> list[dict[str, Any]]:
    """Return all seeds of all methods, with what our search chose; a script without its results begins anew."""
    chosen = best_settings(read_results(SEARCHED)) if SEARCHED.is_dir() else {}
    return [
        {"recipe": name, "seed": seed, "data": data, "split": "test", "steps": steps}
        | chosen.get(name, method.trials(1)[0])
        for seed in range(seeds)
        for name, method in METHODS.items()
    ]


def values(records: Sequence[dict[str, Any]], name: str, metric: str) -> list[float]:
    """Return what a method reached, one number for each seed; none if it has no such metric."""
    runs = [record["metrics"] for record in records if record["recipe"] == name]
    return [run[metric] for run in runs if metric in run]


def table(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return a row for each method with what it reaches and what it costs."""
    rows = []
    for name, method in METHODS.items():
        runs = [record for record in records if record["recipe"] == name]
        cells = [values(records, name, metric) for metric in COLUMNS]
        texts = [interval_text(cell, 1, 100) if cell else "" for cell in cells[:-1]]
        texts.append(interval_text(cells[-1], 2) if cells[-1] else "")
        seconds = sum(run["cpu_seconds"] for run in runs) / len(runs)
        rows.append([method.title, f"{runs[0]['parameters']:,}", *texts, f"{seconds:.0f}"])
    parts = [
        f"percent; mean ± 95% interval over {len(runs)} seeds (Student's t)",
        "One: mean over learners or heads alone, or quarters of the one head",
        "Cosine: of two learners on the same image",
        "CPU seconds of a run",
    ]
    header = ["Method", "Parameters", *COLUMNS.values(), "CPU s"]
    return TextTable(header, rows, provenance_line(summarise(records), parts), words=("Method",))


def differences(records: Sequence[dict[str, Any]]) -> list[Difference]:
    """Compare the methods seed by seed."""
    return paired_differences(summarise(records), {name: method.compared_with for name, method in METHODS.items()})


def gains(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return a row for each comparison."""
    return differences_table(differences(records), metrics=("mean_average_precision_at_r", "precision_at_1"))


def search(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return a row for each method with what its search did."""
    return search_table(records, best_settings(records))


def draw(records: Sequence[dict[str, Any]]) -> Figure:
    """Draw every run, a row for each method: all learners together, each alone, and how alike they are."""
    panels = {
        "MAP@R (%)": {"mean_average_precision_at_r": "all", "learner_mean_mean_average_precision_at_r": "one alone"},
        "Cosine of two learners on the same image": {"self_pair_cosine": "cosine"},
    }
    split = records[0]["split"]
    figure, axes = figure_of(f"{DATA}, {split} classes: every run", list(panels))
    for panel, metrics in zip(axes, panels.values(), strict=True):
        for (metric, label), colour in zip(metrics.items(), ("#0072B2", "#D55E00"), strict=False):
            for row, name in enumerate(METHODS):
                factor = 1 if metric == "self_pair_cosine" else 100
                found = [factor * value for value in values(records, name, metric)]
                panel.plot(found, [row] * len(found), "o", color=colour, alpha=0.6, label=label if not row else None)
        panel.set(yticks=range(len(METHODS)), ylim=(len(METHODS) - 0.5, -0.5))
        panel.set_yticklabels([])
    axes[0].set_yticklabels([method.title for method in METHODS.values()])
    axes[0].legend(frameon=False, fontsize="small")
    return figure


SEARCH = Experiment(
    name="search_emoji_ensemble",
    settings=settings_of_search(DATA, TRIALS, STEPS),
    smoke=settings_of_search("stand_in", 1, SMOKE_STEPS),
    measure=measure,
    tables={"search_emoji_ensemble": search},
    draw=draw,
)
EXPERIMENT = Experiment(
    name="emoji_ensemble",
    settings=settings_of_test(DATA, SEEDS, STEPS),
    smoke=settings_of_test("stand_in", 2, SMOKE_STEPS),
    measure=measure,
    tables={"emoji_ensemble": table, "emoji_ensemble_gains": gains},
    draw=draw,
)

if __name__ == "__main__":
    is_search = sys.argv[1:2] == ["search"]
    (SEARCH if is_search else EXPERIMENT).main(__doc__, sys.argv[2:] if is_search else None)
