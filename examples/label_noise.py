"""Count the iterations in which cross-entropy and SupCon fit training labels of which some are wrong.

    python examples/label_noise.py [--smoke]

The network is so small that wrong labels are hard to fit. docs/theory_experiments.md says what came out. A second call
goes on where the first was interrupted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from pytorch_metric_learning.losses import SupConLoss
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pml_proxyext.benchmark.digits import class_mean_accuracy, digits, flip_labels, perceptron
from pml_proxyext.benchmark.experiments import Experiment, draw_seeds, figure_of, interval_text, provenance_text
from pml_proxyext.benchmark.tables import TextTable

FloatArray = npt.NDArray[np.float64]
SAMPLES, BATCH, EVERY, MOST = 1200, 128, 20, 20_000
THRESHOLDS = (90, 95)
RATES = (0.02, 0.05, 0.1)
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def measure(recipe: str, seed: int, noise: float, lr: float, most: int) -> dict[str, Any]:
    """Train until each reading of the training accuracy has been over both thresholds, or for ``most`` iterations."""
    generator = torch.Generator().manual_seed(seed)  # both losses see the same images, flips and batches
    data = digits(SAMPLES, generator)
    images, labels = data.train_images, flip_labels(data.train_labels, noise, 10, generator)
    network = perceptron(64, 48, 48, 32)
    head = nn.Linear(32, 10, bias=False)
    supcon = SupConLoss(temperature=0.1)

    def loss_of(embeddings: Tensor, labels: Tensor) -> Tensor:
        return supcon(embeddings, labels) if recipe == "supcon" else cross_entropy(head(embeddings), labels)

    readings: dict[str, Callable[[Tensor], float]] = {"means": lambda e: class_mean_accuracy(e, labels, e, labels)}
    if recipe == "cross_entropy":
        readings["head"] = lambda e: float(head(e).argmax(dim=1).eq(labels).float().mean())
    learning = [*network.parameters(), *(head.parameters() if recipe == "cross_entropy" else ())]
    optimizer = torch.optim.SGD(learning, lr=lr, momentum=0.9, weight_decay=1e-4)
    reached: dict[str, int] = {}
    for step in range(1, most + 1):
        batch = torch.randperm(SAMPLES, generator=generator)[:BATCH]
        optimizer.zero_grad()
        loss_of(network(images[batch]), labels[batch]).backward()
        optimizer.step()
        if step % EVERY:
            continue
        with torch.no_grad():
            embeddings = network(images)
            accuracies = {name: read(embeddings) for name, read in readings.items()}
        for (name, accuracy), threshold in itertools.product(accuracies.items(), THRESHOLDS):
            if 100 * accuracy >= threshold:
                reached.setdefault(f"{name}_{threshold}", step)
        if len(reached) == len(readings) * len(THRESHOLDS):
            break
    return {"steps": step, "metrics": {**reached, **{f"last_{n}": round(a, 4) for n, a in accuracies.items()}}}


def counts(records: Sequence[dict[str, Any]], recipe: str, reading: str, noise: float, lr: float) -> FloatArray:
    """Return the iterations of each seed until ``reading``, in the order of the seeds; NaN where it was not reached."""
    runs = [r for r in records if (r["recipe"], r["noise"], r["lr"]) == (recipe, noise, lr)]
    return np.array([run["metrics"].get(reading, np.nan) for run in sorted(runs, key=lambda run: run["seed"])])


def both(records: Sequence[dict[str, Any]], threshold: int, noise: float, lr: float) -> tuple[FloatArray, FloatArray]:
    """Return the iterations of cross-entropy by its own head, and of SupCon, which has none, by class means."""
    return (
        counts(records, "cross_entropy", f"head_{threshold}", noise, lr),
        counts(records, "supcon", f"means_{threshold}", noise, lr),
    )


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
        pairs = {lr: both(records, 95, noise, lr) for lr in rates}
        ratios = [shown(supcon / cross_entropy, 2) for cross_entropy, supcon in pairs.values()]
        rows.append([f"{100 * noise:.0f} %", *map(shown, pairs[middle]), *ratios])
    header = ["Wrong labels", "Cross-entropy", "SupCon", *(f"Ratio, rate {lr:g}" for lr in rates)]
    caption = (
        f"Iterations to 95 % of {SAMPLES} training labels, wrong ones as they are, at learning rate {middle:g}; ratio: "
        f"SupCon over cross-entropy, seed by seed, at each learning rate; mean ± 95% interval over "
        f"{len(levels(records, 'seed'))} seeds (Student's t); "
    )
    return TextTable(header, rows, caption + provenance_text(records), words=())


def exponents(iterations: Sequence[FloatArray], shares: Sequence[float]) -> FloatArray:
    """Return, for each seed, the slope of log iterations over log share of wrong labels by least squares."""
    slopes: FloatArray = np.polyfit(np.log(shares), np.log(np.stack(iterations)), deg=1)[0]
    return slopes


def trend_table(records: Sequence[dict[str, Any]]) -> TextTable:
    shares = [share for share in levels(records, "noise") if share > 0]
    rows = []
    for lr, threshold in itertools.product(levels(records, "lr"), THRESHOLDS):
        pairs = [both(records, threshold, share, lr) for share in shares]
        slopes = [exponents(list(iterations), shares) for iterations in zip(*pairs, strict=True)]
        means = np.concatenate([counts(records, "cross_entropy", f"means_{threshold}", share, lr) for share in shares])
        unfinished = f"{np.isnan(means).sum()} of {len(means)}"
        rows.append(
            [f"{lr:g}", f"{threshold} %", *(shown(s, 2) for s in slopes), shown(slopes[1] - slopes[0], 2), unfinished]
        )
    header = ["Rate", "Fitted", "Cross-entropy", "SupCon", "Difference", "Unfinished by class means"]
    caption = (
        f"Exponent b of iterations ~ (share of wrong labels)^b over shares from {shares[0]:g} to {shares[-1]:g}, seed "
        f"by seed; 1 is linear; unfinished: runs of cross-entropy that did not fit so many labels by class means, "
        f"instead of its own classifier, in {MOST} iterations; mean ± 95% interval over {len(levels(records, 'seed'))} seeds "
        f"(Student's t); "
    )
    return TextTable(header, rows, caption + provenance_text(records), words=())


def draw(records: Sequence[dict[str, Any]]) -> Figure:
    shares, rates = levels(records, "noise"), levels(records, "lr")
    title = "Iterations to fit 95 % of the labels: mean, lowest and highest seed"
    figure, panels = figure_of(title, [f"learning rate {lr:g}" for lr in rates])
    for axes, lr in zip(panels, rates, strict=True):
        fitted = zip(*(both(records, 95, share, lr) for share in shares), strict=True)
        for index, (iterations, label) in enumerate(zip(fitted, ("cross-entropy", "SupCon"), strict=True)):
            draw_seeds(axes, [100 * share for share in shares], np.transpose(iterations), label, 3 * index)
        axes.set(xlabel="wrong labels (%)", ylim=(0, None))
    panels[0].legend(frameon=False)
    return figure


def settings(rates: tuple[float, ...], seeds: int, shares: tuple[float, ...], most: int) -> list[dict[str, Any]]:
    return [
        {"recipe": recipe, "seed": seed, "noise": share, "lr": lr, "most": most}
        for lr, seed, share, recipe in itertools.product(rates, range(seeds), shares, ("cross_entropy", "supcon"))
    ]


EXPERIMENT = Experiment(
    name="label_noise",
    settings=settings(RATES, 10, SHARES, MOST),
    smoke=settings((0.05,), 2, (0.1, 0.2), 40),
    measure=measure,
    tables={"label_noise": iterations_table, "label_noise_trend": trend_table},
    draw=draw,
)

if __name__ == "__main__":
    EXPERIMENT.main(__doc__)
