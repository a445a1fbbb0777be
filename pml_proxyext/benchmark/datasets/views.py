"""How photographs become inputs of a network: sizes, crops, colours."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from pml_proxyext.utils.checks import check_integer, check_number, import_optional

__all__ = ["View", "Views"]

View = Callable[[Image], Tensor]

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which the trunks were trained with


@dataclass(frozen=True)
class Views:
    """The transforms of a paper, made of torchvision's.

    Training: resize if ``resize_first``, colour jitter if any, random resized crop, horizontal flip. Evaluation:
    resize, centre crop. Both end in the normalization by ImageNet's mean and standard deviation.

    Args:
        size: width and height of the crops, in pixels.
        resize: the shorter side before the centre crop.
        resize_first: whether to resize to ``resize`` before the random crop, too.
        square: whether resizing makes both sides equal, whatever the proportions were.
        crop_scale: smallest and largest share of the image's area in a random crop.
        crop_ratio: smallest and largest ratio of its width to its height.
        jitter: strengths for brightness, contrast, saturation and hue; None for no jitter.
    """

    size: int = 224
    resize: int = 256
    resize_first: bool = False
    square: bool = False
    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    jitter: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        check_integer("size", self.size)
        check_integer("resize", self.resize, low=self.size)
        for name in ("crop_scale", "crop_ratio"):
            low, high = getattr(self, name)
            check_number(name, low, low=0.0, high=high, open_low=True)

    def of_size(self, size: int) -> Views:
        """Return the same views of another size.

        Example:
            >>> Views().of_size(56).resize
            64
        """
        return dataclasses.replace(self, size=size, resize=round(self.resize * size / self.size))

    def train(self) -> View:
        """Return the random view of training, drawn from torch's default generator."""
        v2 = import_optional("torchvision.transforms.v2", "vision")
        parts = [self._resizing(v2)] if self.resize_first else []
        parts += [v2.ColorJitter(*self.jitter)] if self.jitter else []
        parts += [
            v2.RandomResizedCrop(self.size, self.crop_scale, self.crop_ratio, antialias=True),
            v2.RandomHorizontalFlip(),
        ]
        return _composed(v2, parts)

    def evaluation(self) -> View:
        """Return the view of evaluation, without randomness."""
        v2 = import_optional("torchvision.transforms.v2", "vision")
        return _composed(v2, [self._resizing(v2), v2.CenterCrop(self.size)])

    def _resizing(self, v2: Any) -> Any:
        return v2.Resize([self.resize, self.resize] if self.square else self.resize, antialias=True)


def _composed(v2: Any, parts: list[Any]) -> View:
    to_tensor = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(_MEAN, _STD), v2.ToPureTensor()]
    composed: View = v2.Compose([*parts, *to_tensor])
    return composed
