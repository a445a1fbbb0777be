"""Count the iterations in which cross-entropy and SupCon fit training labels of which some are wrong.

    python examples/label_noise.py [--smoke]

The network is so small that wrong labels are hard to fit. docs/theory_experiments.md says what came out. A second call
goes on where the first was interrupted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from matplotlib.figure import Figure
from pytorch_metric_learning.losses import SupConLoss
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pml_proxyext.benchmark.digits import class_mean_accuracy, digits, flip_labels, perceptron
from pml_proxyext.benchmark.experiments import Experiment

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


def settings(rates: tuple[float, ...], seeds: int, shares: tuple[float, ...], most: int) -> list[dict[str, Any]]:
    return [
        {"recipe": recipe, "seed": seed, "noise": share, "lr": lr, "most": most}
        for lr, seed, share, recipe in itertools.product(rates, range(seeds), shares, ("cross_entropy", "supcon"))
    ]


EXPERIMENT = Experiment(
    name="label_noise",
    settings=settings(RATES, 10, SHARES, MOST),
    smoke=settings((0.05,), 2, (0.0, 0.2), 40),
    measure=measure,
    tables={},
    draw=lambda records: Figure(),
)

if __name__ == "__main__":
    EXPERIMENT.main(__doc__)
