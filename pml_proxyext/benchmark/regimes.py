"""How a recipe trains: optimizer, schedule, epochs, what is frozen, and on what machine."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import torch

from pml_proxyext.benchmark.datasets.views import Views
from pml_proxyext.benchmark.parts import Part
from pml_proxyext.benchmark.schedules import OneCycle, Schedule
from pml_proxyext.utils.checks import check_choice, check_integer, check_number

__all__ = ["Regime"]

Sampling = Literal["per_class", "shuffled"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]

_SMOKE_SIZE = 32  # pixels


@dataclass(frozen=True)
class Regime:
    """How a recipe trains.

    The defaults are the benchmark's own: AdamW and one cycle, on the CPU. The papers depart from it.

    Args:
        epochs: what milestones and warm-up are counted in. A run of other steps has as many epochs of other length.
        evaluations: how many evaluations, evenly spaced, each followed by a checkpoint; the last one is the score.
        optimizer: class and options, without learning rate and weight decay, which recipes have.
        schedule: of the learning rates.
        decay_vectors: whether weight decay is for biases and other parameters of one dimension, too.
        clip_value: bound on each element of a gradient; None for no bound.
        warm_up_epochs: how long the trunk is left as it is while embedder and loss learn; at least one step, if any.
        sampling: ``"per_class"`` takes ``images_per_class`` of each class into a batch; ``"shuffled"`` takes every
            image once before any one twice.
        pretrained: whether the trunk starts from weights trained on ImageNet, which torchvision downloads.
        frozen_batch_norm: whether the batch norm of the trunk keeps its statistics; its weights and biases do learn.
        feature_norm: whether the embedder ends in batch norm without weights and biases.
        embedder_scale: factor on the initial weights of the linear embedder.
        views: how photographs become inputs; None for other data.
        device: ``"auto"`` takes the GPU if there is one.
        precision: ``"bfloat16"`` computes embeddings in mixed precision while training.
        workers: processes that read images. They are part of a run's randomness.
    """

    epochs: int = 5
    evaluations: int = 5
    optimizer: Part = field(default_factory=partial(Part, "torch.optim.AdamW"))
    schedule: Schedule = field(default_factory=OneCycle)
    decay_vectors: bool = True
    clip_value: float | None = None
    warm_up_epochs: float = 0.0
    sampling: Sampling = "per_class"
    pretrained: bool = False
    frozen_batch_norm: bool = False
    feature_norm: bool = False
    embedder_scale: float = 1.0
    views: Views | None = None
    device: Device = "cpu"
    precision: Precision = "float32"
    workers: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "evaluations"):
            check_integer(name, getattr(self, name))
        check_integer("workers", self.workers, low=0)
        if self.clip_value is not None:
            check_number("clip_value", self.clip_value, low=0.0, open_low=True)
        check_number("warm_up_epochs", self.warm_up_epochs, low=0.0, high=self.epochs)
        check_number("embedder_scale", self.embedder_scale, low=0.0, open_low=True)
        check_choice("sampling", self.sampling, get_args(Sampling))
        check_choice("device", self.device, get_args(Device))
        check_choice("precision", self.precision, get_args(Precision))

    def with_option(self, name: str, value: Any) -> Regime:
        """Return the regime with another number or name; a ValueError says which there are."""
        plain = [key for key, now in vars(self).items() if isinstance(now, (bool, int, float, str))]
        return dataclasses.replace(self, **{check_choice("option of regime", name, plain): value})

    def for_smoke(self) -> Regime:
        """Return what a trial without weights, GPU and patience can do: small images, two evaluations."""
        if self.views is None:
            return self
        views = self.views.of_size(_SMOKE_SIZE)
        return dataclasses.replace(self, views=views, evaluations=2, pretrained=False, device="cpu", workers=0)

    def warm_up_steps(self, steps: int) -> int:
        """Return how many of so many steps leave the trunk as it is.

        Example:
            >>> Regime(epochs=10, warm_up_epochs=1).warm_up_steps(500)
            50
        """
        return max(1, round(self.warm_up_epochs * steps / self.epochs)) if self.warm_up_epochs else 0

    def torch_device(self) -> torch.device:
        """Return where to compute; ``"auto"`` looks at the machine."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    def departures(self) -> dict[str, str]:
        """Return what differs from the benchmark's own way, as text.

        Example:
            >>> Regime(epochs=30).departures()
            {'epochs': '30'}
        """
        default = Regime()
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: repr(value) for name, value in values.items() if value != getattr(default, name)}
