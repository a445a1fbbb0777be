"""Checkpoints of sharded proxies: one file per rank, read by any number of ranks, each taking the classes it owns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pml_proxyext.utils.ranks import agree, world
from pml_proxyext.wrappers.rank_slices import class_range
from pml_proxyext.wrappers.sharded_proxies import ShardedProxies

__all__ = ["load_shards", "load_whole", "save_shards"]

_NAME = re.compile(r"classes_(\d+)_to_(\d+)_of_(\d+)\.pt")
_OPTIMIZER = "optimizer/"  # then the name of the entry, a slash and the name of the parameter


class _Part(NamedTuple):
    """Tensors of a loss of the classes from ``first`` up to, not including, ``stop``."""

    first: int
    stop: int
    tensors: Mapping[str, Tensor]


def save_shards(sharded: ShardedProxies, folder: str | Path, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Write the loss into ``folder``, which all ranks see, each rank the file of its own classes.

    Take a folder of its own for each checkpoint. Files of other numbers of ranks in it are deleted at the end.

    Args:
        sharded: the loss; all ranks call this function at the same time.
        folder: made if it does not exist.
        optimizer: what it keeps of the loss's parameters, such as Adam's moments, is saved, too. Its settings and what
            it keeps of a model are not.

    Raises:
        ValueError: on all ranks, if one of them cannot write.
    """
    rank, world_size = world()
    folder = Path(folder)
    names = [
        _file_name(*class_range(sharded.num_classes, at, world_size), sharded.num_classes) for at in range(world_size)
    ]
    partial = folder / f"{names[rank]}.partial"
    cause = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(_tensors(sharded, optimizer), partial)
    except (OSError, RuntimeError) as error:
        cause = error
    # Nobody touches the files of an older checkpoint before all have written theirs.
    agree(None if cause is None else f"folder must be writable, got {cause}", cause=cause)
    partial.replace(folder / names[rank])
    agree(None)
    if rank == 0:
        for path in folder.iterdir():
            if _NAME.fullmatch(path.name) and path.name not in names:
                path.unlink()


def load_shards(sharded: ShardedProxies, folder: str | Path, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Read what :func:`save_shards` wrote, with whatever number of ranks; no rank reads more than its own classes.

    Args:
        sharded: a loss like the one that was saved; all ranks call this function at the same time.
        folder: of the checkpoint.
        optimizer: gets what was saved of an optimizer of the same kind.

    Raises:
        ValueError: on all ranks, if on one of them files are missing, of another loss, or of two checkpoints at once.
    """

    def parts() -> list[_Part]:
        return [
            _Part(first, stop, torch.load(path, map_location="cpu", mmap=True, weights_only=True))
            for first, stop, path in _files(Path(folder), sharded.num_classes)
            if first < sharded.stop and sharded.first < stop
        ]

    _fill(sharded, parts, optimizer)


def load_whole(sharded: ShardedProxies, state: Mapping[str, Tensor]) -> None:
    """Take this rank's classes out of the ``state_dict`` of a loss of all classes.

    Open it with ``torch.load(path, mmap=True)``, and only these classes are read.

    Raises:
        ValueError: on all ranks, if on one of them the tensors are others than those of the loss.
    """
    _fill(sharded, lambda: [_Part(0, sharded.num_classes, state)], None)


def _file_name(first: int, stop: int, num_classes: int) -> str:
    return f"classes_{first}_to_{stop}_of_{num_classes}.pt"


def _files(folder: Path, num_classes: int) -> list[tuple[int, int, Path]]:
    """Return the files in the order of their classes, if these are all classes, once each."""
    found = [(path, _NAME.fullmatch(path.name)) for path in folder.iterdir()]
    ranges = sorted((int(match[1]), int(match[2]), int(match[3]), path) for path, match in found if match)
    ends = [0, *(stop for _, stop, _, _ in ranges)]
    starts = [*(first for first, _, _, _ in ranges), num_classes]
    if ends != starts or any(total != num_classes for _, _, total, _ in ranges):
        names = [path.name for *_, path in ranges]
        raise ValueError(
            f"folder must hold files of all {num_classes} classes, each class once, got {names} in {folder}"
        )
    return [(first, stop, path) for first, stop, _, path in ranges]


def _tensors(sharded: ShardedProxies, optimizer: torch.optim.Optimizer | None) -> dict[str, Tensor]:
    """Return what is saved, by name: the state of the loss, and of the optimizer what belongs to its parameters."""
    tensors = dict(sharded.loss.state_dict())
    for name, parameter in sharded.loss.named_parameters():
        kept: dict[str, Any] = {} if optimizer is None else optimizer.state.get(parameter, {})
        for key, value in kept.items():
            if isinstance(value, Tensor):
                tensors[f"{_OPTIMIZER}{key}/{name}"] = value
    return tensors


def _fill(sharded: ShardedProxies, parts: Callable[[], list[_Part]], optimizer: torch.optim.Optimizer | None) -> None:
    """Copy this rank's classes into the loss and the optimizer, if every rank can."""
    cause = None
    try:
        read = parts()
        targets = dict(sharded.loss.state_dict())
        kept = [] if optimizer is None else _kept(sharded, read[0])
        targets |= {entry.name: entry.tensor for entry in kept}
        copies = [pair for part in read for pair in _copies(sharded, part, targets, optimizer is not None)]
    except Exception as error:  # the other ranks wait to hear of it, whatever it is
        cause = error
    agree(None if cause is None else str(cause), cause=cause)
    with torch.no_grad():
        for target, source in copies:
            target.copy_(source)
    for entry in kept:
        assert optimizer is not None
        optimizer.state[entry.parameter][entry.key] = entry.tensor


def _copies(
    sharded: ShardedProxies, part: _Part, targets: Mapping[str, Tensor], with_optimizer: bool
) -> list[tuple[Tensor, Tensor]]:
    """Return this rank's tensors, or the classes in them that are in this part, and what they are to be."""
    needed = {name for name in part.tensors if with_optimizer or not name.startswith(_OPTIMIZER)}
    if needed != set(targets):
        raise ValueError(f"the tensors must be {sorted(targets)}, got {sorted(needed)}")
    begin, end = max(part.first, sharded.first), min(part.stop, sharded.stop)
    copies = []
    for name, target in targets.items():
        axis, source = sharded.slice.class_axes.get(name.rpartition("/")[2]), part.tensors[name]
        if axis is not None and min(target.ndim, source.ndim) > axis:
            target = target.narrow(axis, begin - sharded.first, end - begin)
            source = source.narrow(axis, begin - part.first, end - begin)
        if target.shape != source.shape:
            raise ValueError(f"{name} must have the shape {tuple(target.shape)}, got {tuple(source.shape)}")
        copies.append((target, source))
    return copies


class _Kept(NamedTuple):
    """What an optimizer keeps of a parameter under a key."""

    name: str
    parameter: Tensor
    key: str
    tensor: Tensor


def _kept(sharded: ShardedProxies, part: _Part) -> list[_Kept]:
    """Return room for what was saved of an optimizer, in this rank's shapes."""
    parameters = dict(sharded.loss.named_parameters())
    found = []
    for full, saved in part.tensors.items():
        if full.startswith(_OPTIMIZER):
            _, key, name = full.split("/", 2)
            if name not in parameters:
                raise ValueError(f"the loss must have the parameters that were saved, got none of the name {name!r}")
            parameter = parameters[name]
            room = torch.zeros_like(parameter, requires_grad=False) if saved.ndim else saved.clone()
            found.append(_Kept(full, parameter, key, room))
    return found
