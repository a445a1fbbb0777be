"""Learn from crops of emoji without labels: DEMI and InfoNCE, with as many steps and negatives.

    python -m pml_proxyext.benchmark prepare emoji_vendors
    python examples/emoji_demi.py search [--smoke]
    python examples/emoji_demi.py [--smoke]

The first call needs the extra emoji, and fetches and draws; a trial (--smoke) does without. The search tries settings
on validation emoji; the last call trains with the best of those that our search has left in docs/results, and evaluates
on test emoji. docs/demi.md says what came out. A second call goes on where the first was interrupted.
"""

from __future__ import annotations

import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

from pml_proxyext.benchmark.datasets.emoji_drawings import drawings_stand_in, load_emoji_drawings
from pml_proxyext.benchmark.experiments import Experiment
from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.self_supervised.evaluation import renew_batch_norm, score
from pml_proxyext.benchmark.self_supervised.methods import METHODS, UNTRAINED
from pml_proxyext.benchmark.self_supervised.report import best_settings, draw, draw_search, gains, scores, search
from pml_proxyext.benchmark.self_supervised.training import train

DATA, TRIALS, SEEDS, STEPS, SMOKE_STEPS = "emoji_drawings", 6, 5, 400, 2
SEARCHED = Path(__file__).parents[1] / "docs" / "results" / "search_emoji_demi"
LOADERS = {DATA: cache(load_emoji_drawings), "stand_in": cache(drawings_stand_in)}


def measure(recipe: str, seed: int, data: str, split: str, steps: int, **settings: Any) -> dict[str, Any]:
    """Train on the drawings of some emoji, and score on those of others."""
    train_data, held_out = LOADERS[data](split)
    start = time.process_time()
    loss = {}
    if recipe in METHODS:
        network, loss["loss"] = train(METHODS[recipe], settings, train_data.images, steps)
    else:
        network = UNTRAINED[recipe].make()
        renew_batch_norm(network, train_data.images)
    cost = round(time.process_time() - start, 2)
    return {
        "data": data,
        "split": split,
        "title": (METHODS | UNTRAINED)[recipe].title,
        "metrics": score(network, train_data, held_out) | {name: round(value, 6) for name, value in loss.items()},
        "cpu_seconds_training": cost,
        "tuned" if split == "test" else "overrides": settings,
    }


def settings_of_search(data: str, budget: int, steps: int) -> list[dict[str, Any]]:
    """Return the trials of all methods; each has its first before any has its second."""
    common = {"seed": 0, "data": data, "split": "validation", "steps": steps}
    trials = {name: method.trials(budget) for name, method in METHODS.items()}
    return [{"recipe": name, **common, **trials[name][i]} for i in range(budget) for name in METHODS]


def settings_of_test(data: str, seeds: int, steps: int) -> list[dict[str, Any]]:
    """Return all seeds of all methods, with what our search chose, and what is not trained."""
    chosen = best_settings(read_results(SEARCHED)) if SEARCHED.is_dir() else {}
    common = {"data": data, "split": "test"}
    runs: list[dict[str, Any]] = [{"recipe": "pixels", "seed": 0, **common, "steps": 0}]
    for seed in range(seeds):
        runs.append({"recipe": "untrained", "seed": seed, **common, "steps": 0})
        for name, method in METHODS.items():
            settings = chosen.get(name, method.trials(1)[0])
            runs.append({"recipe": name, "seed": seed, **common, "steps": steps, **settings})
    return runs


SEARCH = Experiment(
    name="search_emoji_demi",
    settings=settings_of_search(DATA, TRIALS, STEPS),
    smoke=settings_of_search("stand_in", 2, SMOKE_STEPS),
    measure=measure,
    tables={"search_emoji_demi": search},
    draw=draw_search,
)
EXPERIMENT = Experiment(
    name="emoji_demi",
    settings=settings_of_test(DATA, SEEDS, STEPS),
    smoke=settings_of_test("stand_in", 2, SMOKE_STEPS),
    measure=measure,
    tables={"emoji_demi": scores, "emoji_demi_gains": gains},
    draw=draw,
)

if __name__ == "__main__":
    is_search = sys.argv[1:2] == ["search"]
    (SEARCH if is_search else EXPERIMENT).main(__doc__, sys.argv[2:] if is_search else None)
