"""Find the drawings of an emoji by other vendors, and of emoji like it, by binary codes: DCVH and floats trained alike.

    python -m pml_proxyext.benchmark prepare emoji_vendors
    python examples/emoji_codes.py search [--smoke]
    python examples/emoji_codes.py [--smoke]

The first call needs the extra emoji, and fetches and draws; a trial (--smoke) does without. The search tries settings
on validation emoji; the last call trains with the ones that our search chose, and evaluates on test emoji. docs/dcvh.md
says what came out. A second call goes on where the first was interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import cache
from statistics import mean, median
from typing import Any

import torch
from matplotlib.figure import Figure
from torch.nn.functional import normalize

from pml_proxyext.benchmark.datasets.emoji_vendors import load_emoji_vendors, vendor_stand_in
from pml_proxyext.benchmark.experiments import Experiment, draw_seeds, figure_of, interval_text, provenance_text
from pml_proxyext.benchmark.tables import TextTable
from pml_proxyext.benchmark.two_views.codes import CodeMethod, queries_per_second, score_codes, train_codes
from pml_proxyext.models import binarize

DATA, TRIALS, SEEDS, STEPS, WIDTHS, SEARCHED_WIDTH = "emoji_vendors", 12, 5, 200, (16, 32, 64), 32
LOADERS = {DATA: cache(load_emoji_vendors), "stand_in": cache(vendor_stand_in)}
REFERENCES = {DATA: 100_000, "stand_in": 1000}  # of the measurement of speed

METHODS = {
    "codes": CodeMethod("Codes", True),
    "codes_aligned": CodeMethod("Codes, aligned (DCVH)", True, is_aligned=True),
    "codes_shared": CodeMethod("Codes, shared classifier", True, is_shared=True),
    "codes_shared_aligned": CodeMethod("Codes, shared and aligned", True, is_shared=True, is_aligned=True),
    "floats": CodeMethod("Floats", False),
    "floats_aligned": CodeMethod("Floats, aligned", False, is_aligned=True),
    "floats_shared": CodeMethod("Floats, shared classifier", False, is_shared=True),
    "floats_shared_aligned": CodeMethod("Floats, shared and aligned", False, is_shared=True, is_aligned=True),
}
#: What is not trained: the signs of random projections of the inputs, and the inputs.
UNTRAINED = {"signs": CodeMethod("Signs of random projections", True), "inputs": CodeMethod("Inputs", False)}
TITLES = {name: method.title for name, method in (METHODS | UNTRAINED).items()}

#: The best trials of our search; tests/test_committed_emoji_codes.py looks whether they are.
CHOSEN: dict[str, dict[str, float]] = {
    "codes": {"lr": 0.0134, "dropout": 0.409},
    "codes_aligned": {"lr": 0.0166, "dropout": 0.202, "weight": 2.51},
    "codes_shared": {"lr": 0.0134, "dropout": 0.409},
    "codes_shared_aligned": {"lr": 0.00708, "dropout": 0.254, "weight": 2.05},
    "floats": {"lr": 0.00104, "dropout": 0.176},
    "floats_aligned": {"lr": 0.0205, "dropout": 0.487, "weight": 15.6},
    "floats_shared": {"lr": 0.0205, "dropout": 0.487},
    "floats_shared_aligned": {"lr": 0.0205, "dropout": 0.487, "weight": 15.6},
}


def measure(recipe: str, seed: int, width: int, data: str, split: str, steps: int, **settings: Any) -> dict[str, Any]:
    """Train on some emoji, and look for drawings of others across the views."""
    train_data, held_out = LOADERS[data](split)
    method = (METHODS | UNTRAINED)[recipe]
    inputs = held_out.a.inputs, held_out.b.inputs
    if recipe in METHODS:
        networks = train_codes(method, width, train_data, steps, **settings)
        with torch.no_grad():
            a, b = (network(part) for network, part in zip(networks, inputs, strict=True))
    elif method.is_binary:
        projection = torch.randn(inputs[0].shape[1], width)
        a, b = ((part @ projection > 0).float() for part in inputs)
    else:
        a, b = inputs
    a, b = (binarize(part) if method.is_binary else normalize(part) for part in (a, b))
    metrics = score_codes(a, b, held_out, method.is_binary)
    if method.is_binary:
        metrics["ones"] = mean([a.mean().item(), b.mean().item()])
    if split == "test":
        metrics["queries_per_second"] = queries_per_second(a, b, method.is_binary, REFERENCES[data])
    rounded = {name: float(f"{value:.6g}") for name, value in metrics.items()}
    return {"data": data, "split": split, "title": method.title, "metrics": rounded}


def settings_of_search(data: str, budget: int, steps: int) -> list[dict[str, Any]]:
    """Return the trials of all methods; each has its first before any has its second."""
    common = {"seed": 0, "width": SEARCHED_WIDTH, "data": data, "split": "validation", "steps": steps}
    trials = {name: method.trials(budget) for name, method in METHODS.items()}
    return [{"recipe": name, **common, **trials[name][i]} for i in range(budget) for name in METHODS]


def settings_of_test(data: str, seeds: int, steps: int) -> list[dict[str, Any]]:
    """Return all seeds of all methods and widths, with what our search chose, and what is not trained."""
    common = {"data": data, "split": "test"}
    runs: list[dict[str, Any]] = []
    for seed in range(seeds):
        for width in WIDTHS:
            runs.append({"recipe": "signs", "seed": seed, "width": width, **common, "steps": 0})
            for name, method in METHODS.items():
                chosen = CHOSEN.get(name, method.trials(1)[0])
                runs.append({"recipe": name, "seed": seed, "width": width, **common, "steps": steps, **chosen})
    return [{"recipe": "inputs", "seed": 0, "width": 256, **common, "steps": 0}, *runs]


def columns(records: Sequence[dict[str, Any]]) -> Iterator[tuple[str, int, dict[str, list[float]]]]:
    """Yield recipe, width and the values of each metric over seeds, in the order of the tables."""
    for name in TITLES:
        for width in sorted({record["width"] for record in records if record["recipe"] == name}):
            runs = [r["metrics"] for r in records if (r["recipe"], r["width"]) == (name, width)]
            yield name, width, {metric: [run[metric] for run in runs] for metric in runs[0]}


def table(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return a row for each method and width."""
    speed = {(name, width): median(column["queries_per_second"]) for name, width, column in columns(records)}
    shown = ("map_label", "map_label_at_50", "map_label_at_50_of_found", "map_emoji", "recall_at_1_emoji")
    rows = []
    for name, width, column in columns(records):
        is_binary = (METHODS | UNTRAINED)[name].is_binary
        baseline = speed.get((name.replace("codes", "floats").replace("signs", "floats"), width))
        rows.append(
            [
                TITLES[name],
                str(width),
                str(width // 8 if is_binary else 4 * width),
                *(interval_text(column[metric], 1, 100) for metric in shown),
                f"{speed[name, width]:.0f}",
                f"{speed[name, width] / baseline:.1f}" if baseline is not None and is_binary else "",
            ]
        )
    header = ["Method", "Width", "Bytes", "mAP", "mAP@50", "of found", "mAP, same emoji", "R@1, same emoji"]
    caption = (
        f"Test emoji, means over both directions in percent (%); relevant shares a label, or is the same emoji; mAP@50 "
        f"over all relevant, and over those found; mean ± 95% interval over {len({r['seed'] for r in records})} seeds "
        f"(Student's t); queries per second of CPU time among {REFERENCES[records[0]['data']]:,} drawings, median of "
        f"the seeds, and how many times that of the same method with floats; "
    )
    return TextTable([*header, "Queries/s", "Times"], rows, caption + provenance_text(records), words=("Method",))


def search_table(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return a row for each method with the first, the best and the worst trial."""
    rows = []
    for name, chosen in best_trials(records).items():
        values = [record["metrics"]["map_label"] for record in records if record["recipe"] == name]
        said = ", ".join(f"{setting} {value:g}" for setting, value in chosen.items())
        rows.append([TITLES[name], *(f"{100 * value:.1f}" for value in (values[0], min(values), max(values))), said])
    caption = f"mAP on validation emoji in percent (%), {len(records) // len(rows)} trials each at 32 wide; "
    header = ["Method", "First", "Worst", "Best", "Settings of the best"]
    return TextTable(header, rows, caption + provenance_text(records), words=("Method", "Settings of the best"))


def best_trials(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the settings of each method's best trial."""
    best: dict[str, dict[str, float]] = {}
    for record in sorted(records, key=lambda one: -one["metrics"]["map_label"]):
        settings = {name: value for name, value in record.items() if name in ("lr", "dropout", "weight")}
        best.setdefault(record["recipe"], settings)
    return {name: best[name] for name in METHODS}


def draw(records: Sequence[dict[str, Any]]) -> Figure:
    """Draw both meanings of mAP over the bytes of an item."""
    panels = {"map_label": "relevant shares a label", "map_emoji": "relevant is the same emoji"}
    figure, axes = figure_of("mAP across vendors (%): mean, lowest and highest seed", list(panels.values()))
    shown = [name for name in METHODS if name in ("codes", "floats") or "_" in name]
    for one, metric in zip(axes, panels, strict=True):
        for name in shown:
            method = METHODS[name]
            found = [(width, column[metric]) for recipe, width, column in columns(records) if recipe == name]
            bytes_each = [width / 8 if method.is_binary else 4 * width for width, _ in found]
            runs = list(zip(*([100 * value for value in values] for _, values in found), strict=True))
            draw_seeds(one, bytes_each, runs, method.title, list(METHODS).index(name) % 4)
        one.set(xscale="log", xlabel="bytes of a drawing")
        one.set_xticks([2, 4, 8, 64, 128, 256], ["2", "4", "8", "64", "128", "256"])
        one.minorticks_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def draw_search(records: Sequence[dict[str, Any]]) -> Figure:
    """Draw the score of every trial, a row for each method."""
    figure, (axes,) = figure_of("mAP on validation emoji of all trials (%)", [""])
    for row, name in enumerate(METHODS):
        values = [100 * record["metrics"]["map_label"] for record in records if record["recipe"] == name]
        axes.plot(values, [row] * len(values), "o", color="black", alpha=0.5, markersize=4)
    axes.set(yticks=range(len(METHODS)), ylim=(len(METHODS) - 0.5, -0.5))
    axes.set_yticklabels([method.title for method in METHODS.values()])
    return figure


SEARCH = Experiment(
    name="search_emoji_codes",
    settings=settings_of_search(DATA, TRIALS, STEPS),
    smoke=settings_of_search("stand_in", 2, 4),
    measure=measure,
    tables={"search_emoji_codes": search_table},
    draw=draw_search,
)
EXPERIMENT = Experiment(
    name="emoji_codes",
    settings=settings_of_test(DATA, SEEDS, STEPS),
    smoke=settings_of_test("stand_in", 2, 4),
    measure=measure,
    tables={"emoji_codes": table},
    draw=draw,
)

if __name__ == "__main__":
    is_search = sys.argv[1:2] == ["search"]
    (SEARCH if is_search else EXPERIMENT).main(__doc__, sys.argv[2:] if is_search else None)
