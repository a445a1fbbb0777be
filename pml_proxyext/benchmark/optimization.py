"""Optimizers and schedules of a recipe, with a learning rate for each parameter of its loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pml_proxyext.benchmark.recipe import Recipe
from pml_proxyext.utils.parameter_groups import parameter_groups

__all__ = ["loss_parameter_groups", "make_optimizers"]


def loss_parameter_groups(loss: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the optimizer groups of a loss's parameters, or raise ValueError if the recipe forgets one of them."""
    if hasattr(loss, "param_groups"):
        return cast(Any, loss).param_groups(recipe.lr, **recipe.lr_multipliers)
    return parameter_groups(loss, recipe.lr, recipe.lr_multipliers)


def make_optimizers(
    models: Mapping[str, nn.Module], loss: nn.Module, recipe: Recipe
) -> tuple[dict[str, Optimizer], dict[str, LRScheduler]]:
    """Return optimizers and schedulers by the names that PML's trainers know them by.

    Args:
        models: ``trunk`` and ``embedder``; one without parameters gets no optimizer.
        loss: the loss.
        recipe: with the numbers that :meth:`~pml_proxyext.benchmark.recipe.Recipe.completed` fills in.
    """
    regime, steps = recipe.regime, cast(int, recipe.steps)
    groups = {name: _network_groups(model, regime.decay_vectors) for name, model in models.items()}
    groups["metric_loss"] = loss_parameter_groups(loss, recipe)
    optimizers: dict[str, Optimizer] = {}
    schedulers: dict[str, LRScheduler] = {}
    for name, parts in groups.items():
        if any(group["params"] for group in parts):
            optimizer = regime.optimizer.make(params=parts, lr=recipe.lr, weight_decay=recipe.weight_decay)
            optimizers[f"{name}_optimizer"] = optimizer
            schedulers[f"{name}_scheduler_by_iteration"] = regime.schedule.scheduler(optimizer, steps, regime.epochs)
    return optimizers, schedulers


def _network_groups(model: nn.Module, decay_vectors: bool) -> list[dict[str, Any]]:
    parameters = list(model.parameters())
    if decay_vectors:
        return [{"params": parameters}]
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1]},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
