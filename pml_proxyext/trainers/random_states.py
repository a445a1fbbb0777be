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
    of the samplers and data sets inside them. Lists and arrays that samplers hold are part of it, for samplers of PML
    shuffle theirs from one pass to the next. All of it is tensors, numbers, strings, lists, tuples and dictionaries,
    which ``torch.load(weights_only=True)`` reads.
    """
    owners = list(owners)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": [_numpy_state(source) for source in _numpy_sources()],
        "owned": [generator.get_state() for generator in _generators(owners)],
        "orders": [_items(order) for order in _orders(owners)],
    }


def restore_random_states(states: dict[str, Any], owners: Iterable[Any] = ()) -> None:
    """Set all generators to what :func:`random_states` returned for the same owners.

    Raises:
        ValueError: if the owners hold another number of generators, or the samplers of lists, than they did.
    """
    owners = list(owners)
    generators, orders = list(_generators(owners)), list(_orders(owners))
    if len(generators) != len(states["owned"]):
        raise ValueError(
            f"the sampler, data set, models, losses and miners must hold {len(states['owned'])} generators, as those "
            f"of the saved run did, got {len(generators)}"
        )
    if len(orders) != len(states["orders"]):
        raise ValueError(
            f"the sampler must hold {len(states['orders'])} lists, as that of the saved run did, got {len(orders)}"
        )
    torch.set_rng_state(states["torch"].cpu())
    for device, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state.cpu(), device)
    random.setstate(states["python"])
    for source, state in zip(_numpy_sources(), states["numpy"], strict=True):
        _set_numpy_state(source, state)
    for generator, state in zip(generators, states["owned"], strict=True):
        generator.set_state(state.cpu())
    for order, items in zip(orders, states["orders"], strict=True):
        order[:] = items.cpu().numpy() if isinstance(order, np.ndarray) else items


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


def _generators(owners: list[Any]) -> Iterator[torch.Generator]:
    return (part for part in _parts(owners) if isinstance(part, torch.Generator))


def _orders(owners: list[Any]) -> Iterator[Any]:
    """Yield the lists and arrays that samplers hold, if they are of numbers or strings."""
    for part in _parts(owners):
        if isinstance(part, Sampler):
            for value in vars(part).values():
                is_list = isinstance(value, list) and all(
                    isinstance(item, (int, float, str, np.generic)) for item in value
                )
                if is_list or (isinstance(value, np.ndarray) and value.dtype.kind in "iuf"):
                    yield value


def _items(order: Any) -> Any:
    if isinstance(order, np.ndarray):
        return torch.tensor(order)  # a copy
    return [item.item() if isinstance(item, np.generic) else item for item in order]


def _parts(owners: list[Any]) -> Iterator[Any]:
    """Yield the owners and what is inside them, each once, in an order that depends only on how they are built."""
    seen: set[int] = set()
    waiting = list(owners)
    while waiting:
        owner = waiting.pop(0)
        if id(owner) in seen:
            continue
        seen.add(id(owner))
        yield owner
        for part in owner.modules() if isinstance(owner, nn.Module) else [owner]:
            values = getattr(part, "__dict__", {}).values()
            waiting += [value for value in values if isinstance(value, (torch.Generator, Sampler, Dataset))]
