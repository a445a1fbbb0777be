"""Every public loss, one row: how it is built, and what is known of it that cannot be found out by trying."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytorch_metric_learning.losses import BaseMetricLossFunction, NormalizedSoftmaxLoss

from pml_proxyext import losses

SIZES = {"num_classes": 6, "embedding_size": 8}


@dataclass(frozen=True)
class Row:
    """A loss class, the arguments of its constructor, and known fields of its profile; ``variant`` tells rows apart."""

    loss: type[BaseMetricLossFunction]
    arguments: Mapping[str, Any] = field(default_factory=lambda: SIZES)
    known: Mapping[str, Any] = field(default_factory=dict)
    variant: str = ""

    @property
    def name(self) -> str:
        return f"{self.loss.__name__}-{self.variant}" if self.variant else self.loss.__name__

    def __call__(self, **kwargs: Any) -> BaseMetricLossFunction:
        built = {key: make() if callable(make) else make for key, make in self.arguments.items()}
        return self.loss(**built, **kwargs)


LOSSES = [
    Row(losses.ProxyAnchorLoss),
    Row(losses.NIRLoss),
]
