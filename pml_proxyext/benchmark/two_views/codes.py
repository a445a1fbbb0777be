"""Binary codes of two views by DCVH, and floats trained alike: networks, scores and the speed of search."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean
from typing import Any

import faiss
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.inference import FaissKNN
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from pml_proxyext.benchmark.datasets.emoji_vendors import TwoVendorGroups
from pml_proxyext.benchmark.search_spaces import Dimension, LogUniform, Uniform
from pml_proxyext.benchmark.tuning import draw_settings
from pml_proxyext.distances import SoftHammingDistance
from pml_proxyext.losses import HammingAlignmentLoss, JointCrossEntropyLoss
from pml_proxyext.models import DBELayer
from pml_proxyext.testers import HammingKNN, MultiLabelAccuracyCalculator, RankCalculator

__all__ = ["CodeMethod", "queries_per_second", "score_codes", "train_codes"]

_HIDDEN, _BATCH, _WEIGHT_DECAY, _NEIGHBOURS, _QUERIES = 256, 256, 1e-2, 50, 256
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class CodeMethod:
    """A way to train.

    Args:
        title: what tables and figures call it.
        is_binary: codes by a DBE layer and not floats by a linear one.
        is_shared: one classifier for both views and not one for each.
        is_aligned: partners are drawn together: codes by their Hamming distance, floats by their cosine.
    """

    title: str
    is_binary: bool
    is_shared: bool = False
    is_aligned: bool = False

    def trials(self, budget: int) -> list[dict[str, float]]:
        """Return the settings to try: the first by hand, then points that methods have in common."""
        first = {"lr": 3e-3, "dropout": 0.3}
        space: dict[str, Dimension] = {"lr": LogUniform(1e-3, 3e-2), "dropout": Uniform(0.0, 0.7)}
        if self.is_aligned:
            first["weight"], space["weight"] = 4.0, LogUniform(0.1, 16.0)
        return [first, *draw_settings(space, budget - 1, "emoji codes")]


def train_codes(
    method: CodeMethod,
    width: int,
    data: TwoVendorGroups,
    steps: int,
    lr: float,
    dropout: float,
    weight: float = 0.0,
) -> tuple[nn.Module, nn.Module]:
    """Return the networks of both views.

    Initial weights, batches and what dropout hides depend on torch's generator. A batch has one drawing of each view
    for each of its emoji.

    Args:
        method: what to train.
        width: of the codes or floats.
        data: what to train on.
        steps: batches; the learning rate goes up and down once in the course of them.
        lr: its largest value.
        dropout: share of the inputs that the networks do not see.
        weight: of the alignment, if the method has one.
    """
    last: Callable[[int, int], nn.Module] = DBELayer if method.is_binary else nn.Linear
    a, b = (
        nn.Sequential(nn.Dropout(dropout), nn.Linear(view.inputs.shape[1], _HIDDEN), nn.ReLU(), last(_HIDDEN, width))
        for view in (data.a, data.b)
    )
    classifiers = nn.ModuleList(JointCrossEntropyLoss(data.labels.shape[1], width) for _ in "ab")
    if method.is_shared:
        classifiers[1] = classifiers[0]
    align = HammingAlignmentLoss() if method.is_binary else _cosine_alignment
    optimizer = torch.optim.AdamW(
        [
            {"params": [*a.parameters(), *b.parameters()], "weight_decay": _WEIGHT_DECAY},
            {"params": list(classifiers.parameters()), "weight_decay": 0.0},
        ],
        lr=lr,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps + 1)
    for _ in range(steps):
        emoji = torch.randperm(len(data.labels))[:_BATCH]
        labels = data.labels[emoji]
        in_a, in_b = a(data.a.draw(emoji)), b(data.b.draw(emoji))
        loss = classifiers[0](in_a, labels) + classifiers[1](in_b, labels)
        if method.is_aligned:
            loss = loss + weight * align(in_a, ref_emb=in_b)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return a.eval(), b.eval()


def _cosine_alignment(embeddings: Tensor, ref_emb: Tensor) -> Tensor:
    return 1 - cosine_similarity(embeddings, ref_emb).mean()


def score_codes(a: Tensor, b: Tensor, data: TwoVendorGroups, is_binary: bool) -> dict[str, float]:
    """Return means over both directions, as fractions: mAP over all for both meanings of relevant, and other scores.

    Args:
        a, b: codes of zeros and ones, or floats of length one, of the drawings of both views.
        data: whose drawings they are.
        is_binary: whether they are codes.
    """
    everywhere = RankCalculator(distance=SoftHammingDistance() if is_binary else CosineSimilarity(), device=_CPU)
    label_map, of_found = "mean_average_precision", "mean_average_precision_of_found"
    knn = HammingKNN() if is_binary else FaissKNN(index_init_fn=faiss.IndexFlatIP)
    k = min(_NEIGHBOURS, len(a), len(b))
    nearest = MultiLabelAccuracyCalculator(include=(label_map, of_found), k=k, device=_CPU, knn_func=knn)
    found: dict[str, list[float]] = {}
    sides = [(a, data.a.emoji), (b, data.b.emoji)]
    for (query, query_emoji), (reference, reference_emoji) in (sides, sides[::-1]):
        labels, reference_labels = data.labels[query_emoji], data.labels[reference_emoji]
        by_label = everywhere.get_accuracy(query, labels, reference, reference_labels, include=(label_map,))
        by_emoji = everywhere.get_accuracy(query, query_emoji, reference, reference_emoji)
        near = nearest.get_accuracy(query, labels, reference, reference_labels)
        values = {
            "map_label": by_label[label_map],
            "map_emoji": by_emoji[label_map],
            "recall_at_1_emoji": by_emoji["recall_at_1"],
            "map_label_at_50": near[label_map],
            "map_label_at_50_of_found": near[of_found],
        }
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    return {name: mean(values) for name, values in found.items()}


def queries_per_second(query: Tensor, reference: Tensor, is_binary: bool, references: int) -> float:
    """Return how many queries find their 50 nearest in a second of CPU time, at the best of three times.

    Args:
        query: codes or floats; 256 of them are looked for.
        reference: what they are looked up in, repeated to have ``references`` rows. Building the index does not count.
        is_binary: whether they are codes.
        references: how many.
    """
    faiss.omp_set_num_threads(1)
    query = query[:_QUERIES].contiguous()
    reference = reference.repeat(-(-references // len(reference)), 1)[:references].contiguous()
    knn: Any = HammingKNN() if is_binary else FaissKNN(False, False, faiss.IndexFlatIP)  # False: the index is kept
    knn.train(reference)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        knn(query, _NEIGHBOURS, None)
        seconds.append(time.process_time() - start)
    return len(query) / min(seconds)
