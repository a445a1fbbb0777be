"""Train with SupCon and with cross-entropy until each class is one point, and the points are a regular simplex.

    python examples/collapse_to_the_simplex.py [--smoke]

Both losses have a floor that only this arrangement reaches, if something bounds embeddings and classifier. Plain
cross-entropy bounds neither, and does not get there. docs/theory_experiments.md says what came out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import mean
from typing import Any

import torch
from matplotlib.figure import Figure
from pytorch_metric_learning.losses import NormalizedSoftmaxLoss, SupConLoss
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from pml_proxyext.benchmark.digits import balanced_batches, digits, nearest_class_mean, perceptron
from pml_proxyext.benchmark.experiments import Experiment, draw_seeds, figure_of, interval_text, provenance_text
from pml_proxyext.benchmark.tables import TextTable
from pml_proxyext.geometry import (
    cross_entropy_floor,
    cross_entropy_floor_weight_decay,
    normalized_softmax_floor,
    simplex_distance,
    supcon_simplex_floor,
)

SAMPLES, CLASSES, PER_CLASS, WIDTH, RATE = 1000, 10, 8, 64, 0.1
MOMENTS = (0, 10, 20, 50, 100, 200, 400, 700, 1000, 1500, 2000, 3000, 4000)
HELD_OUT = 20  # balanced batches on which loss and floor are compared
GOAL = 1e-3

#: A loss, the floor for a batch of embeddings, and what the loss trains itself.
Objective = tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor], list[dict[str, Any]]]


def supcon(temperature: float) -> Objective:
    floor = supcon_simplex_floor([PER_CLASS] * CLASSES, temperature)
    return SupConLoss(temperature=temperature), lambda z: floor, []


def normalized_softmax(temperature: float) -> Objective:
    loss_func = NormalizedSoftmaxLoss(CLASSES, WIDTH, temperature=temperature)
    floor = normalized_softmax_floor(CLASSES, temperature)
    return loss_func, lambda z: floor, [{"params": loss_func.parameters(), "lr": 10 * RATE}]


def sphere(weight_decay: float) -> Objective:
    """Cross-entropy of embeddings at length 1, and weight decay of the classifier as a part of the loss."""
    head = nn.Linear(WIDTH, CLASSES, bias=False)
    floor = cross_entropy_floor_weight_decay(1.0, CLASSES, weight_decay)

    def loss(z: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(head(normalize(z)), labels) + weight_decay * head.weight.square().sum()

    return loss, lambda z: floor, [{"params": head.parameters()}]


def plain(weight_decay: float) -> Objective:
    """Cross-entropy as usual; the floor is for the largest embedding and the classifier of the moment."""
    head = nn.Linear(WIDTH, CLASSES, bias=False)

    def floor(z: Tensor) -> Tensor:
        return cross_entropy_floor(z.norm(dim=1).max(), head.weight.norm(), torch.ones(CLASSES))

    groups = [{"params": head.parameters(), "weight_decay": weight_decay}]
    return lambda z, labels: cross_entropy(head(z), labels), floor, groups


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "SupCon, temperature 1": partial(supcon, 1.0),
    "SupCon, temperature 0.3": partial(supcon, 0.3),
    "SupCon, temperature 0.1": partial(supcon, 0.1),
    "Normalized softmax, temperature 1": partial(normalized_softmax, 1.0),
    "Normalized softmax, temperature 0.3": partial(normalized_softmax, 0.3),
    "Cross-entropy on the sphere": partial(sphere, 5e-3),
    "Plain cross-entropy": partial(plain, 5e-4),
}


def measure(recipe: str, seed: int, steps: int) -> dict[str, Any]:
    """Train on balanced batches and look at all training embeddings now and then."""
    data = digits(SAMPLES, torch.Generator().manual_seed(seed))
    images, labels = data.train_images, data.train_labels
    network = perceptron(64, 256, 256, WIDTH)
    batches = balanced_batches(labels, PER_CLASS, steps + HELD_OUT)
    loss_func, floor, groups = OBJECTIVES[recipe]()
    decay = 5e-4 if recipe.startswith("Plain") else 0.0  # of the network: any decay would keep the others off the floor
    groups.append({"params": network.parameters(), "weight_decay": decay})
    optimizer = torch.optim.SGD(groups, lr=RATE, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    @torch.no_grad()
    def look() -> dict[str, float]:
        held_out = [(network(images[batch]), labels[batch]) for batch in batches[steps:]]
        floors = torch.stack([floor(z) for z, _ in held_out]).mean()
        losses = torch.stack([loss_func(z, y) for z, y in held_out]).mean()
        embeddings = network(images)
        distance = simplex_distance(embeddings, labels)
        found_classes = nearest_class_mean(embeddings, labels, network(data.test_images))
        found = {
            "floor": floors,
            "slack": losses - floors,
            "gram_distance": distance.gram_distance,
            "within_class_variance": distance.within_class_variance,
            "test_accuracy": found_classes.eq(data.test_labels).float().mean(),
        }
        return {name: float(f"{float(value):.5g}") for name, value in found.items()}

    curve = []
    for step in range(steps + 1):
        if step in MOMENTS:
            curve.append([step, look()])
        if step < steps:
            optimizer.zero_grad()
            loss_func(network(images[batches[step]]), labels[batches[step]]).backward()
            optimizer.step()
            schedule.step()
    return {"steps": steps, "metrics": curve[-1][1], "curve": curve}


def table(records: Sequence[dict[str, Any]]) -> TextTable:
    rows = []
    for recipe in OBJECTIVES:
        metrics = [record["metrics"] for record in records if record["recipe"] == recipe]
        column = {name: [one[name] for one in metrics] for name in metrics[0]}
        there = sum(distance < GOAL for distance in column["gram_distance"])
        rows.append(
            [
                recipe,
                f"{mean(column['floor']):.4f}",
                *(interval_text(column[n], 2, 1e3) for n in ("slack", "gram_distance", "within_class_variance")),
                f"{there} of {len(metrics)}",
                interval_text(column["test_accuracy"], 1, 100),
            ]
        )
    header = ["Loss", "Floor", "Loss - floor", "Gram distance", "Variance", "Collapsed", "Test accuracy"]
    caption = (
        f"Digits, {records[0]['steps']} iterations; loss minus floor, Gram distance and variance within classes in "
        f"thousandths; collapsed: runs whose Gram distance is below {GOAL}; test accuracy by the nearest class mean in "
        f"percent (%); mean ± 95% interval over {len({r['seed'] for r in records})} seeds (Student's t); "
    )
    return TextTable(header, rows, caption + provenance_text(records), words=("Loss",))


def draw(records: Sequence[dict[str, Any]]) -> Figure:
    titles = {
        "slack": "loss - floor",
        "gram_distance": "Gram distance",
        "within_class_variance": "within-class variance",
    }
    figure, panels = figure_of("Collapse to the simplex: mean, lowest and highest seed", list(titles.values()))
    for axes, name in zip(panels, titles, strict=True):
        for index, recipe in enumerate(OBJECTIVES):
            curves = [record["curve"] for record in records if record["recipe"] == recipe]
            if curves:
                steps = [step for step, _ in curves[0][1:]]  # a logarithmic axis has no place for step 0
                draw_seeds(axes, steps, [[at[name] for _, at in curve[1:]] for curve in curves], recipe, index)
        axes.set(xscale="log", yscale="log", xlabel="iterations")
    panels[1].axhline(GOAL, color="0.6", linewidth=0.8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


EXPERIMENT = Experiment(
    name="collapse",
    settings=[{"recipe": recipe, "seed": seed, "steps": MOMENTS[-1]} for seed in range(5) for recipe in OBJECTIVES],
    smoke=[{"recipe": recipe, "seed": 0, "steps": 20} for recipe in OBJECTIVES],
    measure=measure,
    tables={"collapse": table},
    draw=draw,
)

if __name__ == "__main__":
    EXPERIMENT.main(__doc__)
