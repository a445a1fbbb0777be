"""Images made hard to recognise: blurred, partly covered, or mixed with an image of another class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from pml_proxyext.utils.checks import check_integer, check_labels, check_number

__all__ = ["LEVELS", "Degraded", "blur", "degradations", "mix", "occlude"]

#: The levels of each kind: standard deviation of the blur in pixels, side of the square in pixels, and share of the
#: image of another class. They were chosen on validation classes, by precision at 1: for networks trained on
#: clean glyphs it falls by steps to about a half, with the strongest blur to less.
LEVELS: dict[str, tuple[float, ...]] = {"blur": (0.5, 0.7, 1.0), "occlusion": (8, 12, 16), "mixture": (0.2, 0.3, 0.4)}


@dataclass(frozen=True)
class Degraded:
    """Images of one kind and level of degradation, one for each original in the same order.

    Args:
        kind: a key of :data:`LEVELS`.
        level: how strong.
        images: ``(N, 1, H, W)`` unsigned bytes.
        partners: ``(N,)`` index of the other image in each; an image is its own partner where there is none.
    """

    kind: str
    level: float
    images: Tensor
    partners: Tensor

    @property
    def name(self) -> str:
        """Kind and level, as in ``occlusion_12``."""
        return f"{self.kind}_{self.level:g}"


def degradations(images: Tensor, labels: Tensor, seed: int = 0) -> Iterator[Degraded]:
    """Yield the images at every level of every kind.

    All levels of a kind share their random numbers: a larger square covers what a smaller one does, and an image is
    mixed with the same partner.

    Args:
        images: ``(N, 1, H, W)`` unsigned bytes, 0 being the background.
        labels: ``(N,)`` integers of at least two classes; those of the degraded images are the same.
        seed: of all that is random.

    Raises:
        ValueError: for images or labels of another kind.
    """
    itself = torch.arange(len(images))
    for level in LEVELS["blur"]:
        yield Degraded("blur", level, blur(images, level), itself)
    for level in LEVELS["occlusion"]:
        yield Degraded("occlusion", level, occlude(images, int(level), _generator(seed)), itself)
    for level in LEVELS["mixture"]:
        yield Degraded("mixture", level, *mix(images, labels, level, _generator(seed)))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blur(images: Tensor, sigma: float) -> Tensor:
    """Return the images convolved with a Gaussian, background around them.

    Args:
        images: ``(N, 1, H, W)`` unsigned bytes.
        sigma: standard deviation > 0 in pixels.
    """
    check_number("sigma", sigma, low=0.0, open_low=True)
    blurred = gaussian_filter(_checked(images).float().numpy(), sigma=(0, 0, sigma, sigma), mode="constant")
    return _as_bytes(torch.from_numpy(blurred))


def occlude(images: Tensor, side: int, generator: torch.Generator | None = None) -> Tensor:
    """Return the images with a square of background in them.

    Its centre is a random pixel of ink, so that something is covered in every image; part of it may lie outside.

    Args:
        images: ``(N, 1, H, W)`` unsigned bytes, 0 being the background.
        side: of the square in pixels.
        generator: source of the places; torch's default generator when None.
    """
    check_integer("side", side)
    height, width = _checked(images).shape[2:]
    ink = (images > 0).flatten(1)
    blank = ~ink.any(dim=1, keepdim=True)  # then any place will do
    place = torch.multinomial((ink | blank).float(), 1, generator=generator)
    top, left = place // width - side // 2, place % width - side // 2
    rows, columns = torch.arange(height), torch.arange(width)
    in_rows, in_columns = (rows >= top) & (rows < top + side), (columns >= left) & (columns < left + side)
    covered = in_rows[:, :, None] & in_columns[:, None, :]  # (N, H, W)
    return images.masked_fill(covered[:, None], 0)


def mix(
    images: Tensor, labels: Tensor, weight: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    r"""Return :math:`(1 - w) x_i + w x_j` for each image and another of a different class, and the indices :math:`j`.

    Every image of another class is an equally likely partner.

    Args:
        images: ``(N, 1, H, W)`` unsigned bytes.
        labels: ``(N,)`` integers of at least two classes. They stay right, because the partner is the weaker part.
        weight: :math:`w` in (0, 0.5). An even mixture belongs to either class or none, so that no answer to it could
            be called wrong.
        generator: source of the partners; torch's default generator when None.
    """
    if check_number("weight", weight, low=0.0, high=0.5, open_low=True) == 0.5:
        raise ValueError("weight must be below 0.5, got 0.5: an even mixture has no label")
    labels = check_labels(labels)
    if len(labels) != len(_checked(images)):
        raise ValueError(f"labels must be one for each of the {len(images)} images, got {len(labels)}")
    order = labels.argsort(stable=True)
    classes, counts = labels.unique(return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"labels must be of at least two classes, got {len(classes)}")
    number = torch.searchsorted(classes, labels)
    own = counts[number]  # how many images to skip
    start = (counts.cumsum(0) - counts)[number]  # where they begin in the order
    drawn = (torch.rand(len(labels), generator=generator, dtype=torch.float64) * (len(labels) - own)).long()
    partners = order[torch.where(drawn < start, drawn, drawn + own)]
    return _as_bytes((1 - weight) * images.float() + weight * images[partners].float()), partners


def _checked(images: Tensor) -> Tensor:
    if images.ndim != 4 or images.shape[1] != 1 or images.dtype != torch.uint8:
        raise ValueError(
            f"images must have shape (N, 1, H, W) and dtype uint8, got {tuple(images.shape)} and {images.dtype}"
        )
    return images


def _as_bytes(images: Tensor) -> Tensor:
    return images.round().clamp(0, 255).to(torch.uint8)
