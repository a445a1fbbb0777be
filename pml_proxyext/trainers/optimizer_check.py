"""Parameters that no optimizer holds: PML trains on without a word, and they stay what they were."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import nn
from torch.optim import Optimizer

__all__ = ["check_optimized"]


def check_optimized(
    modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer], freeze_these: Collection[str] = ()
) -> None:
    """Raise a ValueError if a parameter that requires a gradient is in none of ``optimizers``.

    Example:
        >>> check_optimized({"trunk": nn.Linear(2, 2)}, {})
        Traceback (most recent call last):
        ...
        ValueError: optimizers must hold all parameters of 'trunk', but 'weight' is in none; add a 'trunk_optimizer', \
or name 'trunk' in freeze_these, or set requires_grad of what shall stay to False
    """
    held = {
        id(parameter)
        for optimizer in optimizers.values()
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for name, module in modules.items():
        if name in freeze_these or not isinstance(module, nn.Module):
            continue
        for parameter_name, parameter in module.named_parameters():
            if parameter.requires_grad and id(parameter) not in held:
                raise ValueError(
                    f"optimizers must hold all parameters of {name!r}, but {parameter_name!r} is in none; add a "
                    f"'{name}_optimizer', or name {name!r} in freeze_these, or set requires_grad of what shall stay "
                    "to False"
                )
