"""All the random numbers of a training run: where they come from, and how to go on from the same place."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from pytorch_metric_learning.utils import common_functions as c_f
from torch import nn
from torch.utils.data import Dataset, Sampler

__all__ = ["random_states", "restore_random_states"]


def random_states(owners: Iterable[Any] = ()) -> dict[str, Any]:
    """Return the states of the generators of torch, NumPy, Python and PML, and of those that ``owners`` hold.

    Owners are modules, samplers and data sets; looked at are their attributes that are a ``torch.Generator``, and those
    of the samplers and data sets inside them. All of it is tensors, numbers, strings, lists, tuples and dictionaries,
    which ``torch.load(weights_only=True)`` reads.
    """
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": [_numpy_state(source) for source in _numpy_sources()],
        "owned": [generator.get_state() for generator in _owned(owners)],
    }


def restore_random_states(states: dict[str, Any], owners: Iterable[Any] = ()) -> None:
    """Set all generators to what :func:`random_states` returned for the same owners.

    Raises:
        ValueError: if the owners hold another number of generators than they did.
    """
    generators = list(_owned(owners))
    if len(generators) != len(states["owned"]):
        raise ValueError(
            f"the sampler, data set, models, losses and miners must hold {len(states['owned'])} generators, as those "
            f"of the saved run did, got {len(generators)}"
        )
    torch.set_rng_state(states["torch"].cpu())
    for device, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state.cpu(), device)
    random.setstate(states["python"])
    for source, state in zip(_numpy_sources(), states["numpy"], strict=True):
        _set_numpy_state(source, state)
    for generator, state in zip(generators, states["owned"], strict=True):
        generator.set_state(state.cpu())


def _numpy_sources() -> list[Any]:
    return [np.random, c_f.NUMPY_RANDOM]  # the same thing, unless somebody has seeded PML


def _numpy_state(source: Any) -> dict[str, Any]:
    if isinstance(source, np.random.Generator):
        return dict(source.bit_generator.state)
    state = source.get_state(legacy=False)
    return {**state, "state": {**state["state"], "key": state["state"]["key"].tolist()}}


def _set_numpy_state(source: Any, state: dict[str, Any]) -> None:
    if isinstance(source, np.random.Generator):
        source.bit_generator.state = state
    else:
        key = np.array(state["state"]["key"], dtype=np.uint32)
        source.set_state({**state, "state": {**state["state"], "key": key}})


def _owned(owners: Iterable[Any]) -> Iterator[torch.Generator]:
    """Yield each generator once, in an order that depends on nothing but how the owners are built."""
    seen: set[int] = set()
    waiting = list(owners)
    while waiting:
        owner = waiting.pop(0)
        if id(owner) in seen:
            continue
        seen.add(id(owner))
        if isinstance(owner, torch.Generator):
            yield owner
            continue
        parts = list(owner.modules()) if isinstance(owner, nn.Module) else [owner]
        for part in parts:
            values = getattr(part, "__dict__", {}).values()
            waiting += [value for value in values if isinstance(value, (torch.Generator, Sampler, Dataset))]
