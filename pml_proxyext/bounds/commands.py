"""What the command line of the bounds does."""

from __future__ import annotations

import argparse
import pickle
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.box import SIMPLE
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor

from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.checking import CheckReport, check, chosen
from pml_proxyext.bounds.lattice import MAIN_FIGURE, Lattice

__all__ = ["COMMANDS"]

_UNREADABLE = (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, pickle.UnpicklingError)
_WIDTH = 140  # of tables that no terminal shows


def list_command(options: argparse.Namespace) -> int:
    """Show the relations."""
    relations = chosen(options.relations or None)
    table = Table(box=SIMPLE, title=f"{len(relations)} relations", title_justify="left")
    table.add_column("id", style="bold", no_wrap=True)
    for name in ("kind", "scope", "labels", "tight", "statement" if options.latex else "title", "source"):
        table.add_column(name)
    for relation in relations:
        words = (
            relation.kind.value,
            relation.scope.value,
            relation.labels.value,
            "yes" if relation.is_tight else "",
            relation.statement if options.latex else relation.title,
            relation.source,
        )
        table.add_row(relation.id, *map(Text, words))  # as it is: LaTeX is full of square brackets
    _show(table)
    return 0


def check_command(options: argparse.Namespace) -> int:
    """Show both sides; return 1 if a relation does not hold."""
    hyper = dict(options.hyper)
    if options.file is not None and options.random is not None:
        raise ValueError("check takes a file or --random, got both")
    if options.file is not None:
        report = check(_read(options.file, hyper), options.relations)
    elif options.random is not None:
        report = check(_random(options.random, hyper), options.relations)
    else:
        witnesses = [
            (relation, relation.witness()) for relation in chosen(options.relations) if relation.witness is not None
        ]
        findings = [check(batch.given(**hyper), relation).findings[0] for relation, batch in witnesses]
        report = CheckReport(tuple(findings), "witnesses")
    _show(report)
    return 0 if report.ok else 1


def plot_command(options: argparse.Namespace) -> int:
    """Draw the lattice."""
    options.out.parent.mkdir(parents=True, exist_ok=True)
    Lattice(options.relations or MAIN_FIGURE).plot(options.out)
    print(options.out)
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": list_command,
    "check": check_command,
    "plot": plot_command,
}


def _show(what: RenderableType) -> None:
    Console(width=shutil.get_terminal_size((_WIDTH, 24)).columns).print(what)


def _read(path: Path, hyper: Mapping[str, float]) -> BoundBatch:
    readers = {".npz": _read_arrays, ".pt": _read_tensors}
    if path.suffix not in readers:
        raise ValueError(f"the file must end in {' or '.join(readers)}, got {path}")
    try:
        tensors = readers[path.suffix](path)
    except _UNREADABLE as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"cannot read tensors from {path}: {reason}") from error
    missing = [name for name in ("embeddings", "labels") if name not in tensors]
    if missing:
        raise ValueError(
            f"{path} must hold 'embeddings' and 'labels', got {', '.join(map(repr, tensors)) or 'nothing'}"
        )
    return BoundBatch(tensors["embeddings"], tensors["labels"], tensors.get("proxies"), hyper, str(path))


def _read_arrays(path: Path) -> dict[str, Tensor]:
    with np.load(path) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays if arrays[name].dtype.kind in "biuf"}


def _read_tensors(path: Path) -> dict[str, Tensor]:
    stored: Any = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(stored, Mapping):
        raise ValueError(f"a dictionary of tensors is needed, got {type(stored).__name__}")
    return {name: tensor for name, tensor in stored.items() if isinstance(tensor, Tensor)}


def _random(seed: int, hyper: Mapping[str, float]) -> BoundBatch:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(6).repeat(2)  # pairs, one for each proxy: the assumptions of all relations
    embeddings, proxies = torch.randn(12, 8, generator=generator), torch.randn(6, 8, generator=generator)
    return BoundBatch(embeddings, labels, proxies, hyper, f"seed={seed}")
