"""Learning rates as functions of the step, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from pml_proxyext.utils.checks import check_integer, check_number

__all__ = ["MultiStep", "OneCycle", "Schedule", "WarmUpCosine"]


class Schedule(Protocol):
    """Makes the scheduler of one optimizer, to be stepped after each batch."""

    def scheduler(self, optimizer: Optimizer, steps: int, epochs: int) -> LRScheduler:
        """Return the scheduler.

        Args:
            optimizer: its learning rates are what the schedule multiplies.
            steps: batches in the whole run.
            epochs: how many epochs these make.
        """
        ...


@dataclass(frozen=True)
class OneCycle:
    """PyTorch's :class:`~torch.optim.lr_scheduler.OneCycleLR` with its defaults, up to the optimizer's own rates."""

    def scheduler(self, optimizer: Optimizer, steps: int, epochs: int) -> LRScheduler:
        return OneCycleLR(optimizer, [group["lr"] for group in optimizer.param_groups], total_steps=steps + 1)


@dataclass(frozen=True)
class MultiStep:
    r"""Multiply the rates by a factor at the end of each of some epochs.

    Args:
        milestones: the epochs. At or beyond the last epoch they change nothing.
        factor: in (0, 1].

    Example:
        >>> MultiStep((2, 3), 0.5).factor_at(step=5, steps=8, epochs=4)  # in the third epoch of two steps each
        0.5
    """

    milestones: tuple[float, ...] = ()
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_number("factor", self.factor, low=0.0, high=1.0, open_low=True)
        for milestone in self.milestones:
            check_number("milestones", milestone, low=0.0, open_low=True)

    def factor_at(self, step: int, steps: int, epochs: int) -> float:
        """Return what the rates are multiplied by in the step with this number, counted from 0."""
        return float(self.factor ** sum(step * epochs >= milestone * steps for milestone in self.milestones))

    def scheduler(self, optimizer: Optimizer, steps: int, epochs: int) -> LRScheduler:
        return LambdaLR(optimizer, lambda step: self.factor_at(step, steps, epochs))


@dataclass(frozen=True)
class WarmUpCosine:
    r"""The lower of a line up and half a cosine down: :math:`\min((i + 1) / w, (1 + \cos(\pi i / T)) / 2)`.

    With :math:`i` the step, :math:`w` the steps of the line and :math:`T` the steps of the run.

    Args:
        warm_up_steps: :math:`w`.

    Example:
        >>> WarmUpCosine(4).factor_at(step=1, steps=100)
        0.5
    """

    warm_up_steps: int = 100

    def __post_init__(self) -> None:
        check_integer("warm_up_steps", self.warm_up_steps)

    def factor_at(self, step: int, steps: int) -> float:
        """Return what the rates are multiplied by in the step with this number, counted from 0."""
        return min((step + 1) / self.warm_up_steps, (1 + math.cos(math.pi * step / steps)) / 2)

    def scheduler(self, optimizer: Optimizer, steps: int, epochs: int) -> LRScheduler:
        return LambdaLR(optimizer, lambda step: self.factor_at(step, steps))
