"""Finished runs as JSON lines: appended, never rewritten, read even where a line is broken."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

__all__ = ["RESULTS_FILE", "append_result", "read_results"]

#: Name of the file in a results directory.
RESULTS_FILE = "runs.jsonl"

_NEEDED = {"recipe": str, "seed": int, "data": str, "split": str, "steps": int, "metrics": dict, "key": str}


def append_result(directory: Path, record: dict[str, Any]) -> None:
    """Add one line to the directory's result file.

    The line is one write to a file opened for appending, so that lines of processes that finish at the same time do
    not mix. If the file ends in the middle of a line, the new one starts on its own.
    """
    directory.mkdir(parents=True, exist_ok=True)
    line = json.dumps(record, sort_keys=True, allow_nan=True).encode() + b"\n"
    file = os.open(directory / RESULTS_FILE, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        if os.fstat(file).st_size:
            os.lseek(file, -1, os.SEEK_END)
            if os.read(file, 1) != b"\n":
                line = b"\n" + line
        written = os.write(file, line)
        if written != len(line):
            raise OSError(f"only {written} of {len(line)} bytes of a result fitted into {directory / RESULTS_FILE}")
        os.fsync(file)
    finally:
        os.close(file)


def read_results(path: Path) -> list[dict[str, Any]]:
    """Return the runs in a result file, or in all ``*.jsonl`` files of a directory; of a run twice there, the last.

    A line that is no result is reported in a warning with its number and skipped; the file stays as it is.
    """
    runs: dict[str, dict[str, Any]] = {}
    for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
        for number, line in enumerate(file.read_bytes().splitlines(), start=1):
            if not line.strip():
                continue
            try:
                record = _checked(json.loads(line))
            except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
                warnings.warn(f"{file}, line {number} is no result and is skipped: {error}", stacklevel=2)
            else:
                runs[record["key"]] = record
    return list(runs.values())


def _checked(record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise ValueError(f"a result must be a JSON object, got {type(record).__name__}")
    for name, kind in _NEEDED.items():
        if not isinstance(record.get(name), kind):
            raise ValueError(f"{name} must be of type {kind.__name__}, got {record.get(name)!r}")
    if not all(isinstance(value, (int, float)) for value in record["metrics"].values()):
        raise ValueError(f"metrics must be numbers, got {record['metrics']}")
    return record
