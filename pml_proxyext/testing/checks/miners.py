"""Tuples of every miner are taken, also when there are none; or they are refused in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from pytorch_metric_learning import miners as m
from pytorch_metric_learning.miners import BaseMiner

from pml_proxyext.testing.subject import NotApplicable, Subject, seeded

__all__ = ["check_empty_tuples", "check_miners"]

_MINERS: dict[str, tuple[type[BaseMiner], dict[str, Any]]] = {
    "AngularMiner": (m.AngularMiner, {}),
    "BatchEasyHardMiner": (m.BatchEasyHardMiner, {}),
    "BatchHardMiner": (m.BatchHardMiner, {}),
    "DistanceWeightedMiner": (m.DistanceWeightedMiner, {}),
    "EmbeddingsAlreadyPackagedAsTriplets": (m.EmbeddingsAlreadyPackagedAsTriplets, {}),
    "HDCMiner": (m.HDCMiner, {}),
    "MultiSimilarityMiner": (m.MultiSimilarityMiner, {}),
    "PairMarginMiner": (m.PairMarginMiner, {}),
    "TripletMarginMiner (all)": (m.TripletMarginMiner, {"type_of_triplets": "all"}),
    "TripletMarginMiner (hard)": (m.TripletMarginMiner, {"type_of_triplets": "hard"}),
    "TripletMarginMiner (semihard)": (m.TripletMarginMiner, {"type_of_triplets": "semihard"}),
    "UniformHistogramMiner": (m.UniformHistogramMiner, {}),
}


def check_miners(subject: Subject) -> None:
    """The loss is finite and differentiable on what each of PML's miners finds."""
    _require_tuples(subject)
    labels = torch.tensor([0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0]) % (subject.profile.num_classes or 2)
    batch = subject.batch(labels)
    for name, (miner, kwargs) in _MINERS.items():
        with seeded(0):
            found = miner(**kwargs)(batch.embeddings, labels, batch.ref_emb, batch.ref_labels)
        subject.evaluate(replace(batch, indices_tuple=found)).require_finite(name)


def check_empty_tuples(subject: Subject) -> None:
    """A miner that finds nothing is an ordinary event."""
    _require_tuples(subject)
    nothing = torch.empty(0, dtype=torch.long)
    for count in (3, 4):
        batch = subject.batch(indices_tuple=(nothing,) * count)
        subject.evaluate(batch).require_finite(f"with {count} empty index tensors")


def _require_tuples(subject: Subject) -> None:
    if not (subject.profile.tuples and subject.profile.labels):
        raise NotApplicable("the loss takes no tuples")
