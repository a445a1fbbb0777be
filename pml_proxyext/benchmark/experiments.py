"""Small experiments: settings in, result lines out, and tables and figures of the lines that are there."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from tqdm import tqdm

from pml_proxyext.benchmark.provenance import commit, environment
from pml_proxyext.benchmark.results import append_result, read_results
from pml_proxyext.benchmark.summaries import Estimate
from pml_proxyext.benchmark.tables import TextTable, insert_table
from pml_proxyext.benchmark.trainer import seeded

__all__ = ["Experiment", "draw_seeds", "figure_of", "interval_text", "provenance_text"]

_Records = Sequence[dict[str, Any]]

# Okabe and Ito's colours, which colour-blind readers can tell apart.
_COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#D55E00", "#E69F00", "#CC79A7", "#000000")


@dataclass(frozen=True)
class Experiment:
    """What the scripts in the folder ``examples`` that measure something have in common.

    Every setting is one run, and one line in the results. A run that has a line is not done again, so that an
    interrupted experiment goes on where it was.

    Args:
        name: of the folder of results and of the figure.
        settings: of every run; each has a ``recipe`` and a ``seed``, and their other values are numbers or words.
        smoke: the settings of a trial.
        measure: takes a setting as keyword arguments and returns ``steps``, ``metrics`` and, if it likes, ``curve``.
            It is called with torch's and PML's generators seeded.
        tables: from the name of a place in a page to what makes its table from the result lines.
        draw: makes the figure from them.
    """

    name: str
    settings: Sequence[Mapping[str, Any]]
    smoke: Sequence[Mapping[str, Any]]
    measure: Callable[..., Mapping[str, Any]]
    tables: Mapping[str, Callable[[_Records], TextTable]]
    draw: Callable[[_Records], Figure]

    def run(self, folder: Path, settings: Sequence[Mapping[str, Any]]) -> None:
        """Append a line for every setting that has none yet."""
        done = _lines(folder)
        for setting in tqdm([one for one in settings if _key(one) not in done], disable=None):
            start = time.process_time()
            with seeded(setting["seed"], part=0):
                measured = self.measure(**setting)
            record = {
                "key": _key(setting),
                **setting,
                "data": "digits",
                "split": "train",
                **measured,
                "cpu_seconds": round(time.process_time() - start, 2),
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "threads": torch.get_num_threads(),
                "environment": environment(),
                "commit": commit(),
            }
            append_result(folder, record)

    def show(self, records: _Records, page: Path | None = None, figures: Path | None = None) -> None:
        """Print the tables; put them into their places in ``page``, and the figure into the folder ``figures``."""
        for name, make in self.tables.items():
            table = make(records)
            Console().print(table.rich())
            if page is not None:
                text = insert_table(page.read_text(encoding="utf-8"), name, table.markdown(), kind="experiment")
                page.write_text(text, encoding="utf-8")
        figure = self.draw(records)
        if figures is not None:
            figures.mkdir(parents=True, exist_ok=True)
            figure.savefig(figures / f"{self.name}.png")

    def main(self, description: str, arguments: Sequence[str] | None = None) -> None:
        """Run what is missing and show all, as the command line says.

        Args:
            description: the docstring of the script; ``--help`` shows its first line.
            arguments: of the command line; None for those of the process.
        """
        parser = argparse.ArgumentParser(description=description.splitlines()[0])
        parser.add_argument(
            "--results", type=Path, default=Path("results") / self.name, metavar="DIR", help="default: %(default)s"
        )
        parser.add_argument("--table", action="store_true", help="run nothing, show the results that are there")
        parser.add_argument("--into", type=Path, metavar="PAGE", help="renew the tables in this Markdown page")
        parser.add_argument("--figures", type=Path, metavar="DIR", help="write the figure into this folder")
        parser.add_argument("--smoke", action="store_true", help="a trial in a few seconds that leaves no files")
        options = parser.parse_args(arguments)
        torch.set_num_threads(1)  # more are slower for networks of this size
        with tempfile.TemporaryDirectory(prefix="pml-proxyext-") as scratch:
            folder = Path(scratch) if options.smoke else options.results
            settings = self.smoke if options.smoke else self.settings
            if not options.table:
                self.run(folder, settings)
            records = _lines(folder)
            missing = sum(_key(setting) not in records for setting in settings)
            if missing:
                parser.error(
                    f"{missing} of {len(settings)} runs have no line in {folder}: leave out --table to do them"
                )
            self.show([records[_key(setting)] for setting in settings], options.into, options.figures)
        if options.smoke:
            print("A trial of a few steps: only that it ran means something.")


def _lines(folder: Path) -> dict[str, dict[str, Any]]:
    return {record["key"]: record for record in read_results(folder)} if folder.is_dir() else {}


def _key(setting: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in setting.items())


def figure_of(title: str, panels: Sequence[str]) -> tuple[Figure, list[Any]]:
    """Return a figure with a row of axes, one for each of the titles ``panels``."""
    figure = Figure(figsize=(4.2 * len(panels), 4.2), dpi=120, layout="constrained")
    figure.suptitle(title, x=0.01, horizontalalignment="left", fontsize="medium")
    axes = list(np.ravel(figure.subplots(1, len(panels), squeeze=False)))
    for one, name in zip(axes, panels, strict=True):
        one.set_title(name, fontsize="medium")
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def draw_seeds(axes: Any, x: Sequence[float], runs: Sequence[Sequence[float]], label: str, colour: int) -> None:
    """Draw the mean over runs, one run per seed, as a line, and from the lowest to the highest run as a band."""
    values = np.asarray(runs, dtype=np.float64)
    axes.plot(x, values.mean(axis=0), color=_COLOURS[colour], label=label)
    axes.fill_between(x, values.min(axis=0), values.max(axis=0), color=_COLOURS[colour], alpha=0.2, linewidth=0)


def interval_text(values: Sequence[float], digits: int = 0, factor: float = 1.0) -> str:
    """Return the mean over seeds and half the width of its 95% interval (Student's t), both times ``factor``.

    Example:
        >>> interval_text([0.1, 0.2, 0.3], digits=1, factor=100)
        '20.0 ± 24.8'
    """
    estimate = Estimate.of([factor * value for value in values])
    mean = f"{estimate.mean:.{digits}f}"
    return mean if np.isnan(estimate.half_width) else f"{mean} ± {estimate.half_width:.{digits}f}"


def provenance_text(records: _Records) -> str:
    """Return the end of a caption: versions, machines and commits of the runs."""
    environments = [record["environment"] for record in records]
    parts = [sorted({f"torch {one['torch']}" for one in environments})]
    parts += [sorted({f"PML {one['pytorch-metric-learning']}" for one in environments})]
    parts += [sorted({str(one["machine"]) for one in environments})]
    parts += [sorted({f"commit {record['commit']}" for record in records if record["commit"]})]
    return "; ".join(text for part in parts for text in part) + "."
