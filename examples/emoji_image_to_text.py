"""Find the words that belong to a drawing of an emoji, and the drawings that belong to words: CrossCLR and others.

    python -m pml_proxyext.benchmark prepare emoji_text
    python examples/emoji_image_to_text.py search [--smoke]
    python examples/emoji_image_to_text.py [--smoke]

The first call needs the extras emoji and emoji-text, and fetches and encodes; a trial (--smoke) does without. The
search tries settings on validation classes; the last call trains with the best of those that our search has left in
docs/results, and evaluates on test classes. docs/crossclr.md says what came out. A second call goes on where the first
was interrupted.
"""

from __future__ import annotations

import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

from pml_proxyext.benchmark.datasets.emoji_text import load_emoji_text
from pml_proxyext.benchmark.datasets.paired_views import stand_in
from pml_proxyext.benchmark.experiments import Experiment
from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.two_views.methods import METHODS
from pml_proxyext.benchmark.two_views.report import (
    best_settings,
    draw,
    draw_search,
    gains,
    scores,
    search,
    search_gains,
)
from pml_proxyext.benchmark.two_views.training import score, train

DATA, TRIALS, SEEDS, STEPS, SMOKE_STEPS = "emoji_text", 12, 10, 300, 4
SEARCHED = Path(__file__).parents[1] / "docs" / "results" / "search_emoji_text"
LOADERS = {DATA: cache(load_emoji_text), "stand_in": cache(stand_in)}


def measure(recipe: str, seed: int, data: str, split: str, steps: int, **settings: Any) -> dict[str, Any]:
    """Train on the pairs of the split, and score on those that it holds out."""
    pairs, method = LOADERS[data](split), METHODS[recipe]
    networks = train(method, settings, pairs.train, steps)
    chosen = {"tuned" if split == "test" else "overrides": settings}
    return {"data": data, "split": split, "title": method.title, "metrics": score(networks, pairs.evaluation), **chosen}


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


SEARCH = Experiment(
    name="search_emoji_text",
    settings=settings_of_search(DATA, TRIALS, STEPS),
    smoke=settings_of_search("stand_in", 2, SMOKE_STEPS),
    measure=measure,
    tables={"search_emoji_text": search, "search_emoji_text_gains": search_gains},
    draw=draw_search,
)
EXPERIMENT = Experiment(
    name="emoji_text",
    settings=settings_of_test(DATA, SEEDS, STEPS),
    smoke=settings_of_test("stand_in", 2, SMOKE_STEPS),
    measure=measure,
    tables={
        "emoji_image_to_text": partial(scores, direction="a_to_b", name="drawing to text"),
        "emoji_text_to_image": partial(scores, direction="b_to_a", name="text to drawing"),
        "emoji_text_gains": gains,
    },
    draw=draw,
)

if __name__ == "__main__":
    is_search = sys.argv[1:2] == ["search"]
    (SEARCH if is_search else EXPERIMENT).main(__doc__, sys.argv[2:] if is_search else None)
