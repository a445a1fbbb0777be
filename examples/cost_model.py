"""Measure what a step of losses with proxies costs, fit a model to it, and say what it predicts for many machines.

    python examples/cost_model.py [--smoke]

Takes about ten minutes on one core. docs/cost_model.md says what came out. A second call goes on where the first was
interrupted. Several ranks share the cores of one machine here: they show that the result is the same, no speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean, median
from typing import Any

from matplotlib.figure import Figure

from pml_proxyext.benchmark.costs import CHUNK_SIZE, LOSSES, CostModel, fit_costs, machine_speed, measure_step
from pml_proxyext.benchmark.experiments import Experiment, figure_of, interval_text, provenance_text
from pml_proxyext.benchmark.tables import TextTable

SEEDS = 3
BASE = {"batch": 64, "classes": 16_000, "dim": 128}
SHAPES = [
    BASE,
    *({**BASE, "batch": batch} for batch in (16, 256)),
    *({**BASE, "classes": classes} for classes in (4_000, 64_000)),
    *({**BASE, "dim": dim} for dim in (64, 512)),
    {"batch": 256, "classes": 64_000, "dim": 128},
]
RANKED = {**BASE, "batch": 60}  # which 1 to 4 ranks can share
TITLES = {"normalized_softmax": "NormalizedSoftmax", "proxy_anchor": "Proxy Anchor", "el_vmf": "EL-vMF"}

#: What is predicted, and what is assumed of each of the devices: sustained flop/s of matrix products in float32
#: (or TF32), bytes per second of memory and of exchange with the others, seconds of latency of one exchange.
TARGET = {"batch": 1024, "classes": 10_000_000, "dim": 128, "ranks": 8}
DEVICE = {"flops": 1e14, "bandwidth": 2e12, "link": 5e10, "latency": 5e-5}
EXCHANGES = 6  # embeddings, labels, two for the log-partition, own logits; backwards the gradient of the embeddings


def measure(
    recipe: str, seed: int, mode: str, batch: int = 0, classes: int = 0, dim: int = 0, ranks: int = 1
) -> dict[str, Any]:
    """Measure the speed of the machine, or one loss in one shape and mode."""
    if recipe == "machine":
        found = machine_speed(size=dim, seed=seed)
    else:
        found = measure_step(recipe, mode, batch, classes, dim, ranks, seed)
    metrics = {name: float(f"{value:.8g}") for name, value in found.items()}
    return {"steps": 0, "data": "synthetic", "split": "train", "metrics": metrics}


def settings_of(
    shapes: Sequence[dict[str, int]], ranked: dict[str, int], seeds: int, size: int
) -> list[dict[str, Any]]:
    """Return all runs: the machine, the shapes whole and in chunks, and 1 to 4 ranks."""
    runs: list[dict[str, Any]] = []
    for seed in range(seeds):
        runs.append({"recipe": "machine", "seed": seed, "mode": "machine", "dim": size})
        for name in LOSSES:
            runs += [
                {"recipe": name, "seed": seed, "mode": mode, **shape}
                for shape in shapes
                for mode in ("whole", "chunked")
            ]
            runs.append({"recipe": name, "seed": seed, "mode": "whole", **ranked})
            runs += [{"recipe": name, "seed": seed, "mode": "sharded", **ranked, "ranks": r} for r in range(1, 5)]
    return runs


def _speed(records: Sequence[dict[str, Any]]) -> tuple[float, float]:
    found = [record["metrics"] for record in records if record["recipe"] == "machine"]
    return median(one["flops"] for one in found), median(one["bandwidth"] for one in found)


def _chosen(records: Sequence[dict[str, Any]], name: str, mode: str) -> list[dict[str, Any]]:
    ranked = next(record["batch"] for record in records if record["mode"] == "sharded")
    return [r for r in records if (r["recipe"], r["mode"]) == (name, mode) and r["batch"] != ranked]


def fits(records: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str, CostModel]]:
    """Yield loss, mode and the model fitted to its measurements."""
    for name in TITLES:
        for mode in ("whole", "chunked"):
            yield name, mode, fit_costs(_chosen(records, name, mode), *_speed(records))


def measured_table(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return a row for each shape, and milliseconds and megabytes of each loss and mode."""
    columns = [(name, mode) for name in TITLES for mode in ("whole", "chunked")]
    shapes = list(dict.fromkeys((r["batch"], r["classes"], r["dim"]) for r in _chosen(records, *columns[0])))
    rows = []
    for shape in shapes:
        cells = []
        for name, mode in columns:
            found = [
                r["metrics"] for r in _chosen(records, name, mode) if (r["batch"], r["classes"], r["dim"]) == shape
            ]
            cells.append(interval_text([one["seconds"] for one in found], 0, 1000))
            cells.append(f"{mean(one['megabytes'] for one in found):.0f}")
        rows.append([f"{shape[0]} x {shape[1]:,} x {shape[2]}", *cells])
    header = [f"{TITLES[name]}, {mode}, {unit}" for name, mode in columns for unit in ("ms", "MB")]
    caption = (
        f"CPU milliseconds of a training step, mean ± 95% interval over {_seeds(records)} seeds (Student's t), and "
        f"growth of the peak resident size in MB, mean; chunks of {CHUNK_SIZE} classes; "
    )
    return TextTable(["N x C x D", *header], rows, caption + provenance_text(records), words=("N x C x D",))


def fit_table(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return what was fitted."""
    rows = [
        [
            TITLES[name],
            mode,
            f"{1000 * fit.overhead:.1f}",
            f"{100 * fit.efficiency:.0f}",
            f"{fit.pair_passes:.0f}",
            f"{fit.class_passes:.0f}",
            f"{100 * fit.time_error:.0f}",
            f"{fit.pair_floats:.1f}",
            f"{fit.class_floats:.1f}",
            f"{100 * fit.memory_error:.0f}",
        ]
        for name, mode, fit in fits(records)
    ]
    flops, bandwidth = _speed(records)
    header = ["Loss", "Mode", "t0, ms", "e, %", "a", "b", "error of time, %", "m", "n", "error of memory, %"]
    caption = (
        f"Machine: {flops / 1e9:.0f} Gflop/s and {bandwidth / 1e9:.0f} GB/s on one thread, medians; errors are medians "
        "over the measurements; "
    )
    return TextTable(header, rows, caption + provenance_text(records), words=("Loss", "Mode"))


def ranks_table(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return, for 1 to 4 ranks, how far the value is from one process without slices, and the memory of a rank."""
    rows = []
    for name in TITLES:
        sharded = [r for r in records if (r["recipe"], r["mode"]) == (name, "sharded")]
        batch = sharded[0]["batch"]
        whole = {r["seed"]: r["metrics"]["value"] for r in records if _is_whole(r, name, batch)}
        for ranks in sorted({r["ranks"] for r in sharded}):
            found = [r for r in sharded if r["ranks"] == ranks]
            errors = [abs(r["metrics"]["value"] / whole[r["seed"]] - 1) for r in found]
            megabytes, seconds = ([r["metrics"][key] for r in found] for key in ("megabytes", "seconds"))
            milliseconds = interval_text(seconds, 0, 1000)
            rows.append([TITLES[name], str(ranks), f"{max(errors):.0e}", f"{mean(megabytes):.0f}", milliseconds])
    header = ["Loss", "Ranks", "largest relative error of the value", "MB of a rank", "CPU ms of a rank"]
    shape = next(r for r in records if r["mode"] == "sharded")
    caption = (
        f"{shape['batch']} x {shape['classes']:,} x {shape['dim']}, {_seeds(records)} seeds; the ranks share two "
        "cores, so that this is a test of correctness; "
    )
    return TextTable(header, rows, caption + provenance_text(records), words=("Loss",))


def _is_whole(record: dict[str, Any], name: str, batch: int) -> bool:
    return (record["recipe"], record["mode"], record.get("batch")) == (name, "whole", batch)


def _seeds(records: Sequence[dict[str, Any]]) -> int:
    return len({record["seed"] for record in records})


def prediction_table(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return what the fits say of the target, with the assumed devices in the place of the machine."""
    batch, dim, ranks = TARGET["batch"], TARGET["dim"], TARGET["ranks"]
    classes = TARGET["classes"] / ranks
    share = (ranks - 1) / ranks
    # A ring moves what is gathered once, and what is summed twice.
    exchanged = 4 * share * batch * (dim + 2 * dim + 2 * 3)
    exchange = exchanged / DEVICE["link"] + EXCHANGES * DEVICE["latency"]
    parameters = 4e-9 * classes * dim
    rows = []
    for name, mode, fit in fits(records):
        products = fit.product_seconds(batch, classes, dim, DEVICE["flops"])
        traffic = fit.traffic_seconds(batch, classes, dim, DEVICE["bandwidth"])
        gigabytes = fit.gigabytes(batch, CHUNK_SIZE if mode == "chunked" else classes, classes, dim)
        seconds = (products, traffic, exchange, products + traffic + exchange)
        cells = [f"{1000 * one:.1f}" for one in seconds]
        rows.append([TITLES[name], mode, *cells, f"{parameters:.2f}", f"{gigabytes:.1f}"])
    header = ["Loss", "Mode", "products, ms", "traffic, ms", "exchange, ms", "step, ms", "parameters, GB", "beyond, GB"]
    caption = (
        f"Predicted, not measured: {TARGET['classes']:,} classes on {ranks} devices, {batch} samples in all, "
        f"D = {dim}; each device {DEVICE['flops'] / 1e12:.0f} Tflop/s, {DEVICE['bandwidth'] / 1e12:.0f} TB/s, "
        f"{DEVICE['link'] / 1e9:.0f} GB/s to the others and {1e6 * DEVICE['latency']:.0f} microseconds for each of "
        f"{EXCHANGES} exchanges, of {exchanged / 1e6:.1f} MB together; e, a, b, m and n as fitted; "
    )
    return TextTable(header, rows, caption + provenance_text(records), words=("Loss", "Mode"))


def draw(records: Sequence[dict[str, Any]]) -> Figure:
    """Draw fitted over measured time and memory of all measurements."""
    panels = ["milliseconds of a step", "megabytes"]
    figure, axes = figure_of("Fitted over measured: a point for each seed and shape", panels)
    flops, bandwidth = _speed(records)
    for name, mode, fit in fits(records):
        found = _chosen(records, name, mode)
        style = {"marker": "o" if mode == "whole" else "x", "color": f"C{list(TITLES).index(name)}", "linestyle": ""}
        shapes = [(float(r["batch"]), float(r["classes"]), float(r["dim"])) for r in found]
        seconds = [
            fit.overhead + fit.product_seconds(*shape, flops) + fit.traffic_seconds(*shape, bandwidth)
            for shape in shapes
        ]
        kept = [min(shape[1], CHUNK_SIZE) if mode == "chunked" else shape[1] for shape in shapes]
        megabytes = [1000 * fit.gigabytes(n, k, c, d) for (n, c, d), k in zip(shapes, kept, strict=True)]
        label = f"{TITLES[name]}, {mode}"
        axes[0].plot([1000 * r["metrics"]["seconds"] for r in found], [1000 * s for s in seconds], label=label, **style)
        axes[1].plot([max(r["metrics"]["megabytes"], 0.1) for r in found], megabytes, **style)
    for one in axes:
        one.set(xscale="log", yscale="log", xlabel="measured", ylabel="fitted")
        low, high = (bound(*one.get_xlim(), *one.get_ylim()) for bound in (min, max))
        one.plot([low, high], [low, high], color="grey", linewidth=0.8, zorder=0)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


SMOKE = {"batch": 12, "classes": 64, "dim": 64}
EXPERIMENT = Experiment(
    name="cost_model",
    settings=settings_of(SHAPES, RANKED, SEEDS, size=1024),
    smoke=[
        one
        for one in settings_of([{**SMOKE, "batch": 8}, {**SMOKE, "batch": 16}], SMOKE, 1, size=64)
        if one.get("ranks", 1) < 3
    ],
    measure=measure,
    tables={
        "cost_measured": measured_table,
        "cost_fit": fit_table,
        "cost_ranks": ranks_table,
        "cost_prediction": prediction_table,
    },
    draw=draw,
)

if __name__ == "__main__":
    EXPERIMENT.main(__doc__)
