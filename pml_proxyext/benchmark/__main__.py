"""The command line: ``python -m pml_proxyext.benchmark {list,run,table,plot}``, or ``pml-proxyext``."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the commands import what they need, so that --help is quick
    from pml_proxyext.benchmark.summaries import Summary

__all__ = ["main"]

DEFAULT_RESULTS = Path("results")


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"a setting must be key=value, got {text!r}")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value  # a word needs no quotes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pml-proxyext", description="What the losses do on real images.")
    commands = parser.add_subparsers(dest="command", required=True)

    commands.add_parser("list", help="show the recipes and data sets")

    run = commands.add_parser("run", help="train and evaluate; finished runs are not repeated, killed ones go on")
    run.add_argument("--recipes", nargs="+", metavar="NAME", help="default: all; 'untrained' is always among them")
    run.add_argument("--data", default="glyphs", metavar="NAME", help="data set (default: %(default)s)")
    run.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N", help="default: 0")
    run.add_argument("--steps", type=int, metavar="N", help="batches to train on (default: the recipe's)")
    run.add_argument(
        "--split", default="test", metavar="NAME", help="evaluate on 'test' (default) or 'validation' classes"
    )
    run.add_argument(
        "--set",
        nargs="+",
        type=_setting,
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="other settings for all recipes named: a field (lr=1e-3), an option of the loss (nir_weight=0.1), "
        "base.OPTION, miner.OPTION, lr_multipliers.PARAMETER",
    )
    run.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at a time (default: 1)")
    run.add_argument("--threads", type=int, default=1, metavar="N", help="threads of each process (default: 1)")
    run.add_argument("--nmi", action="store_true", help="compute NMI as well, which is slow")
    run.add_argument("--log", action="store_true", help="write losses and scores to CSV and TensorBoard files")
    run.add_argument("--smoke", action="store_true", help="train on next to nothing, to see that all parts fit")
    run.add_argument("--quiet", action="store_true", help="no progress bars")

    table = commands.add_parser("table", help="show mean, 95%% confidence interval and seeds of each method")
    table.add_argument("--markdown", type=Path, metavar="FILE", help="where to write the table as Markdown")
    table.add_argument(
        "--into",
        type=Path,
        nargs="+",
        default=[],
        metavar="PAGE",
        help="Markdown pages to renew: the table goes between <!-- results:NAME --> and <!-- /results:NAME -->, "
        "where NAME is that of the results' folder",
    )

    plot = commands.add_parser("plot", help="draw the figures")
    plot.add_argument("--figures", type=Path, metavar="DIR", help="default: the folder 'figures' of the results")

    for command in (run, table, plot):
        command.add_argument(
            "--results", type=Path, default=DEFAULT_RESULTS, metavar="DIR", help="results (default: %(default)s)"
        )
    for command in (table, plot):
        command.add_argument("--split", default="test", metavar="NAME", help="'test' (default) or 'validation'")
        command.add_argument("--recipes", nargs="+", metavar="NAME", help="default: all that have results")
        command.add_argument("--smoke", action="store_true", help="show the runs of 'run --smoke' instead")
    return parser


def _list() -> None:
    from pml_proxyext.benchmark.datasets import DATASETS
    from pml_proxyext.benchmark.report import print_recipes

    print_recipes()
    print("data sets:", ", ".join(DATASETS))


def _run(options: argparse.Namespace) -> None:
    from pml_proxyext.benchmark.jobs import run_all
    from pml_proxyext.benchmark.recipes import RECIPES
    from pml_proxyext.benchmark.run import Run
    from pml_proxyext.benchmark.training import check_batches
    from pml_proxyext.utils.checks import check_integer

    check_integer("jobs", options.jobs)
    check_integer("threads", options.threads)
    common = {"data": options.data, "split": options.split, "smoke": options.smoke}
    names = [name for name in options.recipes or RECIPES if name != "untrained"]
    runs = [Run("untrained", **common)]  # the line that every table needs; without training no seed matters
    runs += [
        Run(name, seed, steps=options.steps, overrides=dict(options.overrides), **common)
        for seed in options.seeds
        for name in names
    ]
    data = runs[0].load()
    for run in runs:  # what cannot work is an error now, not in an hour
        check_batches(run.resolved_recipe(), data.train)
    done = run_all(
        runs,
        options.results,
        options.jobs,
        options.threads,
        progress=not options.quiet,
        log=options.log,
        with_nmi=options.nmi,
    )
    print(f"{done} of {len(runs)} runs carried out, the others were finished or under way; results: {options.results}")


def _summaries(options: argparse.Namespace) -> list[Summary]:
    from pml_proxyext.benchmark.results import read_results
    from pml_proxyext.benchmark.summaries import select, summarise

    if not options.results.exists():
        raise ValueError(f"results must be a directory or a file of results, got {options.results}: no such thing")
    return summarise(select(read_results(options.results), options.split, options.smoke, options.recipes))


def _table(options: argparse.Namespace) -> None:
    from rich.console import Console

    from pml_proxyext.benchmark.report import results_table
    from pml_proxyext.benchmark.tables import insert_table

    table = results_table(_summaries(options))
    Console().print(table.rich())
    if options.markdown is not None:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(table.markdown(), encoding="utf-8")
        print(f"Markdown: {options.markdown}")
    for page in options.into:
        if not page.is_file():
            raise ValueError(f"into must name Markdown pages, got {page}: no such file")
        text = insert_table(page.read_text(encoding="utf-8"), options.results.name, table.markdown())
        page.write_text(text, encoding="utf-8")
        print(f"renewed: {page}")


def _plot(options: argparse.Namespace) -> None:
    from pml_proxyext.benchmark.plots import write_figures

    for path in write_figures(_summaries(options), options.results, options.figures or options.results / "figures"):
        print(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        {"list": lambda _: _list(), "run": _run, "table": _table, "plot": _plot}[options.command](options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
