"""The command line: ``python -m pml_proxyext.bounds {list,check,plot}``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pml_proxyext.bounds.arguments import parser
from pml_proxyext.bounds.commands import COMMANDS

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command; return the exit status: 1 if a relation does not hold, 2 for bad arguments and files."""
    options = parser().parse_args(arguments)
    try:
        return COMMANDS[options.command](options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
