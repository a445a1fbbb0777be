"""The emoji as pictures of 64 x 64 pixels, with what each shows and the subgroup that it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from pml_proxyext.benchmark.datasets.emoji import prepared_emoji, split_emoji
from pml_proxyext.benchmark.datasets.emoji_vendors import emoji_subgroups
from pml_proxyext.benchmark.datasets.retrieval_set import Split

__all__ = ["LabelledDrawings", "drawings_stand_in", "load_emoji_drawings"]


@dataclass(frozen=True)
class LabelledDrawings:
    """Pictures of some emoji.

    Attributes:
        images: ``(N, 3, 64, 64)`` unsigned bytes.
        emoji: ``(N,)``, which emoji each shows.
        subgroups: ``(N,)``, what kind of emoji that is.
    """

    images: Tensor
    emoji: Tensor
    subgroups: Tensor


def load_emoji_drawings(split: Split = "test") -> tuple[LabelledDrawings, LabelledDrawings]:
    """Return what to train on and what to evaluate on: other emoji, divided as for the data set ``emoji``.

    Raises:
        ValueError: if :func:`~pml_proxyext.benchmark.datasets.emoji_vendors.prepare_emoji_vendors` has not been run.
    """
    arrays = prepared_emoji("images")
    subgroups = emoji_subgroups(arrays["keys"].tolist())[arrays["classes"]]

    def drawings(classes: Sequence[int]) -> LabelledDrawings:
        kept = np.isin(arrays["classes"], classes)
        images = np.ascontiguousarray(arrays["images"][kept].transpose(0, 3, 1, 2))
        emoji, kinds = arrays["classes"][kept], subgroups[kept]
        return LabelledDrawings(torch.from_numpy(images), torch.from_numpy(emoji), torch.from_numpy(kinds))

    train, evaluation = (drawings(part) for part in split_emoji(arrays, split))
    return train, evaluation


def drawings_stand_in(split: str = "test") -> tuple[LabelledDrawings, LabelledDrawings]:
    """Return made-up pictures, the same at every call, of the shapes of real ones: for trials without any download.

    Pictures of one subgroup have some of their blots in common, and those of one emoji all of them.

    Args:
        split: as of real data; another one gives other pictures.
    """
    generator = torch.Generator().manual_seed(0 if split == "test" else 1)
    of_subgroup = torch.rand(4, 3, 8, 8, generator=generator)

    def drawings(count: int) -> LabelledDrawings:
        subgroup_of_emoji = torch.arange(count) % len(of_subgroup)
        blots = of_subgroup[subgroup_of_emoji] + torch.rand(count, 3, 8, 8, generator=generator)
        emoji = torch.arange(count).repeat_interleave(4)
        blots = blots[emoji] / 2 + 0.4 * torch.randn(len(emoji), 3, 8, 8, generator=generator)
        images = interpolate(blots.clamp(0, 1), size=64, mode="bilinear")
        return LabelledDrawings((255 * images).to(torch.uint8), emoji, subgroup_of_emoji[emoji])

    return drawings(20), drawings(12)
