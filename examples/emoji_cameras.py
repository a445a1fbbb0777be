"""Find an emoji in the pictures of another vendor, as one finds a person in the pictures of another camera: Cross-GAN.

    python -m pml_proxyext.benchmark prepare emoji
    python examples/emoji_cameras.py [--smoke]

The first call needs the extra emoji, and fetches and draws; a trial (--smoke) does without. The training takes about
ten minutes of one CPU core. docs/crossgan.md says what came out, and what of the method is a reconstruction. A second
call goes on where the first was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from statistics import mean
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pml_proxyext.benchmark.datasets.emoji_cameras import CameraPairs, camera_stand_in, load_emoji_cameras
from pml_proxyext.benchmark.experiments import Experiment, draw_seeds, figure_of, interval_text, provenance_text
from pml_proxyext.benchmark.tables import TextTable
from pml_proxyext.benchmark.two_views.camera_baselines import canonical_correlations, gradient_histograms, pixels
from pml_proxyext.benchmark.two_views.cameras import CURVE_RANKS, CameraMethod, score_cameras, train_cameras
from pml_proxyext.trainers.latent_spread import LatentSpread

DATA, SEEDS, STEPS = "emoji_cameras", 5, 400
LOADERS = {DATA: cache(load_emoji_cameras), "stand_in": cache(camera_stand_in)}

_NO_CROSSING, _NO_GAME = {"cross_recon_loss": 0.0}, {"adv_loss": 0.0}
METHODS = {
    "unaligned": CameraMethod("Two autoencoders", {"align_loss": 0.0, **_NO_CROSSING, **_NO_GAME}),
    "aligned": CameraMethod("+ alignment", {**_NO_CROSSING, **_NO_GAME}),
    "adversarial": CameraMethod("+ alignment, adversarial (mapped)", _NO_CROSSING),
    "crossing": CameraMethod("+ alignment, crossing", _NO_GAME),
    "crossing_adversarial": CameraMethod("+ alignment, crossing, adversarial (mapped)"),
    "shuffled": CameraMethod("+ alignment, adversarial (shuffled)", _NO_CROSSING, "shuffled"),
    "prior": CameraMethod("+ alignment, adversarial (prior)", _NO_CROSSING, "prior"),
}

_Descriptor = Callable[[CameraPairs, CameraPairs], tuple[Tensor, Tensor]]
#: What is not trained by gradients, with one seed.
DESCRIPTORS: dict[str, tuple[str, _Descriptor]] = {
    "raw": ("Pixels", lambda train, data: (data.a.flatten(1), data.b.flatten(1))),
    "pixels": ("Pixels without their mean", lambda train, data: (pixels(data.a), pixels(data.b))),
    "hog": ("HOG", lambda train, data: (gradient_histograms(data.a), gradient_histograms(data.b))),
    "cca": ("CCA", canonical_correlations),
}
TITLES = {name: title for name, (title, _) in DESCRIPTORS.items()} | {n: m.title for n, m in METHODS.items()}

#: What a term adds: a method with it, and the same without.
DIFFERENCES = {
    "adversarial (mapped)": ("adversarial", "aligned"),
    "adversarial (mapped), with crossing": ("crossing_adversarial", "crossing"),
    "adversarial (shuffled)": ("shuffled", "aligned"),
    "adversarial (prior)": ("prior", "aligned"),
    "crossing": ("crossing", "aligned"),
}
METRICS = {"recall_at_1": "rank-1", "recall_at_5": "rank-5", "recall_at_10": "rank-10", "mean_average_precision": "mAP"}
DRAWN = {"hog": 6, "pixels": 5, "cca": 4, "unaligned": 3, "aligned": 0, "crossing": 1, "adversarial": 2}


def measure(recipe: str, seed: int, data: str, steps: int) -> dict[str, Any]:
    """Train on pairs of some emoji, and look for others from one camera to the other."""
    train, held_out = LOADERS[data]("test")
    common = {"data": data, "split": "test", "title": TITLES[recipe], "pairs": len(held_out)}
    if recipe in DESCRIPTORS:
        return {**common, **score_cameras(*DESCRIPTORS[recipe][1](train, held_out))}
    trainer = train_cameras(METHODS[recipe], train, steps)
    with torch.no_grad():
        a, b = trainer.compute_embeddings(held_out.a), trainer.compute_ref_embeddings(held_out.b)
    found = score_cameras(a, b)
    spread = LatentSpread.of(b)
    found["metrics"] |= {"trace": float(f"{spread.trace:.4g}"), "effective_rank": float(f"{spread.effective_rank:.4g}")}
    return {**common, **found}


def settings_of(data: str, seeds: int, steps: int) -> list[dict[str, Any]]:
    """Return one run of each descriptor, and all seeds of all methods."""
    runs: list[dict[str, Any]] = [{"recipe": name, "seed": 0, "data": data, "steps": 0} for name in DESCRIPTORS]
    for seed in range(seeds):
        runs += [{"recipe": name, "seed": seed, "data": data, "steps": steps} for name in METHODS]
    return runs


def values(records: Sequence[dict[str, Any]], recipe: str, metric: str) -> list[float]:
    """Return the values of a metric, in the order of seeds."""
    found = sorted((record for record in records if record["recipe"] == recipe), key=lambda record: record["seed"])
    return [record["metrics"][metric] for record in found]


def chance(records: Sequence[dict[str, Any]]) -> float:
    """Return the rank-1 of a random order."""
    return 1 / records[0]["pairs"]


def table(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return a row for each descriptor and method."""
    rows = []
    for name, title in TITLES.items():
        row = [title, *(interval_text(values(records, name, metric), 1, 100) for metric in METRICS)]
        row.append(f"{mean(values(records, name, 'recall_at_1')) / chance(records):.0f}")
        has_latents = name in METHODS
        row += [interval_text(values(records, name, m), 1) if has_latents else "" for m in ("trace", "effective_rank")]
        rows.append(row)
    count = records[0]["pairs"]
    caption = (
        f"Test emoji, {count} seen once by each of two cameras, means over both directions in percent (%), by cosine; "
        f"mean ± 95% interval over {len({r['seed'] for r in records})} seeds (Student's t); a random order has a "
        f"rank-1 of {100 * chance(records):.2f} %; trace and effective rank are those of the covariance of the second "
        "camera's latents; "
    )
    header = ["Method", *METRICS.values(), "rank-1 / chance", "Trace", "Effective rank"]
    return TextTable(header, rows, caption + provenance_text(records), words=("Method",))


def differences(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return what each term adds, seed by seed."""
    rows = []
    for title, (with_it, without) in DIFFERENCES.items():
        row = [title, TITLES[without]]
        for metric in METRICS:
            pairs = zip(values(records, with_it, metric), values(records, without, metric), strict=True)
            row.append(interval_text([one - other for one, other in pairs], 1, 100))
        rows.append(row)
    caption = (
        "Points of percent (%) that a term adds to the method without it; the same initial weights and batches for "
        f"both, mean ± 95% interval over {len({r['seed'] for r in records})} paired differences (Student's t); "
    )
    trained = [record for record in records if record["recipe"] in METHODS]
    header = ["Term", "Added to", *METRICS.values()]
    return TextTable(header, rows, caption + provenance_text(trained), words=("Term", "Added to"))


def draw(records: Sequence[dict[str, Any]]) -> Figure:
    """Draw the CMC curves."""
    figure, (axes,) = figure_of("CMC across two vendors (%): mean, lowest and highest seed", [""])
    figure.set_size_inches(7.2, 4.6)
    for name, colour in DRAWN.items():
        runs = [[100 * value for value in record["curve"]] for record in records if record["recipe"] == name]
        draw_seeds(axes, CURVE_RANKS, runs, TITLES[name], colour)
    axes.plot(
        CURVE_RANKS, [100 * rank * chance(records) for rank in CURVE_RANKS], ":", color="0.6", label="random order"
    )
    axes.set(xscale="log", xlabel="rank", ylabel="partner among the first (%)", ylim=(0, 100))
    axes.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    axes.minorticks_off()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


EXPERIMENT = Experiment(
    name="emoji_cameras",
    settings=settings_of(DATA, SEEDS, STEPS),
    smoke=settings_of("stand_in", 2, 3),
    measure=measure,
    tables={"emoji_cameras": table, "emoji_cameras_differences": differences},
    draw=draw,
)

if __name__ == "__main__":
    EXPERIMENT.main(__doc__)
