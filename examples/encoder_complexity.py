"""Count the linear pieces of encoders trained with different losses, and ask whether retrieval goes with them.

    python examples/encoder_complexity.py [--smoke]

The same ReLU network learns glyphs with each loss. Pieces are counted on straight lines between images of classes that
it has not seen, exactly. docs/geometric_view.md says what came out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from pml_proxyext.benchmark.datasets import load_data
from pml_proxyext.benchmark.experiments import Experiment, figure_of, interval_text, provenance_text
from pml_proxyext.benchmark.recipe_fits import fit_recipe
from pml_proxyext.benchmark.recipes import get_recipe
from pml_proxyext.benchmark.segment_pieces import pieces_between, segment_ends
from pml_proxyext.benchmark.tables import TextTable
from pml_proxyext.geometry import rectified_linear_complexity

LOSSES = (
    "normalized_softmax",
    "proxy_anchor",
    "supcon",
    "contrastive",
    "triplet",
    "nir_proxy_anchor",
    "el_nivmf",
)
RATES, RATE, SEEDS, STEPS = (0.001, 0.003), 0.003, 5, 300
CLASSES, SEGMENTS, PATTERNS_OF = 430, 32, 1000  # all classes
KINDS = {"same": "one class", "different": "two classes"}
SCORE = "mean_average_precision_at_r"

glyphs = cache(load_data)


def measure(recipe: str, seed: int, lr: float, steps: int, classes: int, segments: int) -> dict[str, Any]:
    """Train, score, and count pieces between images of test classes; all losses get the same images of a seed."""
    data = glyphs("glyphs", "test").first_classes(classes)
    method = dataclasses.replace(get_recipe(recipe), trunk="perceptron", embedding_size=64, steps=None, lr=lr)
    fit = fit_recipe(method, data, seed, steps)
    images, labels = data.evaluation.images, data.evaluation.labels
    generator = torch.Generator().manual_seed(seed)
    metrics = dict(fit.metrics)
    for kind in KINDS:
        ends = segment_ends(labels, segments, kind == "same", generator)
        found = pieces_between(fit.encoder, images, ends)
        metrics |= {f"{name}_{kind}": float(f"{value:.6g}") for name, value in found.items()}
    some = images[torch.randperm(len(images), generator=generator)[:PATTERNS_OF]]
    metrics["saturation"] = rectified_linear_complexity(fit.encoder, some, n_segments=1).saturation
    metrics["different_images"] = len(some.flatten(1).unique(dim=0)) / len(some)
    return {"data": "glyphs", "split": "test", "title": method.title, "metrics": metrics}


def values(records: Sequence[dict[str, Any]], metric: str, **setting: Any) -> list[float]:
    """Return a metric of the runs with a setting, in the order of the seeds."""
    return [r["metrics"][metric] for r in records if all(r[name] == value for name, value in setting.items())]


def table(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return a row for each loss at the middle learning rate, the most pieces first."""
    chosen = [record for record in records if record["lr"] == RATE]
    titles = {record["recipe"]: record["title"] for record in chosen}
    rows = {}
    for recipe, title in titles.items():
        same, different = (values(chosen, f"breaks_per_length_{kind}", recipe=recipe) for kind in KINDS)
        rows[recipe] = [
            title,
            interval_text(same, 2),
            interval_text(different, 2),
            interval_text([s / d for s, d in zip(same, different, strict=True)], 2),
            interval_text(values(chosen, "pieces_different", recipe=recipe), 0),
            interval_text(values(chosen, "saturation", recipe=recipe), 1, 100),
            interval_text(values(chosen, SCORE, recipe=recipe), 1, 100),
        ]
    ordered = sorted(rows, key=lambda name: -sum(values(chosen, "breaks_per_length_different", recipe=name)))
    header = ["Loss", "Breaks, one class", "Breaks, two", "Ratio", "Pieces, two", "Saturation", "MAP@R"]
    caption = (
        f"Glyphs, test classes, learning rate {RATE}; breaks: ends of linear pieces per unit length, exact, on "
        f"{chosen[0]['segments']} segments between images of one class and of two; ratio of these; pieces of a segment "
        f"between two classes; saturation: different states of all units over {PATTERNS_OF} images, of which "
        f"{100 * min(values(chosen, 'different_images')):.0f}% are different images, and MAP@R in percent (%); mean ± "
        f"95% interval over {len({r['seed'] for r in chosen})} seeds (Student's t); "
    )
    return TextTable(header, [rows[name] for name in ordered], caption + provenance_text(records), words=("Loss",))


def correlations(records: Sequence[dict[str, Any]], rate: float | None, kind: str) -> list[float]:
    """Return for each seed Spearman's correlation of breaks with MAP@R, over trained encoders of one rate or all."""
    trained = [r for r in records if r["recipe"] != "untrained" and rate in (None, r["lr"])]
    metric = f"breaks_per_length_{kind}"
    seeds = sorted({record["seed"] for record in trained})
    return [
        float(spearmanr(values(trained, metric, seed=seed), values(trained, SCORE, seed=seed)).statistic)
        for seed in seeds
    ]


def correlation_table(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return a row for each learning rate, and one for all of them together."""
    rates = sorted({record["lr"] for record in records})
    names = {**{rate: f"learning rate {rate:g}" for rate in rates}, None: "all learning rates"}
    rows = [
        [f"{len(LOSSES) * (len(rates) if rate is None else 1)} encoders, {name}"]
        + [interval_text(correlations(records, rate, kind), 2) for kind in KINDS]
        for rate, name in names.items()
    ]
    caption = (
        "Spearman's rank correlation of breaks per unit length with MAP@R, 1 if both order a seed's encoders alike; "
        "mean ± 95% interval over seeds (Student's t), which says nothing of other losses; "
    )
    header = ["Encoders", *(f"Breaks, {name}" for name in KINDS.values())]
    return TextTable(header, rows, caption + provenance_text(records), words=("Encoders",))


def draw(records: Sequence[dict[str, Any]]) -> Figure:
    """Draw MAP@R over breaks, a line through the learning rates of each loss."""
    figure, panels = figure_of("MAP@R (%) over breaks per unit length, means over seeds", list(KINDS.values()))
    titles = {record["recipe"]: record["title"] for record in records}
    rates = sorted({record["lr"] for record in records})
    for axes, kind in zip(panels, KINDS, strict=True):
        for number, (recipe, title) in enumerate(titles.items()):
            points = []
            for rate in rates:
                runs = [values(records, m, recipe=recipe, lr=rate) for m in (f"breaks_per_length_{kind}", SCORE)]
                if runs[0]:
                    points.append([sum(runs[0]) / len(runs[0]), 100 * sum(runs[1]) / len(runs[1])])
            x, y = zip(*points, strict=True)
            style = {"color": "black", "marker": "*"} if recipe == "untrained" else {"color": f"C{number}"}
            axes.plot(x, y, linewidth=1, alpha=0.7, **style)
            axes.scatter(x, y, s=[15 * 2**i for i in range(len(x))], label=title, **style)
        axes.set(xlabel="breaks per unit length", xscale="log")
        axes.minorticks_off()
        axes.set_xticks([3, 5, 8, 12, 20], ["3", "5", "8", "12", "20"])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def settings(rates: Sequence[float], seeds: int, **common: int) -> list[dict[str, Any]]:
    """Return all runs; what is not trained has no rate, and stands with the middle one."""
    return [
        {"recipe": recipe, "seed": seed, "lr": rate, **common, **({"steps": 0} if recipe == "untrained" else {})}
        for seed in range(seeds)
        for recipe in ("untrained", *LOSSES)
        for rate in ([RATE] if recipe == "untrained" else rates)
    ]


EXPERIMENT = Experiment(
    name="encoder_complexity",
    settings=settings(RATES, SEEDS, steps=STEPS, classes=CLASSES, segments=SEGMENTS),
    smoke=settings((RATE,), 1, steps=2, classes=100, segments=2),
    measure=measure,
    tables={"encoder_complexity": table, "encoder_complexity_retrieval": correlation_table},
    draw=draw,
)

if __name__ == "__main__":
    EXPERIMENT.main(__doc__)
