"""The networks that the recipes train."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pml_proxyext.utils.checks import check_choice

__all__ = ["TRUNKS", "SmallCNN", "build_models"]


class SmallCNN(nn.Sequential):
    """Four convolutions for 32 x 32 grey images: small enough to train on one CPU thread within a minute.

    Example:
        >>> SmallCNN()(torch.zeros(2, 1, 32, 32)).shape
        torch.Size([2, 4096])
    """

    def __init__(self, channels: tuple[int, int, int, int] = (16, 64, 128, 256)) -> None:
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(zip((1, *channels), channels, strict=False)):
            layers.append(nn.Conv2d(before, after, 3, padding=1, bias=False))
            if index < 3:
                layers.append(nn.MaxPool2d(2))  # before the rest, which has a quarter to do then
            layers += [nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*layers, nn.Flatten())
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on a CPU

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.contiguous(memory_format=torch.channels_last))


#: Name of a trunk -> (how to make it, width of what it returns).
TRUNKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "small_cnn": (SmallCNN, 4096),
    "pixels": (nn.Flatten, 1024),
}


def build_models(trunk: str, embedding_size: int | None) -> dict[str, nn.Module]:
    """Return the models for PML's trainers: the trunk, and a linear embedder (none for ``embedding_size=None``)."""
    make, width = TRUNKS[check_choice("trunk", trunk, TRUNKS)]
    embedder = nn.Identity() if embedding_size is None else nn.Linear(width, embedding_size)
    return {"trunk": make(), "embedder": embedder}
