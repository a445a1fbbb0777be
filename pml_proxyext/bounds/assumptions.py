"""What a relation asks of a batch: which labels, and hyper-parameters in which range."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.utils.checks import check_number

__all__ = ["Hyper", "Labels"]


class Labels(Enum):
    """The structure of the labels that a relation needs.

    Example:
        >>> import torch
        >>> batch = BoundBatch(torch.eye(3), torch.tensor([0, 0, 1]))
        >>> Labels.ANY.objection(batch), Labels.BALANCED.objection(batch)
        (None, 'classes have 1 to 2 samples, not equally many')
    """

    ANY = "any"
    """At least two classes, one of them with two samples or more."""
    BALANCED = "balanced"
    """At least two classes with equally many samples, two or more."""
    PAIRS = "pairs"
    """At least two classes with two samples each."""
    PROXY_ANY = "any, with proxies"
    """At least two proxies; any labels."""
    PROXY_BALANCED = "balanced over all proxies"
    """At least two proxies, and every class equally often in the batch."""

    @property
    def needs_proxies(self) -> bool:
        """Whether the relation looks at proxies."""
        return self in (Labels.PROXY_ANY, Labels.PROXY_BALANCED)

    def objection(self, batch: BoundBatch) -> str | None:
        """Return why the labels of ``batch`` are not of this structure, or None if they are."""
        if not len(batch):
            return "the batch is empty"
        if self.needs_proxies:
            return self._objection_to_proxies(batch)
        lowest, highest = int(batch.counts.min()), int(batch.counts.max())
        if len(batch.counts) < 2:
            return "there is only one class"
        if highest < 2:
            return "no class has two samples"
        if self is not Labels.ANY and lowest != highest:
            return f"classes have {lowest} to {highest} samples, not equally many"
        if self is Labels.PAIRS and highest != 2:
            return f"classes have {highest} samples, not 2"
        return None

    def _objection_to_proxies(self, batch: BoundBatch) -> str | None:
        if batch.proxies is None:
            return "there are no proxies"
        if len(batch.proxies) < 2:
            return "there is only one proxy"
        if self is Labels.PROXY_ANY:
            return None
        if len(batch.counts) < len(batch.proxies):
            return f"{len(batch.counts)} of {len(batch.proxies)} classes are in the batch"
        lowest, highest = int(batch.counts.min()), int(batch.counts.max())
        return None if lowest == highest else f"classes have {lowest} to {highest} samples, not equally many"


@dataclass(frozen=True)
class Hyper:
    """A hyper-parameter of a relation.

    Args:
        default: what is taken where a batch does not say: the paper's or PML's value.
        low: the least value at which the relation is claimed and tested.
        high: the largest such value.
        is_integer: whether only integers make sense.

    Raises:
        ValueError: if the default is not in the range.
    """

    default: float
    low: float
    high: float
    is_integer: bool = False

    def __post_init__(self) -> None:
        check_number("default", self.default, low=self.low, high=self.high)

    def objection(self, name: str, value: float) -> str | None:
        """Return why ``value`` is not admitted, or None if it is."""
        if not self.low <= value <= self.high:
            return f"{name}={value:g} is not in [{self.low:g}, {self.high:g}]"
        if self.is_integer and value != int(value):
            return f"{name}={value:g} is not an integer"
        return None
