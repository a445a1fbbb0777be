"""Batches of two views, as data loaders give them to the trainers and testers of two modalities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from pml_proxyext.utils.checks import check_choice

__all__ = ["TwoViewBatch", "is_multi_hot", "moved"]


@dataclass(frozen=True)
class TwoViewBatch:
    """Samples in two views: row i of all of it is one sample.

    Attributes:
        data: what the networks of view A take.
        ref_data: what the networks of view B take.
        labels: ids of classes or instances, or one column per class (see :func:`is_multi_hot`).
        ids: ids of instances, for data that has class labels as well.
        input_emb, ref_input_emb: raw features of the two views, for losses that look at them.
    """

    data: Any
    ref_data: Any
    labels: Any = None
    ids: Tensor | None = None
    input_emb: Tensor | None = None
    ref_input_emb: Tensor | None = None

    @classmethod
    def of(cls, batch: Any) -> TwoViewBatch:
        """Return ``batch``, which is a mapping, ``((a, b), labels)`` or PML's ``(a, b, labels)``, under these names.

        Raises:
            ValueError: for anything else, and for a mapping without ``data`` and ``ref_data`` or with other keys.

        Example:
            >>> TwoViewBatch.of((("images", "texts"), "ids")) == TwoViewBatch("images", "texts", "ids")
            True
        """
        if isinstance(batch, Mapping):
            names = [field.name for field in fields(cls)]
            for key in batch:
                check_choice("the keys of a batch", key, names)
            if not {"data", "ref_data"} <= batch.keys():
                raise ValueError(f"the keys of a batch must include 'data' and 'ref_data', got {sorted(batch)}")
            return cls(**batch)
        is_sequence = isinstance(batch, (tuple, list))
        if is_sequence and len(batch) == 3:
            return cls(data=batch[0], ref_data=batch[1], labels=batch[2])
        if is_sequence and len(batch) == 2 and isinstance(batch[0], (tuple, list)) and len(batch[0]) == 2:
            return cls(data=batch[0][0], ref_data=batch[0][1], labels=batch[1])
        came = f"a sequence of {len(batch)}" if is_sequence else type(batch).__name__
        raise ValueError(
            "a batch must be ((a, b), labels), (a, b, labels) or a mapping with 'data' and 'ref_data', "
            f"got {came}; data_and_label_getter can make it one"
        )


def is_multi_hot(labels: Any) -> bool:
    """Say whether ``labels`` are a matrix of truth values or real numbers: a column per class, not one per level.

    Integer matrices are what PML takes them for, the labels of several levels of a hierarchy.

    Example:
        >>> is_multi_hot(torch.tensor([[1.0, 0.0, 1.0]])), is_multi_hot(torch.tensor([[4, 1]]))
        (True, False)
    """
    return (
        isinstance(labels, Tensor) and labels.ndim == 2 and (labels.is_floating_point() or labels.dtype == torch.bool)
    )


def moved(data: Any, device: torch.device | str | None, dtype: torch.dtype | None = None) -> Any:
    """Return ``data`` with the tensors in it on ``device``, and the floating-point ones in ``dtype``.

    Mappings, lists and tuples come back as they are, with their tensors moved. Token ids stay integers. What holds no
    tensors, as strings do, is returned as it is.

    Example:
        >>> moved({"ids": torch.tensor([1]), "weights": torch.ones(1)}, "cpu", torch.float64)
        {'ids': tensor([1]), 'weights': tensor([1.], dtype=torch.float64)}
    """
    if isinstance(data, Tensor):
        return data.to(device=device, dtype=dtype if data.is_floating_point() else None)
    if isinstance(data, Mapping):
        return {key: moved(value, device, dtype) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        parts = [moved(part, device, dtype) for part in data]
        return type(data)(*parts) if hasattr(data, "_fields") else type(data)(parts)
    return data
