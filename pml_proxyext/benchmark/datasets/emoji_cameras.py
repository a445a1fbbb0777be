"""Two vendors as two cameras: the same emoji, drawn once by Google and once by Twitter, in grey and small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from pml_proxyext.benchmark.datasets.emoji import prepared_emoji, split_emoji
from pml_proxyext.benchmark.datasets.emoji_sources import VENDORS
from pml_proxyext.benchmark.datasets.retrieval_set import Split

__all__ = ["CAMERAS", "CameraPairs", "camera_stand_in", "load_emoji_cameras"]

#: The vendors, and the first and second camera.
CAMERAS = ("noto", "twemoji")

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class CameraPairs:
    """Pairs of pictures, row i of both shows one emoji, and no two rows the same.

    Attributes:
        a: ``(N, 1, 32, 32)`` in [0, 1], by the first camera.
        b: the same, by the second.
    """

    a: Tensor
    b: Tensor

    def __len__(self) -> int:
        return len(self.a)

    def __getitem__(self, rows: Tensor | slice) -> CameraPairs:
        return CameraPairs(self.a[rows], self.b[rows])


def load_emoji_cameras(split: Split = "test") -> tuple[CameraPairs, CameraPairs]:
    """Return what to train on and what to evaluate on: other emoji, divided as for the data set ``emoji``.

    Raises:
        ValueError: if :func:`~pml_proxyext.benchmark.datasets.emoji.prepare_emoji` has not been run.
    """
    arrays = prepared_emoji("images")
    names = [vendor.name for vendor in VENDORS]
    rows = [np.flatnonzero(arrays["vendors"] == names.index(camera)) for camera in CAMERAS]
    shared = np.intersect1d(arrays["classes"][rows[0]], arrays["classes"][rows[1]])

    def pairs(part: Sequence[int]) -> CameraPairs:
        wanted = shared[np.isin(shared, part)]
        return CameraPairs(*(_pictures(arrays, camera, wanted) for camera in rows))

    train, evaluation = (pairs(part) for part in split_emoji(arrays, split))
    return train, evaluation


def _pictures(arrays: dict[str, npt.NDArray[Any]], rows: npt.NDArray[Any], classes: npt.NDArray[Any]) -> Tensor:
    position = np.searchsorted(arrays["classes"][rows], classes)
    grey = arrays["images"][rows[position]].astype(np.float32) @ _LUMA / 255
    return interpolate(torch.from_numpy(grey)[:, None], size=32, mode="area")


def camera_stand_in(split: str = "test") -> tuple[CameraPairs, CameraPairs]:
    """Return made-up pairs, the same at every call, of the shapes of real ones: for trials without any download.

    Both cameras see the same blots, the second one in negative.

    Args:
        split: as of real data; another one gives other pictures.
    """
    generator = torch.Generator().manual_seed(0 if split == "test" else 1)

    def pairs(count: int) -> CameraPairs:
        blots = interpolate(torch.rand(count, 1, 6, 6, generator=generator), size=32, mode="bilinear")
        noise = 0.1 * torch.randn(2, *blots.shape, generator=generator)
        return CameraPairs((blots + noise[0]).clamp(0, 1), (1 - blots + noise[1]).clamp(0, 1))

    return pairs(48), pairs(24)
