"""Checks of arguments and inputs; every message names the argument, what came, and what is allowed."""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Iterable
from types import ModuleType
from typing import TypeVar

import torch
from torch import Tensor

__all__ = [
    "check_choice",
    "check_embeddings",
    "check_finite",
    "check_integer",
    "check_labels",
    "check_multi_hot",
    "check_number",
    "check_rows",
    "check_unit_interval",
    "import_optional",
]

_Choice = TypeVar("_Choice", bound=str)


def check_number(
    name: str, value: float, *, low: float = -math.inf, high: float = math.inf, open_low: bool = False
) -> float:
    """Return ``value`` as a finite float in ``[low, high]`` (``(low, high]`` with ``open_low``), or raise ValueError.

    Example:
        >>> check_number("temperature", 0, low=0, open_low=True)
        Traceback (most recent call last):
        ...
        ValueError: temperature must be a finite number > 0, got 0
    """
    bounds = [f"{'>' if open_low else '>='} {low:g}"] if low > -math.inf else []
    bounds += [f"<= {high:g}"] if high < math.inf else []
    allowed = " ".join(["a finite number", " and ".join(bounds)]).strip()
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or value < low or value > high or (open_low and value == low):
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return float(value)


def check_integer(name: str, value: int, *, low: int = 1) -> int:
    """Return ``value`` if it is an integer of at least ``low``, or raise ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name} must be an integer >= {low}, got {value!r}")
    return value


def check_choice(name: str, value: _Choice, allowed: Iterable[_Choice]) -> _Choice:
    """Return ``value`` if it is one of ``allowed``; otherwise raise a ValueError that suggests the nearest ones.

    Example:
        >>> check_choice("similarity", "el_nivfm", ["el_nivmf", "cosine"])
        Traceback (most recent call last):
        ...
        ValueError: similarity must be one of 'el_nivmf', 'cosine', got 'el_nivfm'; did you mean 'el_nivmf'?
    """
    allowed = list(allowed)
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, n=3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}{hint}")
    return value


def check_embeddings(embeddings: Tensor, embedding_size: int | None = None, name: str = "embeddings") -> Tensor:
    """Return ``embeddings`` if they are a floating-point matrix ``(N, embedding_size)``, or raise ValueError."""
    if embeddings.ndim != 2:
        raise ValueError(f"{name} must have shape (N, embedding_size), got shape {tuple(embeddings.shape)}")
    if not embeddings.is_floating_point():
        raise ValueError(f"{name} must be floating point, got {embeddings.dtype}")
    if embedding_size is not None and embeddings.shape[1] != embedding_size:
        raise ValueError(f"{name} must have embedding_size {embedding_size}, got shape {tuple(embeddings.shape)}")
    return embeddings


def check_finite(tensor: Tensor, name: str) -> Tensor:
    """Return ``tensor`` if no value of it is NaN or infinite, or raise ValueError; for data, never for embeddings.

    Example:
        >>> check_finite(torch.tensor([1.0, torch.nan]), "points_a")
        Traceback (most recent call last):
        ...
        ValueError: points_a must be finite, got NaN or infinity in 1 of 2 values
    """
    num_bad = int((~tensor.isfinite()).sum())
    if num_bad:
        raise ValueError(f"{name} must be finite, got NaN or infinity in {num_bad} of {tensor.numel()} values")
    return tensor


def check_labels(labels: Tensor, num_classes: int | None = None, name: str = "labels") -> Tensor:
    """Return integer ``labels`` as int64 if all lie in ``[0, num_classes)``, or raise ValueError.

    The range costs a look at the values, so a compiled graph leaves that look out.

    Example:
        >>> check_labels(torch.tensor([0, 7]), num_classes=5)
        Traceback (most recent call last):
        ...
        ValueError: labels must lie in [0, 5), got values from 0 to 7; map class ids to 0..4 first
    """
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"{name} must be integers, got {labels.dtype}")
    if num_classes is not None and labels.numel() and not torch.compiler.is_compiling():
        lowest, highest = (int(bound) for bound in torch.aminmax(labels))
        if lowest < 0 or highest >= num_classes:
            raise ValueError(
                f"{name} must lie in [0, {num_classes}), got values from {lowest} to {highest}; "
                f"map class ids to 0..{num_classes - 1} first"
            )
    return labels.long()


def check_multi_hot(labels: Tensor, num_classes: int | None = None, name: str = "labels") -> Tensor:
    """Return ``labels`` if they are a matrix ``(N, num_classes)`` of zeros and ones, in any dtype, or raise ValueError.

    The values cost a look, so a compiled graph leaves that look out.

    Example:
        >>> check_multi_hot(torch.tensor([[0, 1], [1, -1]]))
        Traceback (most recent call last):
        ...
        ValueError: labels must be 0 or 1 for every class, got values from -1 to 1
    """
    if labels.ndim != 2 or (num_classes is not None and labels.shape[1] != num_classes):
        width = "num_classes" if num_classes is None else num_classes
        raise ValueError(f"{name} must be multi-hot of shape (N, {width}), got shape {tuple(labels.shape)}")
    if labels.numel() and not torch.compiler.is_compiling() and not ((labels == 0) | (labels == 1)).all():
        lowest, highest = (bound.item() for bound in torch.aminmax(labels))
        raise ValueError(f"{name} must be 0 or 1 for every class, got values from {lowest:g} to {highest:g}")
    return labels


def check_unit_interval(tensor: Tensor, name: str = "embeddings") -> Tensor:
    """Return ``tensor`` if its values lie in [0, 1] or are NaN, or raise ValueError.

    The values cost a look, so a compiled graph leaves that look out.

    Example:
        >>> check_unit_interval(torch.tensor([-1.0, 1.0]))
        Traceback (most recent call last):
        ...
        ValueError: embeddings must lie in [0, 1], got values from -1 to 1; a DBELayer or a sigmoid gives such values
    """
    if tensor.numel() and not torch.compiler.is_compiling() and ((tensor < 0) | (tensor > 1)).any():
        lowest, highest = (bound.item() for bound in torch.aminmax(tensor.detach()))
        raise ValueError(
            f"{name} must lie in [0, 1], got values from {lowest:g} to {highest:g}; "
            f"a DBELayer or a sigmoid gives such values"
        )
    return tensor


def check_rows(tensor: Tensor, other: Tensor, name: str, other_name: str = "embeddings") -> Tensor:
    """Return ``tensor`` if it has as many rows as ``other``, or raise ValueError.

    Example:
        >>> check_rows(torch.zeros(3, 2), torch.zeros(4, 5), "ref_emb")
        Traceback (most recent call last):
        ...
        ValueError: ref_emb must have one row for each row of embeddings, got shapes (3, 2) and (4, 5)
    """
    if len(tensor) != len(other):
        raise ValueError(
            f"{name} must have one row for each row of {other_name}, got shapes {tuple(tensor.shape)} "
            f"and {tuple(other.shape)}"
        )
    return tensor


def import_optional(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or raise an ImportError that names the extra which brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"this needs {module!r}; install it with: pip install 'pml-proxyext[{extra}]'") from error
