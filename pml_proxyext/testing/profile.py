"""What the checks must know about a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pytorch_metric_learning.losses import BaseMetricLossFunction

from pml_proxyext.utils.checks import check_choice

__all__ = ["LossFactory", "LossProfile"]

#: Builds a loss from PML's keyword arguments (``reducer``, ``embedding_regularizer``, ``weight_regularizer``).
LossFactory = Callable[..., BaseMetricLossFunction]


@dataclass(frozen=True)
class LossProfile:
    """What a loss takes and promises.

    Args:
        embedding_size: width of the embeddings it is given.
        unit_interval: whether embeddings must lie in [0, 1], as codes do; else they are normal.
        num_classes: labels must lie in ``[0, num_classes)``; None if any integers are labels.
        labels: whether it takes labels.
        ref_emb: whether a second set of embeddings is ``"refused"``, ``"optional"`` or ``"required"``.
        tuples: whether it takes a miner's tuples.
        random: whether it draws random numbers, so that two evaluations agree only after equal seeding.
        fullgraph: whether it must compile into one graph; no loss that lists pairs by their labels can.
        exempt: from the name of a check to the reason why it does not apply.
    """

    embedding_size: int = 8
    unit_interval: bool = False
    num_classes: int | None = None
    labels: bool = True
    ref_emb: Literal["refused", "optional", "required"] = "optional"
    tuples: bool = True
    random: bool = False
    fullgraph: bool = False
    exempt: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choice("ref_emb", self.ref_emb, ["refused", "optional", "required"])
