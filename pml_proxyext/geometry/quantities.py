"""Arguments of the floors: numbers that may be tensors, and the class counts of a batch, all in float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pml_proxyext.utils.checks import check_number

__all__ = ["class_counts", "quantity"]


def quantity(name: str, value: float | Tensor, *, positive: bool = False) -> Tensor:
    """Return ``value`` in float64, with its graph if it is a tensor, once it is known to be >= 0 (or > 0).

    A Python number must be finite; in a tensor, which was measured, NaN passes and so stays visible.

    Raises:
        ValueError: for a number or an entry that is negative (or zero, if ``positive``).

    Example:
        >>> quantity("radius", -1.0)
        Traceback (most recent call last):
        ...
        ValueError: radius must be a finite number >= 0, got -1.0
    """
    if not isinstance(value, Tensor):
        return torch.tensor(check_number(name, value, low=0.0, open_low=positive), dtype=torch.float64)
    refused = value <= 0 if positive else value < 0
    if bool(refused.any()):
        allowed = "> 0" if positive else ">= 0"
        raise ValueError(f"{name} must be {allowed} everywhere, got {value[refused].tolist()[:5]} among its entries")
    return value.double()


def class_counts(counts: Sequence[int] | Tensor) -> Tensor:
    """Return the numbers of samples of the classes that are present, ``(K,)`` in float64; zeros are left out.

    Raises:
        ValueError: for an empty, nested or negative list, numbers that are not integers, and only zeros.

    Example:
        >>> class_counts([3, 0, 2])
        tensor([3., 2.], dtype=torch.float64)
    """
    numbers = torch.as_tensor(counts)
    if numbers.ndim != 1 or numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
        raise ValueError(f"counts must be a vector of integers, got {counts!r}")
    if bool((numbers < 0).any()) or not bool((numbers > 0).any()):
        raise ValueError(f"counts must be >= 0 and one of them positive, got {numbers.tolist()}")
    return numbers[numbers > 0].double()
