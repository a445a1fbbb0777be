"""The command line: ``python -m pml_proxyext.benchmark COMMAND``, or ``pml-proxyext``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool

from pml_proxyext.benchmark.arguments import parser
from pml_proxyext.benchmark.commands import COMMANDS

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command; return the exit status: 2 for bad arguments, 1 for other errors, 130 for Ctrl-C."""
    options = parser().parse_args(arguments)
    try:
        COMMANDS[options.command](options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (ImportError, OSError) as error:  # a missing package, a full disk
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenProcessPool:
        print("error: a process has been killed, for lack of memory perhaps; try fewer --jobs", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
