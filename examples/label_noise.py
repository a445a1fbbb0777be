"""Count the iterations in which cross-entropy and SupCon fit training labels of which some are wrong.

    python examples/label_noise.py [--smoke]

The network is so small that wrong labels are hard to fit. docs/theory_experiments.md says what came out. A second call
goes on where the first was interrupted.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from pytorch_metric_learning.losses import SupConLoss
from torch import nn
from torch.nn.functional import cross_entropy

from pml_proxyext.benchmark.digits import digits, flip_labels, nearest_class_mean, perceptron
from pml_proxyext.benchmark.experiments import Experiment, draw_seeds, figure_of, interval_text, provenance_text
from pml_proxyext.benchmark.tables import TextTable

FloatArray = npt.NDArray[np.float64]
SAMPLES, BATCH, EVERY, MOST = 1200, 128, 20, 20_000
#: Percent of all training labels, or of the wrong ones, that are to be fitted; the exponents depend on which.
GOALS = {"all_90": ("all", 90), "all_95": ("all", 95), "wrong_90": ("wrong", 90)}
LOSSES = {"cross_entropy": "Cross-entropy", "supcon": "SupCon"}
RATES = (0.02, 0.05, 0.1)
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6)


def measure(recipe: str, seed: int, noise: float, lr: float, most: int) -> dict[str, Any]:
    """Train until all goals are reached, or for ``most`` iterations; return when each was reached first."""
    generator = torch.Generator().manual_seed(seed)  # both losses see the same images, flips and batches
    data = digits(SAMPLES, generator)
    images, labels = data.train_images, flip_labels(data.train_labels, noise, 10, generator)
    members = {"all": torch.ones(SAMPLES, dtype=torch.bool), "wrong": labels != data.train_labels}
    network, head = perceptron(64, 48, 48, 32), nn.Linear(32, 10, bias=False)
    supcon = SupConLoss(temperature=0.1)
    uses_head = recipe == "cross_entropy"  # SupCon has no classifier: it is read by class means
    learning = [*network.parameters(), *(head.parameters() if uses_head else ())]
    optimizer = torch.optim.SGD(learning, lr=lr, momentum=0.9, weight_decay=1e-4)
    reached: dict[str, int] = {}
    for step in range(1, most + 1):
        batch = torch.randperm(SAMPLES, generator=generator)[:BATCH]
        optimizer.zero_grad()
        embeddings = network(images[batch])
        loss = cross_entropy(head(embeddings), labels[batch]) if uses_head else supcon(embeddings, labels[batch])
        loss.backward()
        optimizer.step()
        if step % EVERY:
            continue
        with torch.no_grad():
            embeddings = network(images)
            found = head(embeddings).argmax(dim=1) if uses_head else nearest_class_mean(embeddings, labels, embeddings)
        fitted = {name: float((found == labels)[rows].float().mean()) for name, rows in members.items()}  # NaN of none
        for goal, (name, percent) in GOALS.items():
            if 100 * fitted[name] >= percent:
                reached.setdefault(goal, step)
        if len(reached) == len(GOALS) or (noise == 0 and "all_95" in reached):
            break
    return {"steps": step, "metrics": {**reached, **{f"last_{name}": round(v, 4) for name, v in fitted.items()}}}


def counts(records: Sequence[dict[str, Any]], recipe: str, reading: str, noise: float, lr: float) -> FloatArray:
    """Return the iterations of each seed until ``reading``, in the order of the seeds; NaN where it was not reached."""
    runs = [r for r in records if (r["recipe"], r["noise"], r["lr"]) == (recipe, noise, lr)]
    return np.array([run["metrics"].get(reading, np.nan) for run in sorted(runs, key=lambda run: run["seed"])])


def shown(values: FloatArray, digits: int = 0) -> str:
    """Return mean and interval; a mean of those that finished alone would be too small, so it is not formed."""
    unfinished = int(np.isnan(values).sum())
    return f"{unfinished} of {len(values)} unfinished" if unfinished else interval_text(values, digits)


def levels(records: Sequence[dict[str, Any]], name: str) -> list[float]:
    return sorted({record[name] for record in records})


def iterations_table(records: Sequence[dict[str, Any]]) -> TextTable:
    rates, rows = levels(records, "lr"), []
    middle = rates[len(rates) // 2]
    for noise in levels(records, "noise"):
        pairs = {lr: [counts(records, recipe, "all_95", noise, lr) for recipe in LOSSES] for lr in rates}
        ratios = [shown(supcon / cross_entropy, 2) for cross_entropy, supcon in pairs.values()]
        rows.append([f"{100 * noise:.0f} %", *map(shown, pairs[middle]), *ratios])
    header = ["Wrong labels", *LOSSES.values(), *(f"Ratio, rate {lr:g}" for lr in rates)]
    caption = (
        f"Iterations to {GOALS['all_95'][1]} % of {SAMPLES} training labels, wrong ones as they are, at learning rate "
        f"{middle:g}; ratio: SupCon over cross-entropy, seed by seed, at each learning rate; mean ± 95% interval over "
        f"{len(levels(records, 'seed'))} seeds (Student's t); "
    )
    return TextTable(header, rows, caption + provenance_text(records), words=())


def exponents(shares: Sequence[float], iterations: FloatArray) -> FloatArray:
    """Return the slope of log iterations over log share by least squares, for each seed (column)."""
    slopes: FloatArray = np.polyfit(np.log(shares), np.log(iterations), deg=1)[0]
    return slopes


def trend_table(records: Sequence[dict[str, Any]]) -> TextTable:
    shares = [share for share in levels(records, "noise") if share > 0]
    rows = []
    for lr, (goal, (name, percent)) in itertools.product(levels(records, "lr"), GOALS.items()):
        curves = {loss: np.stack([counts(records, loss, goal, share, lr) for share in shares]) for loss in LOSSES}
        slopes = {loss: exponents(shares, curve) for loss, curve in curves.items()}
        columns = [*slopes.values(), slopes["supcon"] - slopes["cross_entropy"]]
        columns += [exponents(shares[1:], curves["supcon"][1:])]
        rows.append([f"{lr:g}", f"{percent} % of {name}", *(shown(column, 2) for column in columns)])
    caption = (
        f"Exponent b of iterations ~ (share of wrong labels)^b over shares from {shares[0]:g} to {shares[-1]:g}, in "
        f"the last column from {shares[1]:g} on, seed by seed; 1 is linear; fitted: how much of all labels, or of the "
        f"wrong ones; mean ± 95% interval over {len(levels(records, 'seed'))} seeds (Student's t); "
    )
    header = ["Rate", "Fitted", *LOSSES.values(), "Difference", f"SupCon from {100 * shares[1]:.0f} %"]
    return TextTable(header, rows, caption + provenance_text(records), words=("Fitted",))


def draw(records: Sequence[dict[str, Any]]) -> Figure:
    shares, rates = levels(records, "noise"), levels(records, "lr")
    title = f"Iterations to fit {GOALS['all_95'][1]} % of the labels: mean, lowest and highest seed"
    figure, panels = figure_of(title, [f"learning rate {lr:g}" for lr in rates])
    for axes, lr in zip(panels, rates, strict=True):
        for index, (recipe, label) in enumerate(LOSSES.items()):
            iterations = np.stack([counts(records, recipe, "all_95", share, lr) for share in shares])
            draw_seeds(axes, [100 * share for share in shares], iterations.T, label, 3 * index)
        axes.set(xlabel="wrong labels (%)", ylim=(0, None))
    panels[0].legend(frameon=False)
    return figure


def settings(rates: tuple[float, ...], seeds: int, shares: tuple[float, ...], most: int) -> list[dict[str, Any]]:
    return [
        {"recipe": recipe, "seed": seed, "noise": share, "lr": lr, "most": most}
        for seed, lr, share, recipe in itertools.product(range(seeds), rates, shares, LOSSES)
    ]


EXPERIMENT = Experiment(
    name="label_noise",
    settings=settings(RATES, 10, SHARES, MOST),
    smoke=settings((0.05,), 2, (0.1, 0.2, 0.3), 40),
    measure=measure,
    tables={"label_noise": iterations_table, "label_noise_trend": trend_table},
    draw=draw,
)

if __name__ == "__main__":
    EXPERIMENT.main(__doc__)
