"""The words of the command line."""

from __future__ import annotations

import argparse
import ast
from pathlib import Path
from typing import Any

__all__ = ["TABLE_KINDS", "parser"]

#: What ``table`` can show.
TABLE_KINDS = ("results", "differences", "search", "uncertainty", "uncertainty_kinds", "uncertainty_conditions")


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; ``command`` holds the name of the one that was given."""
    whole = argparse.ArgumentParser(prog="pml-proxyext", description="What the losses do on real images.")
    commands = whole.add_subparsers(dest="command", required=True)

    commands.add_parser("list", help="show the recipes and data sets")

    prepare = commands.add_parser("prepare", help="fetch and build a data set, once")
    prepare.add_argument("data", metavar="NAME", help="'emoji', 'emoji_text' or 'emoji_vendors'")

    run = commands.add_parser("run", help="train and evaluate; finished runs are not repeated, killed ones go on")
    run.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N", help="default: 0")
    run.add_argument("--steps", type=int, metavar="N", help="batches to train on (default: the data set's)")
    run.add_argument(
        "--split", default="test", metavar="NAME", help="evaluate on 'test' (default) or 'validation' classes"
    )
    run.add_argument(
        "--settings",
        metavar="FILE",
        help="the settings that 'tune' chose (default: those of our own search on the data set, if there was one); "
        "'none' for the recipes as they are",
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
    run.add_argument(
        "--nproc", type=int, default=1, metavar="N", help="processes that train each run together (default: 1)"
    )
    run.add_argument("--nmi", action="store_true", help="compute NMI as well, which is slow")
    run.add_argument("--log", action="store_true", help="write losses and scores to CSV and TensorBoard files")

    tune = commands.add_parser("tune", help="try as many settings for every recipe, on validation classes")
    tune.add_argument("--trials", type=int, default=12, metavar="N", help="for each recipe (default: %(default)s)")

    for command in (run, tune):
        command.add_argument("--recipes", nargs="+", metavar="NAME", help="default: all; 'untrained' is always added")
        command.add_argument("--data", default="glyphs", metavar="NAME", help="data set (default: %(default)s)")
        command.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at a time (default: 1)")
        command.add_argument("--threads", type=int, default=1, metavar="N", help="threads of each (default: 1)")
        command.add_argument("--smoke", action="store_true", help="train on next to nothing, to see that all parts fit")
        command.add_argument("--quiet", action="store_true", help="no progress bars")

    uncertainty = commands.add_parser(
        "uncertainty", help="ask the networks of finished runs on glyphs how certain they are of degraded images"
    )

    table = commands.add_parser("table", help="show mean, 95%% confidence interval and seeds of each method")
    table.add_argument(
        "--kind",
        choices=TABLE_KINDS,
        default="results",
        help="the scores (default), paired differences to each method's base, the search, or what the norm knows",
    )
    table.add_argument("--markdown", type=Path, metavar="FILE", help="where to write the table as Markdown")
    table.add_argument(
        "--into",
        type=Path,
        nargs="+",
        default=[],
        metavar="PAGE",
        help="Markdown pages to renew: the table goes between <!-- KIND:NAME --> and <!-- /KIND:NAME -->, "
        "where NAME is that of the results' folder",
    )

    plot = commands.add_parser("plot", help="draw the figures")
    plot.add_argument("--figures", type=Path, metavar="DIR", help="default: the folder 'figures' of the first results")

    for command in (run, tune, uncertainty, table):
        default = Path("search" if command is tune else "results")
        command.add_argument(
            "--results", type=Path, default=default, metavar="DIR", help="results (default: %(default)s)"
        )
    plot.add_argument(
        "--results",
        type=Path,
        nargs="+",
        default=[Path("results")],
        metavar="DIR",
        help="results; of several data sets for ranks over all (default: results)",
    )
    for command in (uncertainty, table, plot):
        command.add_argument("--split", metavar="NAME", help="'test' (default; 'validation' for a search)")
        command.add_argument("--recipes", nargs="+", metavar="NAME", help="default: all that have results")
        command.add_argument("--smoke", action="store_true", help="take the runs of 'run --smoke' instead")
    return whole


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"a setting must be key=value, got {text!r}")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value  # a word needs no quotes
