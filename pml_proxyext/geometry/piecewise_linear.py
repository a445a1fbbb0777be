r"""Looking into a piecewise linear network: at its kinks, and at nothing else, for there is nothing else.

A network of affine layers, ReLU-like units and maxima is affine wherever no unit changes its state. This module finds
those units in any :class:`torch.nn.Module`, records their states, and refuses what is not piecewise linear.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pml_proxyext.utils.checks import check_embeddings

__all__ = ["PiecewiseLinearEncoder", "Units", "check_inputs", "count_distinct", "fingerprints"]

# Rounding, relative to the largest number of a layer: a unit nearer to its kink than this is at its kink.
ROUNDING = 1e-12

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_AFFINE: tuple[type[nn.Module], ...] = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.Identity, nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.PixelUnshuffle, nn.ZeroPad1d, nn.ZeroPad2d, nn.Upsample,
)  # fmt: skip
_AFFINE_IN_EVALUATION = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
)  # fmt: skip
_MAXIMA = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip
_KINKS: dict[type[nn.Module], Callable[[Any], tuple[float, ...]]] = {
    nn.ReLU: lambda unit: (0.0,),
    nn.LeakyReLU: lambda unit: (0.0,),
    nn.PReLU: lambda unit: (0.0,),
    nn.Hardtanh: lambda unit: (unit.min_val, unit.max_val),  # ReLU6 among them
    nn.Hardsigmoid: lambda unit: (-3.0, 3.0),
}


@dataclass(frozen=True)
class Units:
    """What one layer of units did with N inputs.

    Attributes:
        values: what entered the layer, ``(N, M)``; from it, the kinks are taken off.
        winners: of a layer of maxima the place in ``values`` of each maximum, ``(N, K)``; None for ReLU-like units.
        rounding: numbers in ``values`` smaller than this are zero.
    """

    values: Tensor
    winners: Tensor | None
    rounding: float

    def states(self) -> Tensor:
        """Return in which state each unit was, ``(N, K)``: above its kink or not, or which input was the largest."""
        return self.values > self.rounding if self.winners is None else self.winners

    def gaps(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return for two inputs per row, given by index, a number of each unit at both; opposite signs are a change."""
        if self.winners is None:
            return self.values[first], self.values[second]
        here, there = self.winners[first], self.winners[second]
        left, right = self.values[first], self.values[second]
        return left.gather(1, here) - left.gather(1, there), right.gather(1, here) - right.gather(1, there)


class PiecewiseLinearEncoder:
    """A copy of an encoder in float64, whose units can be watched; the given one must be in evaluation mode.

    Raises:
        ValueError: for modules that are not piecewise linear, or not so in training mode. Functions that a ``forward``
            calls without a module cannot be seen here; :meth:`check_affine` finds them out.
    """

    def __init__(self, encoder: nn.Module) -> None:
        for name, module in encoder.named_modules():
            _check_module(name or type(encoder).__name__, module)
        self.encoder = copy.deepcopy(encoder).double()
        device_of = next(self.encoder.parameters(), None)
        self.device = torch.device("cpu") if device_of is None else device_of.device

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the outputs as a matrix, ``(N, ...)`` -> ``(N, K)`` in float64."""
        return self.encoder(inputs.to(self.device, torch.float64)).flatten(1)

    @torch.no_grad()
    def units(self, inputs: Tensor) -> list[Units]:
        """Return what every layer of units did, in the order in which they ran."""
        found: list[Units] = []

        def record(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            found.append(_observed(module, arguments[0]))

        watched = [module for module in self.encoder.modules() if isinstance(module, (*_KINKS, *_MAXIMA))]
        hooks = [module.register_forward_pre_hook(record) for module in watched]
        try:
            self(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        return found

    def patterns(self, inputs: Tensor) -> list[bytes]:
        """Return a digest of the states of all units for each input."""
        states = [units.states() for units in self.units(inputs)]
        rows = [state.cpu().numpy() for state in states]
        return [
            hashlib.blake2b(b"".join(row[i].tobytes() for row in rows), digest_size=16).digest()
            for i in range(len(inputs))
        ]

    def affine_maps(self, inputs: Tensor) -> Tensor:
        """Return of the affine map that the encoder is at each input a readout, ``(N, D + 1)``: gradient and offset.

        The readout adds the outputs up with weights drawn at random, so that different maps have different ones: one
        backward pass instead of one for each output.
        """
        points = inputs.to(self.device, torch.float64, copy=True).requires_grad_()
        with torch.enable_grad():
            outputs = self.encoder(points).flatten(1)
            weights = torch.randn(outputs.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
            readouts = outputs @ weights.to(self.device)
            (gradients,) = torch.autograd.grad(readouts.sum(), points)
        offsets = readouts - (gradients * points).flatten(1).sum(1)
        return torch.cat([gradients.flatten(1), offsets[:, None]], dim=1).detach().cpu()

    def check_affine(self, left: Tensor, right: Tensor) -> None:
        """Raise ValueError if the encoder bends between two points, row by row, where its units do not."""
        ends, middle = self(torch.cat([left, right])), self((left + right) / 2)
        deviation = (middle - ends.unflatten(0, (2, len(left))).mean(0)).abs().max().item()
        scale = max(ends.abs().max().item(), middle.abs().max().item())
        if not deviation <= 1e-8 * scale:
            raise ValueError(
                f"encoder must be piecewise linear with its kinks in modules (nn.ReLU, not torch.relu), "
                f"got a bend of {deviation:.3g} where no unit has one; leave out a normalisation of its outputs"
            )


def fingerprints(rows: Tensor) -> Tensor:
    """Return one number for each row; those of rows that differ by no more than rounding differ by less than 1.

    It is a projection onto a line at random, so that others fall on different places.
    """
    weights = torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = rows.double()
    scale = (rows.abs() @ weights.abs()).max().clamp_min(torch.finfo(torch.float64).tiny)
    return (rows @ weights) / (1e-11 * scale)


def count_distinct(rows: Tensor) -> int:
    """Return how many rows differ by more than rounding."""
    return 1 + int((fingerprints(rows).sort().values.diff() > 1).sum())


def check_inputs(name: str, inputs: Tensor) -> Tensor:
    """Return ``inputs`` if they are floating point, finite and not empty, or raise ValueError."""
    check_embeddings(inputs.flatten(1) if inputs.ndim > 1 else inputs, name=name)
    if not len(inputs) or not inputs.isfinite().all():
        raise ValueError(f"{name} must hold finite numbers, one row at least, got shape {tuple(inputs.shape)}")
    return inputs


def _check_module(name: str, module: nn.Module) -> None:
    if isinstance(module, (*_CONTAINERS, *_AFFINE, *_MAXIMA, *_KINKS)):
        return
    if isinstance(module, _AFFINE_IN_EVALUATION):
        if module.training:
            raise ValueError(f"encoder must be in evaluation mode, got {name} ({type(module).__name__}) in training")
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise ValueError(f"encoder must be piecewise linear, got {name}, a batch norm without running statistics")
        return
    if type(module).__module__.startswith("torch.nn."):
        raise ValueError(f"encoder must be piecewise linear, got {name}, a {type(module).__name__}: not supported")


def _observed(module: nn.Module, inputs: Tensor) -> Units:
    if isinstance(module, _MAXIMA):
        pool: Any = copy.copy(module)
        pool.return_indices = True
        winners = type(module).forward(pool, inputs)[1]
        # The indices count within a channel; all channels stand side by side in ``values``.
        offsets = torch.arange(inputs.shape[1], device=inputs.device) * inputs[0, 0].numel()
        places = (winners.flatten(2) + offsets[:, None]).flatten(1)
        return Units(inputs.flatten(1).clone(), places, _rounding(inputs))
    kinks = next(kinks(module) for kind, kinks in _KINKS.items() if isinstance(module, kind))
    values = torch.cat([inputs.flatten(1) - kink for kink in kinks], dim=1)
    return Units(values, None, _rounding(inputs))


def _rounding(values: Tensor) -> float:
    return ROUNDING * values.abs().max().item() if values.numel() else 0.0
