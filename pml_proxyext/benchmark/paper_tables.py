"""Published tables beside measured ones: what the scripts in the folder ``examples`` do."""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pml_proxyext.benchmark.datasets.photographs import DATA_VARIABLE
from pml_proxyext.benchmark.datasets.tiny_trees import make_tiny_tree
from pml_proxyext.benchmark.jobs import run_all
from pml_proxyext.benchmark.papers import PAPER_RECIPES
from pml_proxyext.benchmark.published import published
from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.run import Run
from pml_proxyext.benchmark.summaries import Estimate
from pml_proxyext.benchmark.tables import TextTable

__all__ = ["comparison_table", "main"]

_PREFIX = "recall_at_"
_CAPTION = (
    "Recall at K in percent; measured: mean over seeds, with a 95% confidence interval if there are several. The last "
    "epoch is the result. The best one was chosen by looking at the test classes, as releases do, and is optimistic."
)


def main(description: str, recipes: Sequence[str], arguments: Sequence[str] | None = None) -> None:
    """Run recipes of papers and print what was measured beside what was published.

    Args:
        description: what ``--help`` says.
        recipes: names among :data:`~pml_proxyext.benchmark.papers.PAPER_RECIPES`.
        arguments: of the command line; None for those of the process.
    """
    options = _parser(description, recipes).parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="pml-proxyext-") as scratch:
        names, root, results = options.recipes, options.root, options.results
        if options.smoke:
            results = Path(scratch) / "results"
            if root is None:
                root, names = Path(scratch), names[:1]  # one shows that all parts fit
                make_tiny_tree(str(PAPER_RECIPES[names[0]].data), root)
        if root is not None:
            os.environ[DATA_VARIABLE] = str(root)
        runs = [
            Run(name, seed, str(PAPER_RECIPES[name].data), smoke=options.smoke)
            for seed in range(options.seeds)
            for name in names
        ]
        run_all(runs, results, threads=options.threads)
        keys = {run.key for run in runs}
        records = [record for record in read_results(results) if record["key"] in keys]
    for data in dict.fromkeys(run.data for run in runs):
        Console().print(comparison_table([record for record in records if record["data"] == data]).rich())
    if options.smoke:
        print("A trial of a few steps on next to nothing: only that it ran means something.")


def comparison_table(records: Sequence[dict[str, Any]]) -> TextTable:
    """Return published and measured rows for runs on one data set, all seeds of a recipe in one row."""
    ks = sorted(int(name.removeprefix(_PREFIX)) for name in records[0]["metrics"] if name.startswith(_PREFIX))
    rows = []
    for name in dict.fromkeys(record["recipe"] for record in records):
        runs = [record for record in records if record["recipe"] == name]
        for known in published(name):
            cells = [f"{known.recall[k]:.1f}" if k in known.recall else "" for k in ks]
            rows.append([runs[0]["title"], "published", *cells, "", known.known_from])
        best = [max((scores for _, scores in run["curve"]), key=lambda s: s["precision_at_1"]) for run in runs]
        for source, scores in (("last epoch", [run["metrics"] for run in runs]), ("best epoch", best)):
            cells = [str(Estimate.of([score[f"{_PREFIX}{k}"] for score in scores])) for k in ks]
            rows.append([runs[0]["title"], source, *cells, str(len(runs)), "measured"])
    header = ["Method", "Row", *(f"R@{k}" for k in ks), "Seeds", "Known from"]
    return TextTable(header, rows, f"{records[0]['data']}. {_CAPTION}", words=("Method", "Row", "Known from"))


def _parser(description: str, recipes: Sequence[str]) -> argparse.ArgumentParser:
    summary = re.split(r"\n\s*\n", description.strip())[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--root", type=Path, metavar="DIR", help=f"folder of the data sets (default: ${DATA_VARIABLE})")
    parser.add_argument(
        "--recipes", nargs="+", choices=recipes, default=list(recipes), metavar="NAME", help="default: all"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of each recipe (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=4, metavar="N", help="threads (default: %(default)s)")
    parser.add_argument(
        "--results", type=Path, default=Path("results/papers"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="a few steps on small images, without --root on made-up ones"
    )
    return parser
