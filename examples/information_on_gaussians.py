"""Estimate mutual information that is known: decompositions of it, other estimators, the best critics and learned ones.

    python examples/information_on_gaussians.py [--smoke]

Takes less than five minutes. Numbers that may exceed the truth in expectation are called estimates; bounds may not.
docs/information_gaussians.md says what came out. A second call goes on where the first was interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure

from pml_proxyext.benchmark.experiments import Experiment, draw_seeds, figure_of, interval_text, provenance_text
from pml_proxyext.benchmark.gaussian_information import (
    REFERENCES,
    GaussianViews,
    decomposed_estimates,
    mean_and_error,
    reference_estimates,
)
from pml_proxyext.benchmark.learned_information import learned_estimates
from pml_proxyext.benchmark.tables import TextTable
from pml_proxyext.information import MutualInformationEstimator

DIM, SEEDS = 20, 5
BATCHES = {16: 200, 64: 200, 128: 200, 256: 200, 1024: 100, 4096: 50}
CELLS = [(5, K) for K in BATCHES] + [(10, K) for K in BATCHES] + [(T, K) for T in (15, 20) for K in BATCHES if K != 128]
TRAINING: dict[str, dict[str, Any]] = {"quad": {"steps": 600, "lr": 2e-2}, "mlp": {"steps": 1000, "lr": 2e-3}}

#: The columns of the decompositions: metrics, and what tables and figure call them.
DECOMPOSED = {
    "infonce_direct": "InfoNCE of x (bound)",
    "infonce_sub": "InfoNCE of x' (bound)",
    "cnce": "conditional (bound)",
    "sum_conditional": "their sum (bound)",
    "cnce_importance": "importance (estimate)",
    "sum_importance": "sum with it (estimate)",
}
#: What the figure draws: metrics, their labels and colours.
DRAWN = {
    "infonce_direct": ("InfoNCE of x (bound)", 0),
    "sum_conditional": ("InfoNCE of x' + conditional (bound)", 2),
    "sum_importance": ("InfoNCE of x' + importance (estimate)", 3),
}
LEARNED = {
    "infonce_direct": "InfoNCE of x (bound)",
    "infonce_sub": "InfoNCE of x' (bound)",
    "boosted_total": "boosted, total (bound)",
    "importance_boosted": "importance, boosted critic (estimate)",
    "sum_boosted": "sum with it (estimate)",
    "importance_importance": "importance, critic of its own (estimate)",
    "sum_importance": "sum with that (estimate)",
}


def measure(recipe: str, seed: int, total: int, dim: int, candidates: int, **settings: Any) -> dict[str, Any]:
    """Estimate one information by one number of candidates."""
    # Cells do not share draws; the two kinds of critics do, so that they see the same samples.
    generator = torch.Generator().manual_seed(10**6 * seed + 10**4 * total + candidates)
    if recipe == "oracle":
        batches = decomposed_estimates(GaussianViews(total, dim), candidates, settings["batches"], generator)
        metrics = mean_and_error(batches)
    elif recipe == "references":
        metrics = mean_and_error(reference_estimates(total, dim, candidates, settings["batches"], generator))
    else:
        metrics = learned_estimates(recipe, GaussianViews(total, dim), candidates, generator=generator, **settings)
    rounded = {name: float(f"{value:.6g}") for name, value in metrics.items()}
    return {"steps": settings.get("steps", 0), "data": "gaussians", "split": "test", "metrics": rounded}


def settings_of(
    cells: Sequence[tuple[int, int]], seeds: int, batches: float = 1.0, steps: int = 0
) -> list[dict[str, Any]]:
    """Return all runs; ``batches`` is a factor, and ``steps`` other than 0 replace those of training."""

    def number(count: int) -> int:
        return max(2, round(count * batches))

    runs: list[dict[str, Any]] = [
        {"recipe": "oracle", "seed": 0, "total": T, "dim": DIM, "candidates": K, "batches": number(BATCHES[K])}
        for T, K in cells
    ]
    for total, dim in ((2, 4), (4, 8)):
        for K, count in ((16, 3000), (64, 800)):
            cell = {"total": total, "dim": dim, "candidates": K, "batches": number(count)}
            runs.append({"recipe": "references", "seed": 0, **cell})
    for recipe, training in TRAINING.items():
        for T in (5, 10):
            for K in (16, 128):
                cell = {"total": T, "dim": DIM, "candidates": K, **training}
                runs += [
                    {"recipe": recipe, "seed": seed, **cell, "steps": steps or cell["steps"]} for seed in range(seeds)
                ]
    return runs


def with_error(metrics: dict[str, float], name: str, digits: int = 3) -> str:
    return f"{metrics[name]:.{digits}f} ± {metrics[f'{name}_se']:.{digits}f}"


def decomposed_table(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return a row for each information and number of candidates."""
    found = [record for record in records if record["recipe"] == "oracle"]
    rows = [
        [
            str(record["total"]),
            str(record["candidates"]),
            f"{math.log(record['candidates']):.3f}",
            *(with_error(record["metrics"], name) for name in DECOMPOSED),
            with_error(record["metrics"], "ess", 2),
        ]
        for record in found
    ]
    counts = sorted({(record["candidates"], record["batches"]) for record in found})
    caption = (
        f"Nats, with the best critics; T is the truth, half of it is in x'; d = {DIM}, 256 rows a batch; mean ± "
        f"standard error over batches ({', '.join(f'{count} at K = {K}' for K, count in counts)}); ESS is the "
        "effective sample size of the importance weights; "
    )
    header = ["T", "K", "log K", *DECOMPOSED.values(), "ESS"]
    return TextTable(header, rows, caption + provenance_text(found), words=())


def reference_table(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return a row for each estimator, and a column for each information and number of candidates."""
    found = [record for record in records if record["recipe"] == "references"]
    rows = [
        [title, kind(estimator), *(with_error(record["metrics"], title) for record in found)]
        for title, (estimator, _) in REFERENCES.items()
    ]
    columns = [f"I = {record['total']}, K = {record['candidates']}" for record in found]
    counts = ", ".join(str(record["batches"]) for record in found)
    caption = (
        f"Nats, with the best critic; I is the truth; d = 4 for I = 2 and 8 for I = 4; mean ± standard error over "
        f"{counts} batches of K pairs; "
    )
    header = ["Estimator", "Kind", *columns]
    return TextTable(header, rows, caption + provenance_text(found), words=("Estimator", "Kind"))


def kind(estimator: MutualInformationEstimator) -> str:
    """Return what may be said of the estimator's expectation."""
    return "lower bound" if estimator.is_lower_bound else "upper bound" if estimator.is_upper_bound else "estimate"


def learned_table(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return a row for each kind of critic, information and number of candidates."""
    rows = []
    found = [record for record in records if record["recipe"] in TRAINING]
    for recipe, total, candidates in dict.fromkeys((r["recipe"], r["total"], r["candidates"]) for r in found):
        runs = [
            r["metrics"] for r in found if (r["recipe"], r["total"], r["candidates"]) == (recipe, total, candidates)
        ]
        values = [interval_text([run[name] for run in runs], 3) for name in LEARNED]
        rows.append([recipe, str(total), str(candidates), *values])
    seeds = len({record["seed"] for record in found})
    caption = (
        f"Nats, with learned critics on fresh samples; T is the truth, half of it is in x'; quad holds the best "
        f"critics, mlp approximates them; mean ± 95% interval over {seeds} seeds (Student's t); "
    )
    header = ["Critics", "T", "K", *LEARNED.values()]
    return TextTable(header, rows, caption + provenance_text(found), words=("Critics",))


def draw(records: Sequence[dict[str, Any]]) -> Figure:
    """Draw bounds and estimates over the number of candidates, a panel for each information."""
    found = [record for record in records if record["recipe"] == "oracle"]
    totals = list(dict.fromkeys(record["total"] for record in found))
    figure, axes = figure_of(
        "Nats by the number K of candidates, with the best critics", [f"T = {total} nats" for total in totals]
    )
    for panel, total in zip(axes, totals, strict=True):
        runs = [record for record in found if record["total"] == total]
        candidates = [run["candidates"] for run in runs]
        for name, (label, colour) in DRAWN.items():
            draw_seeds(panel, candidates, [[run["metrics"][name] for run in runs]], label, colour)
        panel.plot(candidates, [math.log(K) for K in candidates], ":", color="0.6", label="log K")
        panel.plot(candidates, [2 * math.log(K) for K in candidates], "--", color="0.6", label="2 log K")
        panel.axhline(total, color="black", linewidth=1, label="truth")
        panel.set(xscale="log", xlabel="K", ylim=(0, 1.15 * total))
        panel.set_xticks([16, 64, 256, 1024, 4096], ["16", "64", "256", "1024", "4096"])
        panel.minorticks_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


EXPERIMENT = Experiment(
    name="information_gaussians",
    settings=settings_of(CELLS, SEEDS),
    smoke=settings_of([(5, 16), (5, 64)], 2, batches=0.005, steps=3),
    measure=measure,
    tables={
        "information_decomposed": decomposed_table,
        "information_references": reference_table,
        "information_learned": learned_table,
    },
    draw=draw,
)

if __name__ == "__main__":
    EXPERIMENT.main(__doc__)
