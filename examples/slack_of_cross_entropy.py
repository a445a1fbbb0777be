"""Watch, during training, whether cross-entropy stays above PCE, the pairwise loss that is said to lie below it.

    python examples/slack_of_cross_entropy.py [--smoke]

Beside it stands a pairwise floor that is proven, for cross-entropy with an L2 penalty. Both are read off by
bounds.SlackMonitor. docs/theory_experiments.md says what came out.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn.functional import cross_entropy

from pml_proxyext.benchmark.digits import balanced_batches, digits, perceptron
from pml_proxyext.benchmark.experiments import Experiment, draw_seeds, figure_of, interval_text, provenance_text
from pml_proxyext.benchmark.tables import TextTable
from pml_proxyext.bounds import SlackMonitor

SAMPLES, CLASSES, PER_CLASS, WIDTH = 1000, 10, 8, 64
LAMBDAS = (0.02, 0.1, 0.5, 2.5)
MOMENTS = (0, 1, 2, 3, 5, 7, 10, 14, 20, 30, 50, 70, 100, 140, 200, 300, 500, 700, 1000, 2000, 3000)
SMOOTHING = {"Cross-entropy": 0.0, "Smoothed cross-entropy": 0.1}
GAP, FLOOR = "boudiaf.pce_gap", "boudiaf.spce_l2"  # the first has CE - PCE on its left-hand side


def measure(recipe: str, seed: int, steps: int) -> dict[str, Any]:
    """Train a network with a linear head, and compare the losses on all training images now and then."""
    data = digits(SAMPLES, torch.Generator().manual_seed(seed))
    images, labels = data.train_images, data.train_labels
    network = perceptron(64, 128, WIDTH)
    head = nn.Linear(WIDTH, CLASSES, bias=False)
    nn.init.zeros_(head.weight)  # as the paper's recipe has it
    batches = balanced_batches(labels, PER_CLASS, steps)
    learning = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(learning, lr=0.1, momentum=0.9, weight_decay=5e-4)
    monitors = {lambda_: SlackMonitor([GAP, FLOOR], hyper={"lambda_": lambda_}) for lambda_ in LAMBDAS}
    curve: list[tuple[int, dict[str, float]]] = []
    for step in range(steps + 1):
        if step in MOMENTS:
            with torch.no_grad():
                embeddings = network(images)
                found = {"ce": float(cross_entropy(head(embeddings), labels))}
            for lambda_, monitor in monitors.items():
                monitor.observe(step, embeddings, labels, head.weight)
                gap, floor = (monitor.history[name][-1].evaluation for name in (GAP, FLOOR))
                found |= {f"slack_{lambda_:g}": gap.lhs, f"floor_slack_{lambda_:g}": floor.slack}
            curve.append((step, {name: float(f"{value:.6g}") for name, value in found.items()}))
        if step < steps:
            optimizer.zero_grad()
            logits = head(network(images[batches[step]]))
            cross_entropy(logits, labels[batches[step]], label_smoothing=SMOOTHING[recipe]).backward()
            optimizer.step()
    violations = sum(sum(monitor.violations.values()) for monitor in monitors.values())
    return {"steps": steps, "metrics": {**curve[-1][1], "violations": violations}, "curve": curve}


def table(records: Sequence[dict[str, Any]]) -> TextTable:
    rows = []
    for recipe, lambda_ in itertools.product(SMOOTHING, LAMBDAS):
        curves = [record["curve"] for record in records if record["recipe"] == recipe]
        slacks = np.array([[at[f"slack_{lambda_:g}"] for _, at in curve] for curve in curves])
        floors = np.array([[at[f"floor_slack_{lambda_:g}"] for _, at in curve] for curve in curves])
        columns = [slacks[:, 0], slacks.min(axis=1), slacks[:, -1], floors.min(axis=1), floors[:, -1]]
        below = interval_text((slacks < 0).mean(axis=1), 0, 100)
        rows.append([recipe, f"{lambda_:g}", *(interval_text(values, 3) for values in columns), below])
    header = ["Trained with", "λ", "CE - PCE: start", "least", "end", "Above floor: least", "end", "Below PCE (%)"]
    losses = {name: [r["metrics"]["ce"] for r in records if r["recipe"] == name] for name in SMOOTHING}
    ends = ", ".join(f"{interval_text(values, 3)} ({name.lower()})" for name, values in losses.items())
    caption = (
        f"Digits, all training images, {records[0]['steps']} iterations; CE: cross-entropy, which ends at {ends}; "
        f"above floor: CE plus penalty minus the proven floor; below PCE: share of the {len(records[0]['curve'])} "
        f"moments of the figure at which CE was below PCE; violations of the proven relations in all runs: "
        f"{sum(record['metrics']['violations'] for record in records)}; mean ± 95% interval over "
        f"{len({record['seed'] for record in records})} seeds (Student's t); "
    )
    return TextTable(header, rows, caption + provenance_text(records), words=("Trained with",))


def draw(records: Sequence[dict[str, Any]]) -> Figure:
    plain, smoothed = SMOOTHING
    shown = {
        "CE - PCE": (plain, "slack"),
        "CE - PCE, trained with smoothing": (smoothed, "slack"),
        "CE + penalty - floor": (plain, "floor_slack"),
    }
    figure, panels = figure_of("Slack of cross-entropy in training: mean, lowest and highest seed", list(shown))
    for axes, (recipe, name) in zip(panels, shown.values(), strict=True):
        curves = [record["curve"] for record in records if record["recipe"] == recipe]
        for index, lambda_ in enumerate(LAMBDAS):
            runs = [[at[f"{name}_{lambda_:g}"] for _, at in curve] for curve in curves]
            draw_seeds(axes, [step for step, _ in curves[0]], runs, f"λ = {lambda_:g}", index)
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.set_xscale("symlog", linthresh=1)
        axes.set_yscale("symlog", linthresh=0.1)
        axes.set(xlabel="iterations", xlim=(0, None))
    panels[2].set_ylim(0, None)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


EXPERIMENT = Experiment(
    name="cross_entropy_slack",
    settings=[{"recipe": recipe, "seed": seed, "steps": MOMENTS[-1]} for seed in range(5) for recipe in SMOOTHING],
    smoke=[{"recipe": recipe, "seed": 0, "steps": 5} for recipe in SMOOTHING],
    measure=measure,
    tables={"cross_entropy_slack": table},
    draw=draw,
)

if __name__ == "__main__":
    EXPERIMENT.main(__doc__)
