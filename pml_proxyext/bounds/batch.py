"""What both sides of a relation are computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from pml_proxyext.utils.checks import check_embeddings, check_labels, check_number

__all__ = ["BoundBatch"]


@dataclass(frozen=True)
class BoundBatch:
    r"""Embeddings, labels, proxies and hyper-parameters: everything that a relation between losses may look at.

    The tensors are kept in float64, whatever came: a bound is a statement about real numbers, and float32 would hide
    small violations and invent others. Gradients flow through the conversion.

    Args:
        embeddings: ``(N, D)``, floating point, not normalized (relations on the sphere normalize them).
        labels: ``(N,)``, integers; in ``[0, C)`` if there are proxies.
        proxies: ``(C, D)``, the rows of a classifier or the proxies of a loss; None for relations without any.
        hyper: values of hyper-parameters by PML's names (``temperature``, ``margin``, ...); a relation takes its
            default for what is missing.
        origin: where the batch came from, for messages.

    Raises:
        ValueError: if shapes, types or labels do not fit, or a hyper-parameter is not a finite number.

    Example:
        >>> batch = BoundBatch(torch.eye(4), torch.tensor([0, 0, 1, 1]), hyper={"temperature": 0.5})
        >>> batch.counts.tolist(), batch.same.sum().item()
        ([2, 2], 4)
    """

    embeddings: Tensor
    labels: Tensor
    proxies: Tensor | None = None
    hyper: Mapping[str, float] = field(default_factory=dict)
    origin: str = ""

    def __post_init__(self) -> None:
        check_embeddings(self.embeddings)
        if self.proxies is not None:
            check_embeddings(self.proxies, self.embeddings.shape[1], name="proxies")
        num_classes = None if self.proxies is None else len(self.proxies)
        labels = check_labels(self.labels, num_classes)
        if labels.shape != self.embeddings.shape[:1]:
            shapes = f"{tuple(labels.shape)} and {tuple(self.embeddings.shape)}"
            raise ValueError(f"labels must be one for each row of embeddings, got shapes {shapes}")
        for name, value in self.hyper.items():
            check_number(name, value)
        put = object.__setattr__  # the way to fill a frozen dataclass
        put(self, "embeddings", self.embeddings.double())
        put(self, "labels", labels)
        put(self, "proxies", None if self.proxies is None else self.proxies.double())
        put(self, "hyper", dict(self.hyper))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, name: str) -> float:
        """Return a hyper-parameter."""
        return self.hyper[name]

    def given(self, **hyper: float) -> BoundBatch:
        """Return the batch with some hyper-parameters set."""
        return replace(self, hyper={**self.hyper, **hyper})

    def moved(self, embeddings: Tensor) -> BoundBatch:
        """Return the batch with other embeddings in the place of its own."""
        return replace(self, embeddings=embeddings)

    @property
    def classifier(self) -> Tensor:
        """The proxies; a ValueError if there are none."""
        if self.proxies is None:
            raise ValueError("this relation needs proxies, got proxies=None")
        return self.proxies

    @cached_property
    def unit(self) -> Tensor:
        """``(N, D)``, the embeddings on the unit sphere."""
        return normalize(self.embeddings, dim=1)

    @cached_property
    def unit_proxies(self) -> Tensor:
        """``(C, D)``, the proxies on the unit sphere."""
        return normalize(self.classifier, dim=1)

    @cached_property
    def cosines(self) -> Tensor:
        """``(N, N)``, the cosine of each two embeddings."""
        return self.unit @ self.unit.t()

    @cached_property
    def distances(self) -> Tensor:
        """``(N, N)``, Euclidean distances on the unit sphere, from differences: exact for near embeddings too."""
        return torch.cdist(self.unit, self.unit, compute_mode="donot_use_mm_for_euclid_dist")

    @cached_property
    def same(self) -> Tensor:
        """``(N, N)``, whether two different rows have one label."""
        return (self.labels[:, None] == self.labels).fill_diagonal_(False)

    @cached_property
    def different(self) -> Tensor:
        """``(N, N)``, whether two rows have different labels."""
        return self.labels[:, None] != self.labels

    @cached_property
    def counts(self) -> Tensor:
        """``(K,)``, how many rows each class of the batch has, in the order of the labels."""
        return torch.unique(self.labels, return_counts=True)[1]

    @cached_property
    def one_hot(self) -> Tensor:
        """``(N, C)`` with proxies, else ``(N, K)``: the class of each row, in float64."""
        labels = torch.unique(self.labels, return_inverse=True)[1] if self.proxies is None else self.labels
        return one_hot(labels, len(self.counts) if self.proxies is None else len(self.proxies)).double()

    @cached_property
    def cosine_logits(self) -> Tensor:
        """``(N, C)``, the cosine of each embedding with each proxy."""
        return self.unit @ self.unit_proxies.t()

    def __repr__(self) -> str:
        width = self.embeddings.shape[1]
        parts = [f"labels={self.labels.tolist()}", f"embedding_size={width}"]
        parts += [] if self.proxies is None else [f"proxies={len(self.proxies)}"]
        parts += [f"{name}={value:.6g}" for name, value in self.hyper.items()]
        parts += [self.origin] if self.origin else []
        return f"BoundBatch({', '.join(parts)})"
