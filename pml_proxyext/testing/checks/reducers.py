"""Every reducer works, and a sample's loss is known to be that sample's."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning import reducers as r
from torch import Tensor

from pml_proxyext.testing.subject import NotApplicable, Subject, require, require_close

__all__ = ["check_class_weights", "check_loss_dict", "check_reducers"]

_INDEX_COUNT = {"element": 1, "pos_pair": 2, "neg_pair": 2, "triplet": 3}


def check_loss_dict(subject: Subject) -> None:
    """Sub losses have the announced names, and each is 1-D with as many indices, which are rows of the batch."""
    batch = subject.batch()
    losses = subject.loss_dict(batch)
    names = subject.build().sub_loss_names()
    require(set(losses) == set(names), f"the sub losses are {sorted(losses)}, sub_loss_names() says {sorted(names)}")
    rows = (len(batch.embeddings), len(batch.embeddings if batch.ref_emb is None else batch.ref_emb))
    for name, info in losses.items():
        values, kind = info["losses"], info["reduction_type"]
        if kind == "already_reduced" or not isinstance(values, Tensor):
            continue
        require(kind in _INDEX_COUNT, f"{name}: unknown reduction_type {kind!r}")
        require(values.ndim == 1, f"{name}: losses have shape {tuple(values.shape)}, reducers expect one dimension")
        indices = _indices(info)
        require(len(indices) == _INDEX_COUNT[kind], f"{name}: {len(indices)} index tensors for type {kind!r}")
        for position, index in enumerate(indices):
            require(len(index) == len(values), f"{name}: {len(index)} indices for {len(values)} losses")
            inside = index.numel() == 0 or (index.min() >= 0 and index.max() < rows[position > 0])
            require(inside, f"{name}: indices up to {int(index.max())} are no rows of the batch")


def check_reducers(subject: Subject) -> None:
    """Under each of PML's reducers the loss is a finite scalar that can be differentiated."""
    weights = torch.linspace(0.5, 2.0, subject.profile.num_classes or 6)
    losses = subject.loss_dict(subject.batch())
    kinds = {info["reduction_type"] for info in losses.values()}
    reducers: dict[str, Any] = {
        "MeanReducer": r.MeanReducer(),
        "SumReducer": r.SumReducer(),
        "AvgNonZeroReducer": r.AvgNonZeroReducer(),
        "ThresholdReducer": r.ThresholdReducer(low=0.1, high=10.0),
        "DivisorReducer": r.DivisorReducer(),
        "MultipleReducers": r.MultipleReducers({name: r.SumReducer() for name in losses}),
    }
    if "triplet" not in kinds:
        reducers["PerAnchorReducer"] = r.PerAnchorReducer()
    if subject.profile.labels:
        reducers["ClassWeightedReducer"] = r.ClassWeightedReducer(weights)
    if any("divisor" not in info for info in losses.values() if info["reduction_type"] != "already_reduced"):
        del reducers["DivisorReducer"]  # PML asks it only of the losses that divide by it
    for name, reducer in reducers.items():
        try:
            subject.evaluate(subject.batch(), subject.build(reducer=reducer)).require_finite(name)
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error


def check_class_weights(subject: Subject) -> None:
    """Each loss names the sample that caused it, so that ClassWeightedReducer weighs what it says.

    The losses of a class, told by their indices, must add up to the same in any order of the rows, and the reducer
    must give the mean of losses times weights of their anchors.
    """
    if not subject.profile.labels:
        raise NotApplicable("the loss takes no labels")
    subject.require_deterministic()
    batch = subject.batch()
    order = torch.randperm(len(batch.embeddings), generator=torch.Generator().manual_seed(0))
    sums = [_sums_by_class(subject, some) for some in (batch, batch.rows(order))]
    for name, expected in sums[0].items():
        require_close(sums[1][name], expected, f"{name}: sums of a class in another order of rows", 1e-4, 1e-5)
    weights = torch.linspace(0.5, 2.0, subject.profile.num_classes or 6)
    reduced = subject.value(subject.build(reducer=r.ClassWeightedReducer(weights)), batch)
    losses = subject.loss_dict(batch)
    assert batch.labels is not None
    expected = torch.zeros(())
    for info in losses.values():
        values = info["losses"]
        if info["reduction_type"] != "already_reduced" and isinstance(values, Tensor):
            values = (values.flatten() * weights[batch.labels[_indices(info)[0]]]).mean()
        expected = expected + values
    require_close(reduced, expected, "ClassWeightedReducer against the weighted mean of the losses", 1e-4, 1e-6)


def _sums_by_class(subject: Subject, batch: Any) -> dict[str, Tensor]:
    sums = {}
    for name, info in subject.loss_dict(batch).items():
        if info["reduction_type"] != "already_reduced" and isinstance(info["losses"], Tensor):
            values = info["losses"].detach().flatten().float()
            anchors = batch.labels[_indices(info)[0]]
            sums[name] = torch.zeros(int(batch.labels.max()) + 1).index_add(0, anchors, values)
    return sums


def _indices(info: dict[str, Any]) -> tuple[Tensor, ...]:
    indices = info["indices"]
    return (indices,) if isinstance(indices, Tensor) else tuple(indices)
