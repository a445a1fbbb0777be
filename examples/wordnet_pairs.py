"""Train an adapter of a sentence encoder on pairs of WordNet's definitions: PairSupCon and others.

    python examples/wordnet_pairs.py prepare --word-pairs DIR [--wordnet DIR]
    python examples/wordnet_pairs.py [--smoke]

The first call needs the extra emoji-text, WordNet 3.0 (on Debian and Ubuntu the package wordnet-base; elsewhere the
folder dict of WordNet's own archive), and the files simlex999.txt and wordsim353.tsv, which are in the folder
gensim/test/test_data of gensim's wheel: pip download --no-deps gensim. A trial (--smoke) does without all of these.
docs/pairsupcon.md says what came out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment
from scipy.stats import spearmanr
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from torch import Tensor
from torch.nn.functional import cosine_similarity

from pml_proxyext.benchmark.datasets.wordnet import DEFAULT_FOLDER
from pml_proxyext.benchmark.datasets.wordnet_text import WordNetText, load_wordnet_text, prepare_wordnet_text, stand_in
from pml_proxyext.benchmark.experiments import Experiment, figure_of, interval_text, provenance_text
from pml_proxyext.benchmark.sentence_pairs import METHODS, train
from pml_proxyext.benchmark.tables import TextTable
from pml_proxyext.benchmark.trainer import seeded

TRIALS, SEEDS, STEPS, STARTS = 8, 5, 150, 5
DATA = {"wordnet": cache(load_wordnet_text), "stand-in": lambda split: stand_in()}

METRICS = {"NMI": "NMI", "ACC": "Accuracy", "SimLex-999": "SimLex-999", "WordSim-353": "WordSim-353"}


def score(embeddings: Tensor, data: WordNetText, seed: int) -> dict[str, float]:
    """Cluster the definitions held out, and compare cosines of words with judgements; fractions, NaN stays NaN."""
    points, classes = embeddings[data.definitions].numpy(), data.classes.numpy()
    found = dict.fromkeys(METRICS, np.nan)
    if np.isfinite(points).all():
        count = len(np.unique(classes))
        clusterings = [
            KMeans(count, n_init=1, random_state=STARTS * seed + i).fit_predict(points) for i in range(STARTS)
        ]
        found["NMI"] = np.mean([normalized_mutual_info_score(classes, one) for one in clusterings])
        found["ACC"] = np.mean([accuracy(classes, one) for one in clusterings])
        for name, judged in data.words.items():
            a, b = embeddings[judged.pairs].unbind(dim=1)
            found[name] = spearmanr(cosine_similarity(a, b).numpy(), judged.judgements.numpy()).statistic
    return {name: float(f"{value:.5g}") for name, value in found.items()}


def accuracy(classes: np.ndarray, clusters: np.ndarray) -> float:
    """Return the share of samples in the right cluster, when each class has a cluster of its own, at best."""
    counts = contingency_matrix(classes, clusters)
    return float(counts[linear_sum_assignment(-counts)].sum() / len(classes))


@cache
def search(recipe: str, texts: str, steps: int) -> tuple[list[dict[str, Any]], int]:
    """Try settings, with a seed that the test does not have, and return them with their scores, and which was best."""
    method, data, tried = METHODS[recipe], DATA[texts]("validation"), []
    for settings in method.trials(TRIALS if texts == "wordnet" else 2):
        with seeded(SEEDS, part=0):
            tried.append({**settings, **score(train(method, settings, data, steps), data, SEEDS)})
    return tried, int(np.nanargmax([one["NMI"] for one in tried]))


def measure(recipe: str, seed: int, texts: str, steps: int) -> dict[str, Any]:
    """Train with the settings that have the best NMI on validation definitions, and evaluate on those of the test."""
    tried, best = search(recipe, texts, steps)
    settings = {name: value for name, value in tried[best].items() if name not in METRICS}
    data = DATA[texts]("test")
    embeddings = train(METHODS[recipe], settings, data, steps)
    metrics = score(embeddings, data, seed)
    return {"data": texts, "split": "test", "metrics": metrics, "tuned": settings, "search": tried}


def by_recipe(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Return the scores of all seeds, from the recipe and the metric."""
    return {
        recipe: {name: [r["metrics"][name] for r in records if r["recipe"] == recipe] for name in METRICS}
        for recipe in METHODS
    }


def of_trials(records: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the trials of the search of each recipe, the slowest first."""
    found = {record["recipe"]: record["search"] for record in records}
    return {recipe: sorted(found[recipe], key=lambda one: one.get("lr", 0.0)) for recipe in METHODS}


def table(records: Sequence[dict[str, Any]]) -> TextTable:
    rows, trials = [], of_trials(records)
    for recipe, found in by_recipe(records).items():
        tried = [100 * one["NMI"] for one in trials[recipe]]
        spread = f"{min(tried):.1f} to {max(tried):.1f}" if len(tried) > 1 else f"{tried[0]:.1f}"
        rows.append([recipe, *(interval_text(scores, 1, 100) for scores in found.values()), spread])
    caption = (
        f"Percent (%); NMI and accuracy of k-means on definitions held out, mean of {STARTS} starts; Spearman's "
        f"correlation of cosines and judgements of words; mean ± 95% interval over {len({r['seed'] for r in records})} "
        f"seeds (Student's t); NMI of all trials of the search on validation definitions; {records[0]['steps']} steps; "
    )
    header = ["Loss", *METRICS.values(), "NMI of trials"]
    return TextTable(header, rows, caption + provenance_text(records), words=("Loss",))


def draw(records: Sequence[dict[str, Any]]) -> Figure:
    shown = ("NMI", "SimLex-999", "WordSim-353")
    figure, panels = figure_of("Trials of the search; line: the encoder as it is", [METRICS[name] for name in shown])
    (untrained,), *trained = of_trials(records).values()
    for axes, name in zip(panels, shown, strict=True):
        for recipe, trials, marker in zip(list(METHODS)[1:], trained, "ovs^DPXd", strict=True):
            rates, scores = [one["lr"] for one in trials], [100 * one[name] for one in trials]
            axes.plot(rates, scores, marker=marker, markersize=4, linewidth=1, label=recipe)
        axes.axhline(100 * untrained[name], color="0.6", linewidth=0.8)
        axes.set(xscale="log", xlabel="learning rate of the adapter")
    panels[0].set_ylabel("percent, validation")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def settings(texts: str, seeds: int, steps: int) -> list[dict[str, Any]]:
    """Return all runs, those of a recipe one after another: they have a search in common."""
    return [{"recipe": name, "seed": seed, "texts": texts, "steps": steps} for name in METHODS for seed in range(seeds)]


def prepare(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Encode WordNet's definitions and the judged words.")
    parser.add_argument("--wordnet", type=Path, default=DEFAULT_FOLDER, metavar="DIR", help="default: %(default)s")
    parser.add_argument("--word-pairs", type=Path, required=True, metavar="DIR")
    options = parser.parse_args(arguments)
    print(prepare_wordnet_text(options.wordnet, options.word_pairs))


EXPERIMENT = Experiment(
    name="wordnet_pairs",
    settings=settings("wordnet", SEEDS, STEPS),
    smoke=settings("stand-in", 1, 3),
    measure=measure,
    tables={"wordnet_pairs": table},
    draw=draw,
)

if __name__ == "__main__":
    if sys.argv[1:2] == ["prepare"]:
        prepare(sys.argv[2:])
    else:
        EXPERIMENT.main(__doc__)
