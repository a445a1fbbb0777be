"""Make digits from latents that are drawn by a normal law, or by optimal transport with and without its singularities.

    python examples/transport_autoencoder.py [--smoke]

Between the modes of the latents an autoencoder decodes mixtures of digits. docs/geometric_view.md says how many there
are, and what it costs to leave them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import mse_loss

from pml_proxyext.benchmark.digits import digits
from pml_proxyext.benchmark.experiments import Experiment, draw_seeds, figure_of, interval_text, provenance_text
from pml_proxyext.benchmark.latent_generation import (
    Judge,
    normal_like,
    sampler_keeping,
    share_beyond_sigmas,
    train_autoencoder,
)
from pml_proxyext.benchmark.tables import TextTable
from pml_proxyext.geometry import SemiDiscreteOT

DIMS, SEEDS, TRAIN, SHARES = (2, 4, 8), 5, 1000, (1.0, 0.9, 0.75, 0.5, 0.25, 0.1)
KINDS = {
    "test_images": "Test images",
    "test": "their latents",
    "midpoints": "Midpoints of two classes",
    "normal": "Normal law",
    "atoms": "Transport, atoms",
    "map_1": "Transport, all",
    "map_0.9": "Transport, 90% kept",
    "map_0.5": "Transport, 50% kept",
}
SHOWN, SHOWN_DIM, SHOWN_IMAGES = ("midpoints", "normal", "map_1", "map_0.9", "map_0.5"), 8, 20


def measure(recipe: str, seed: int, dim: int, steps: int, samples_per_step: int) -> dict[str, Any]:
    """Train an autoencoder and a judge, draw latents in every way, and judge what the decoder makes of them."""
    data = digits(TRAIN, torch.Generator().manual_seed(seed))
    count, labels = len(data.test_images), data.train_labels
    network, judge = train_autoencoder(data.train_images, dim, steps), Judge(data)
    with torch.no_grad():
        latents, test = network.encoder(data.train_images), network.encoder(data.test_images)
    first, second = torch.randint(TRAIN, (2, 4 * count))
    mixed = (labels[first] != labels[second]).nonzero()[:count, 0]
    transport = SemiDiscreteOT(latents)
    transport = transport.fit_exact() if dim == 2 else transport.fit_stochastic(samples_per_step=samples_per_step)
    centroids = transport.cells().centroids
    drawn: dict[str, Tensor] = {
        "test": test,
        "midpoints": (latents[first[mixed]] + latents[second[mixed]]) / 2,
        "normal": normal_like(latents, count),
        "atoms": transport(transport.source.sample(count)),
    }
    pilot, thetas = transport.source.sample(2000), {}
    for share in SHARES:
        sampler = sampler_keeping(transport, centroids, share, pilot)
        drawn[f"map_{share:g}"], thetas[f"map_{share:g}"] = sampler.sample(count), round(sampler.theta_max, 5)
    with torch.no_grad():
        made = {name: network.decoder(points.float()) for name, points in drawn.items()}
    metrics = {
        "judge_accuracy": judge.accuracy,
        "test_error": mse_loss(made["test"], data.test_images).item(),
        "cell_error": transport.cell_error(200_000).l2,
        **{f"{name}_outside": share_beyond_sigmas(latents, labels, points) for name, points in drawn.items()},
    }
    for name, images in {"test_images": data.test_images, **made}.items():
        metrics |= {f"{name}_{metric}": value for metric, value in judge.scores(images).items()}
    return {
        "metrics": {name: float(f"{value:.5g}") for name, value in metrics.items()},
        "thetas": thetas,
        **({"images": {name: _as_text(made[name][:SHOWN_IMAGES]) for name in SHOWN}} if seed == 0 else {}),
    }


def _as_text(images: Tensor) -> list[str]:
    """Return each image as 64 hexadecimal digits, so that the figure can be drawn from the results alone."""
    return ["".join(f"{grey:x}" for grey in image) for image in (15 * images).round().int().tolist()]


def _as_rows(texts: Sequence[str]) -> Any:
    """Return the images of :func:`_as_text` in two rows, and a gap below."""
    images = [np.array([int(digit, 16) for digit in text]).reshape(8, 8) for text in texts]
    framed = [np.pad(image, 1) for image in images]
    half = len(framed) // 2
    return np.pad(np.block([framed[:half], framed[half:]]), ((0, 5), (0, 0)))


def values(records: Sequence[dict[str, Any]], dim: int, kind: str, metric: str) -> list[float]:
    """Return a metric of one way to draw latents, one number for each seed; none if it has no such metric."""
    runs = [record["metrics"] for record in records if record["dim"] == dim]
    return [run[f"{kind}_{metric}"] for run in runs if f"{kind}_{metric}" in run]


def table(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return a row for each number of dimensions and way to draw latents."""
    metrics = {"mixed": (1, 100), "imbalance": (1, 100), "coverage": (1, 100), "nearest": (2, 1), "outside": (1, 100)}
    rows = []
    for dim in sorted({record["dim"] for record in records}):
        for kind, title in KINDS.items():
            found = [(values(records, dim, kind, name), *form) for name, form in metrics.items()]
            rows.append([str(dim), title, *(interval_text(*cell) if cell[0] else "" for cell in found)])
    caption = (
        f"Digits, {TRAIN} to train on, 797 images made in each way; mixed: judged less surely than 95% of the test "
        "images; imbalance: total variation from the shares of the classes; coverage: test images with a made one "
        "nearer than the fifth nearest test image; these and outside in percent (%); nearest: mean distance to the "
        "nearest training image; outside: latents beyond 3 sigma of every class; mean ± 95% interval over "
        f"{len({r['seed'] for r in records})} seeds (Student's t); "
    )
    header = ["d", "Latents", "Mixed", "Imbalance", "Coverage", "Nearest", "Outside"]
    return TextTable(header, rows, caption + provenance_text(records), words=("Latents",))


def draw(records: Sequence[dict[str, Any]]) -> Figure:
    """Draw mixtures and coverage over the share of draws that is kept, and samples."""
    dims = sorted({record["dim"] for record in records})
    shown = SHOWN_DIM if SHOWN_DIM in dims else dims[-1]
    panels = ["mixed (%)", "coverage (%)", f"first images, {shown} dimensions, seed 0"]
    figure, axes = figure_of("Digits from transported latents: mean, lowest and highest seed", panels)
    for one, metric in zip(axes, ("mixed", "coverage"), strict=False):
        for colour, dim in enumerate(dims):
            columns = [values(records, dim, f"map_{share:g}", metric) for share in SHARES]
            runs = [[100 * value for value in run] for run in zip(*columns, strict=True)]
            draw_seeds(one, [100 * share for share in SHARES], runs, f"{dim} dimensions", colour)
        one.set(xlabel="draws kept (%)", ylim=(0, None))
    axes[0].axhline(5, color="0.6", linewidth=0.8)
    axes[0].legend(frameon=False)
    (images,) = [record["images"] for record in records if record["dim"] == shown and "images" in record]
    axes[2].imshow(np.concatenate([_as_rows(images[kind]) for kind in SHOWN]), cmap="gray_r", vmin=0, vmax=15)
    axes[2].set_yticks([9.5 + 25 * row for row in range(len(SHOWN))], [KINDS[kind] for kind in SHOWN])
    axes[2].set_xticks([])
    axes[2].spines[["left", "bottom"]].set_visible(False)
    axes[2].tick_params(length=0)
    return figure


EXPERIMENT = Experiment(
    name="transport_autoencoder",
    settings=[
        {"recipe": "autoencoder", "seed": seed, "dim": dim, "steps": 1500, "samples_per_step": 4096}
        for seed in range(SEEDS)
        for dim in DIMS
    ],
    smoke=[{"recipe": "autoencoder", "seed": 0, "dim": 3, "steps": 50, "samples_per_step": 256}],
    measure=measure,
    tables={"transport_autoencoder": table},
    draw=draw,
)

if __name__ == "__main__":
    EXPERIMENT.main(__doc__)
