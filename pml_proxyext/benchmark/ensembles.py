"""Learners that share a network, heads that share the beginning of one, and one head: as many weights, one training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import Tensor, nn
from torch.nn.functional import normalize

from pml_proxyext.benchmark.datasets.retrieval_set import MemorySet, RetrievalData
from pml_proxyext.benchmark.networks import SmallCNN
from pml_proxyext.benchmark.recall import RecallCalculator
from pml_proxyext.benchmark.search_spaces import Dimension, LogUniform
from pml_proxyext.benchmark.trainer import without_inner_bars
from pml_proxyext.benchmark.tuning import draw_settings
from pml_proxyext.losses import ABELoss
from pml_proxyext.models import small_attention_ensemble
from pml_proxyext.testers import PerLearnerTester

__all__ = ["LEARNERS", "METHODS", "WIDTH", "EnsembleMethod", "SeveralHeads", "image_stand_in", "score", "train"]

#: Learners, or heads, or quarters of the one head, and the width of the whole embedding.
LEARNERS, WIDTH = 4, 64

_SPATIAL = (16, 64)  # channels of what all networks begin with, those of the small attention ensemble
_BATCH, _IMAGES_PER_CLASS, _WEIGHT_DECAY = 64, 4, 1e-4
_METRICS = ("precision_at_1", "mean_average_precision_at_r")
_CPU = torch.device("cpu")


class SeveralHeads(nn.Module):
    """Networks of their own on features in common, their outputs of norm 1 side by side.

    Args:
        spatial: what they have in common.
        heads: the networks.
    """

    def __init__(self, spatial: nn.Module, heads: list[nn.Module]) -> None:
        super().__init__()
        self.spatial, self.heads = spatial, nn.ModuleList(heads)

    def forward(self, images: Tensor) -> Tensor:
        features = self.spatial(images)
        return torch.cat([normalize(head(features)) for head in self.heads], dim=1)


def _attention() -> nn.Module:
    return small_attention_ensemble(LEARNERS, WIDTH, in_channels=3)


def _one_head() -> nn.Module:
    return nn.Sequential(*_convolutions(214), nn.Linear(214 * 16, WIDTH))


def _several_heads() -> nn.Module:
    layers = [[*_convolutions(115), nn.Linear(115 * 16, WIDTH // LEARNERS)] for _ in range(LEARNERS)]
    shared = len(_SPATIAL) * 4  # layers: convolution, pooling, batch norm, ReLU
    return SeveralHeads(nn.Sequential(*layers[0][:shared]), [nn.Sequential(*own[shared:]) for own in layers])


def _convolutions(channels: int) -> list[nn.Module]:
    """Return the layers of the attention ensemble without attention, with other widths behind the spatial extractor."""
    return list(SmallCNN(3, (*_SPATIAL, channels // 2, channels)))


@dataclass(frozen=True)
class EnsembleMethod:
    """A network and a loss.

    Args:
        title: what tables and figures call it.
        build: makes the network. All networks have as many weights, to within 1 %, and begin with the same layers.
        learners: how many parts of the embedding have a contrastive loss of their own.
        diverges: whether the divergence of learners is added.
        compared_with: name of the method that this one's scores are subtracted from, seed by seed.
    """

    title: str
    build: Callable[[], nn.Module]
    learners: int
    diverges: bool = False
    compared_with: str | None = None

    def trials(self, budget: int) -> list[dict[str, Any]]:
        """Return the settings to try: the first by hand, then points that methods have in common."""
        first = {"lr": 1e-3, "neg_margin": 1.0}
        space: dict[str, Dimension] = {"lr": LogUniform(3e-4, 1e-2), "neg_margin": LogUniform(0.4, 2.0)}
        if self.diverges:
            first["div_weight"], space["div_weight"] = 1.0, LogUniform(0.1, 10.0)
        return [first, *draw_settings(space, budget - 1, "emoji ensemble")]


#: The methods by name.
METHODS: dict[str, EnsembleMethod] = {
    "one_head": EnsembleMethod("One head", _one_head, 1, compared_with="abe"),
    "heads": EnsembleMethod("4 heads", _several_heads, LEARNERS, compared_with="abe"),
    "heads_diverge": EnsembleMethod("4 heads, divergence", _several_heads, LEARNERS, True, "heads"),
    "abe_plain": EnsembleMethod("ABE-4 without divergence", _attention, LEARNERS, compared_with="abe"),
    "abe": EnsembleMethod("ABE-4", _attention, LEARNERS, True),
}


def train(
    method: EnsembleMethod, data: MemorySet, steps: int, lr: float, neg_margin: float, div_weight: float = 0.0
) -> nn.Module:
    """Return the trained network.

    Batches depend on PML's generator and not on the method, initial weights on torch's.

    Args:
        method: what to train.
        data: what to train on.
        steps: batches; the learning rate goes up and down once in the course of them.
        lr: its largest value.
        neg_margin: of the contrastive loss.
        div_weight: of the divergence.
    """
    network = method.build().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster on a CPU
    loss_func = ABELoss(method.learners, neg_margin, div_weight=div_weight)
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps + 1)
    sampler = MPerClassSampler(data.labels, _IMAGES_PER_CLASS, _BATCH, steps * _BATCH)
    images = data.images.contiguous(memory_format=torch.channels_last)
    for batch in torch.tensor(list(sampler)).split(_BATCH):
        loss = loss_func(network(images[batch]), data.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network


def score(network: nn.Module, data: MemorySet, learners: int) -> dict[str, float]:
    """Return precision at 1 and MAP@R of the whole and of one learner, and the cosine of two on the same image.

    One head has quarters instead of learners, and no cosine.
    """
    tester = PerLearnerTester(
        LEARNERS,
        batch_size=512,
        dataloader_num_workers=0,
        data_device=_CPU,
        accuracy_calculator=RecallCalculator([], _METRICS),
    )
    with without_inner_bars():
        found = tester.test({"val": data}, 0, network)["val"]
    names = {f"{prefix}{name}": f"{prefix}{name}_level0" for prefix in ("", "learner_mean_") for name in _METRICS}
    if learners > 1:
        names["self_pair_cosine"] = "self_pair_cosine"
    return {name: round(float(found[key]), 6) for name, key in names.items()}


def image_stand_in(split: str = "test") -> RetrievalData:
    """Return made-up images, the same at every call, of the shape of real ones: for trials without any download.

    Args:
        split: as of real data; another one gives other images.
    """
    generator = np.random.default_rng(0 if split == "test" else 1)
    classes = np.arange(40).repeat(6)
    noise = generator.normal(0, 60, (len(classes), 32, 32, 3))
    pictures = generator.integers(80, 176, (40, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    samples = np.clip(pictures[classes] + noise, 0, 255).astype(np.uint8)
    parts = (MemorySet(samples, classes, part, [str(i) for i in range(40)]) for part in (range(20), range(20, 40)))
    return RetrievalData("stand_in", *parts)
