"""Optimizer groups for losses that own parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from pml_proxyext.utils.checks import check_number

__all__ = ["parameter_groups"]


def parameter_groups(
    module: nn.Module, lr: float, multipliers: Mapping[str, float], defaults: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Return one optimizer group per multiplier, each without weight decay.

    Args:
        module: the loss whose parameters are to be optimised.
        lr: the base learning rate, as a rule that of the network; at least 0.
        multipliers: from the beginning of a parameter's name to the factor of its learning rate; the longest
            beginning that fits decides, and ``""`` fits every name.
        defaults: the same for names that ``multipliers`` leaves out; those that fit no parameter are skipped, for not
            every variant of a loss has every parameter.

    Raises:
        ValueError: if ``lr`` or a multiplier is not a finite number >= 0, a multiplier fits no parameter, or a
            parameter fits no multiplier: none may be forgotten.

    Example:
        >>> [group["lr"] for group in parameter_groups(nn.Linear(2, 2), 0.1, {"weight": 10.0, "": 1.0})]
        [1.0, 0.1]
    """
    check_number("lr", lr, low=0.0)
    names = [name for name, _ in module.named_parameters()]
    present = {k: v for k, v in (defaults or {}).items() if any(name.startswith(k) for name in names)}
    multipliers = {**present, **multipliers}
    for prefix, multiplier in multipliers.items():
        check_number(f"the multiplier of {prefix!r}", multiplier, low=0.0)
        if not any(name.startswith(prefix) for name in names):
            raise ValueError(f"multipliers must name parameters, got {prefix!r}; the parameters are {names}")
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        fitting = [prefix for prefix in multipliers if name.startswith(prefix)]
        if not fitting:
            raise ValueError(f"multipliers must cover every parameter, got none for {name!r} in {list(multipliers)}")
        prefix = max(fitting, key=len)
        group = groups.setdefault(prefix, {"params": [], "lr": lr * multipliers[prefix], "weight_decay": 0.0})
        group["params"].append(parameter)
    return list(groups.values())
