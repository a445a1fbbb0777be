"""Losses on pairs of sentences, some of which entail one another, compared on an adapter of a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import ContrastiveLoss, TripletMarginLoss
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, mse_loss

from pml_proxyext.benchmark.datasets.wordnet_text import WordNetText
from pml_proxyext.benchmark.search_spaces import Dimension, LogUniform, Uniform
from pml_proxyext.benchmark.tuning import draw_settings
from pml_proxyext.losses import PairSupConLoss

__all__ = ["METHODS", "Adapter", "Method", "pair_batches", "train"]

_PAIRS = 256  # in a batch, half of each kind


class Adapter(nn.Module):
    """A hidden layer beside the identity, which it is at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.out(self.hidden(inputs).relu())


class _Siamese(nn.Module):
    """The contrastive loss of PML: pulls entailments to cosine 1, and pushes the others below a cosine."""

    def __init__(self, width: int, neg_margin: float) -> None:
        super().__init__()
        self.loss = ContrastiveLoss(pos_margin=1.0, neg_margin=neg_margin, distance=CosineSimilarity())

    def forward(self, premises: Tensor, others: Tensor, kinds: Tensor) -> Tensor:
        rows = torch.arange(len(kinds))
        entailments, exclusions = rows[kinds == 1], rows[kinds == 0]
        tuples = (entailments, entailments, exclusions, exclusions)
        return self.loss(premises, indices_tuple=tuples, ref_emb=others, ref_labels=None)


class _CosineRegression(nn.Module):
    """The squared distance of the cosine from 1 for entailments, and from another target for the others."""

    def __init__(self, width: int, target: float) -> None:
        super().__init__()
        self.target = target

    def forward(self, premises: Tensor, others: Tensor, kinds: Tensor) -> Tensor:
        return mse_loss(cosine_similarity(premises, others), torch.where(kinds == 1, 1.0, self.target))


class _Triplet(nn.Module):
    """PML's triplet loss; premises occur in both halves of the batch, first with what they entail."""

    def __init__(self, width: int, margin: float) -> None:
        super().__init__()
        self.loss = TripletMarginLoss(margin=margin, distance=CosineSimilarity())

    def forward(self, premises: Tensor, others: Tensor, kinds: Tensor) -> Tensor:
        anchors, excluded = torch.arange(len(kinds)).chunk(2)
        return self.loss(premises, indices_tuple=(anchors, anchors, excluded), ref_emb=others, ref_labels=None)


class _PairSupCon(nn.Module):
    """PairSupCon, or one of its parts."""

    def __init__(self, width: int, heads: float, temperature: float = 0.05, **switches: Any) -> None:
        super().__init__()
        self.heads = heads
        self.loss = PairSupConLoss(width, temperature=temperature, **switches)

    def forward(self, premises: Tensor, others: Tensor, kinds: Tensor) -> Tensor:
        return self.loss(premises, kinds, ref_emb=others)


@dataclass(frozen=True)
class Method:
    """A loss with the settings that are searched beside the learning rate."""

    make: Callable[..., nn.Module] | None
    own: Mapping[str, Dimension] = field(default_factory=dict)

    def trials(self, count: int) -> list[dict[str, Any]]:
        space: dict[str, Dimension] = {"lr": LogUniform(3e-6, 3e-3), **self.own}
        return draw_settings(space, count, "wordnet_pairs") if self.make else [{}]


_HEADS: Mapping[str, Dimension] = {"heads": LogUniform(1.0, 300.0)}
_CONTRAST: Mapping[str, Dimension] = {**_HEADS, "temperature": LogUniform(0.02, 0.5)}
METHODS = {
    "Encoder as it is": Method(None),
    "Triplet": Method(_Triplet, {"margin": Uniform(0.05, 1.0)}),
    "Siamese, contrastive": Method(_Siamese, {"neg_margin": Uniform(-0.2, 0.8)}),
    "Siamese, cosine regression": Method(_CosineRegression, {"target": Uniform(-0.2, 0.8)}),
    "Classification": Method(partial(_PairSupCon, beta=0.0), _HEADS),
    "Contrast, c = 0": Method(partial(_PairSupCon, classifier_weight=0.0, concentration=0.0), _CONTRAST),
    "Contrast, c = 1": Method(partial(_PairSupCon, classifier_weight=0.0), _CONTRAST),
    "Both, c = 0": Method(partial(_PairSupCon, concentration=0.0), _CONTRAST),
    "PairSupCon: both, c = 1": Method(_PairSupCon, _CONTRAST),
}


def train(method: Method, settings: Mapping[str, Any], data: WordNetText, steps: int) -> Tensor:
    """Return the embeddings of all texts.

    Initial weights and batches depend on torch's generator, and not on the method's settings.
    """
    if method.make is None:
        return data.inputs
    width = data.inputs.shape[1]
    batches = pair_batches(len(data.triples), min(_PAIRS, len(data.triples)) // 2, steps, method.make is _Triplet)
    kinds = torch.tensor([1, 0]).repeat_interleave(batches.shape[2])
    adapter = Adapter(width)
    loss_func = method.make(width, **{name: value for name, value in settings.items() if name != "lr"})
    lr = settings["lr"]
    groups: list[dict[str, Any]] = [{"params": adapter.parameters()}]
    if isinstance(loss_func, _PairSupCon):
        groups += loss_func.loss.param_groups(lr, projection=loss_func.heads, classifier=loss_func.heads)
    optimizer = torch.optim.Adam(groups, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for entailments, exclusions in batches:
        premises = data.triples[torch.cat([entailments, exclusions]), 0]
        others = torch.cat([data.triples[entailments, 1], data.triples[exclusions, 2]])
        loss = loss_func(adapter(data.inputs[premises]), adapter(data.inputs[others]), kinds)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        embeddings: Tensor = adapter(data.inputs)
    return embeddings


def pair_batches(count: int, size: int, steps: int, together: bool) -> Tensor:
    """Return the triples whose entailments and whose exclusions are in each batch, ``(steps, 2, size)``.

    Both kinds of pairs are shuffled apart, so that a premise is seldom in two pairs of a batch; ``together`` gives a
    batch both pairs of each triple.
    """
    epochs = -(-steps * size // count)
    first, second = (torch.cat([torch.randperm(count) for _ in range(epochs)])[: steps * size] for _ in range(2))
    return torch.stack([first, first if together else second]).view(2, steps, size).transpose(0, 1)
