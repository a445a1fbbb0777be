"""The words of the command line of the bounds."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["parser"]


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; ``command`` holds the name of the one that was given."""
    whole = argparse.ArgumentParser(prog="python -m pml_proxyext.bounds", description="Relations between losses.")
    commands = whole.add_subparsers(dest="command", required=True)

    listing = commands.add_parser("list", help="show what is known")
    listing.add_argument("--latex", action="store_true", help="show statements in LaTeX instead of titles")

    check = commands.add_parser("check", help="compute both sides; the exit status is 1 if a relation does not hold")
    check.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE",
        help=".npz or .pt with 'embeddings', 'labels' and perhaps 'proxies' (default: each relation on its witness)",
    )
    check.add_argument(
        "--random", type=int, metavar="SEED", help="a random batch on which every relation says something"
    )
    check.add_argument(
        "--set",
        nargs="+",
        type=_hyper_parameter,
        default=[],
        metavar="NAME=VALUE",
        dest="hyper",
        help="hyper-parameters by PML's names (temperature=0.1); relations have defaults",
    )
    check.add_argument("--relations", nargs="+", metavar="PATTERN", help="of ids (default: all that apply)")

    plot = commands.add_parser("plot", help="draw the lattice of losses")
    plot.add_argument(
        "--out", type=Path, default=Path("lattice.png"), metavar="FILE", help="png, svg or pdf (default: %(default)s)"
    )
    listing.add_argument("relations", nargs="*", metavar="PATTERN", help="of ids, such as 'graf.*' (default: all)")
    plot.add_argument("relations", nargs="*", metavar="PATTERN", help="of ids (default: relations between losses)")
    return whole


def _hyper_parameter(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    try:
        if name and equals:
            return name, float(value)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"a hyper-parameter must be NAME=NUMBER, got {text!r}")
