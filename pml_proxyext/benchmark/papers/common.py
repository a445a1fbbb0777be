"""What the papers' recipes have in common: lengths of epochs, initial weights that are data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pml_proxyext.benchmark.parts import Part

__all__ = ["PROTOCOL", "NormalInit", "XavierInit", "epoch_steps", "ours", "pml"]

#: Images to train on, by the usual division of classes.
_TRAINING_IMAGES = {"cub200": 5864, "cars196": 8054, "sop": 59551, "inshop": 25882}

#: What every recipe on photographs does: take the GPU if there is one, and let four processes read images.
PROTOCOL: dict[str, Any] = {"device": "auto", "workers": 4}


def epoch_steps(data: str, batch_size: int) -> int:
    """Return how many whole batches the training images of a data set make.

    Recipes count steps. On fewer images, as with the validation split, an epoch has as many steps all the same.
    """
    return _TRAINING_IMAGES[data] // batch_size


def pml(name: str, **options: Any) -> Part:
    """Return a loss or miner of PML by its class."""
    return Part(f"pytorch_metric_learning.{name}", options)


def ours(name: str, **options: Any) -> Part:
    """Return a loss of this package by its class."""
    return Part(f"pml_proxyext.losses.{name}", options)


@dataclass(frozen=True)
class NormalInit:
    """Normal initial weights, as PML's losses take them; what they are can be read from their text.

    Args:
        std: the standard deviation.
    """

    std: float

    def __call__(self, weights: Tensor) -> None:
        nn.init.normal_(weights, std=self.std)


@dataclass(frozen=True)
class XavierInit:
    """Normal initial weights by Glorot and Bengio's rule, as PML's losses take them.

    Args:
        gain: factor on the standard deviation of the rule.
    """

    gain: float

    def __call__(self, weights: Tensor) -> None:
        nn.init.xavier_normal_(weights, gain=self.gain)
