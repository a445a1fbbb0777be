"""Samples of two modalities that belong together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["PairedData", "PairedSet", "View", "stand_in"]


@dataclass(frozen=True)
class View:
    """One modality.

    Attributes:
        inputs: ``(N, D)``, what the network is given.
        features: ``(N, E)``, what a frozen network says of the same samples, as it says it.
    """

    inputs: Tensor
    features: Tensor

    def __getitem__(self, rows: Tensor) -> View:
        return View(self.inputs[rows], self.features[rows])


@dataclass(frozen=True)
class PairedSet:
    """Samples of modality A, each with its partner in modality B, which several of them may share.

    Attributes:
        a: N samples.
        b: C samples.
        partners: ``(N,)``, rows of ``b``: sample i of A belongs to sample ``partners[i]`` of B.
    """

    a: View
    b: View
    partners: Tensor

    def __len__(self) -> int:
        return len(self.partners)


@dataclass(frozen=True)
class PairedData:
    """Pairs to train on, and others to evaluate on that share no sample of B with them."""

    train: PairedSet
    evaluation: PairedSet


def stand_in(split: str = "test") -> PairedData:
    """Return made-up pairs, the same at every call, of the shapes of real ones: for trials without any download.

    Args:
        split: as of real data; another one gives other pairs.
    """
    generator = torch.Generator().manual_seed(0 if split == "test" else 1)
    views = [torch.randn(8, width, generator=generator) for width in (24, 16)]

    def pairs(count: int, per_text: int) -> PairedSet:
        meanings = torch.randn(count, 8, generator=generator)
        partners = torch.arange(count).repeat_interleave(per_text)
        a, b = (
            rows @ view + 0.3 * torch.randn(len(rows), view.shape[1], generator=generator)
            for rows, view in zip((meanings[partners], meanings), views, strict=True)
        )
        # Features of real networks have a common direction, by which some samples are like many others.
        return PairedSet(View(a, a + 1), View(b, b + 1), partners)

    return PairedData(pairs(count=40, per_text=4), pairs(count=20, per_text=4))
