"""Relations of a line each, whose outcome is known without any loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pml_proxyext.bounds import BoundBatch, Hyper, Kind, Labels, Relation, Side


def norm(batch: BoundBatch) -> Tensor:
    return batch.embeddings.square().mean()


def relation(name: str, lhs: Any = norm, rhs: Any = norm, **arguments: Any) -> Relation:
    """Return a relation between functions of a batch, or between sides."""
    sides = [side if isinstance(side, Side) else Side(side.__name__, side) for side in (lhs, rhs)]
    words = {"title": f"toy [{name}]_+", "statement": "a \\le b", "source": "a test", "proof": "none"}
    arguments = {"labels": Labels.ANY, **words, **arguments}
    return Relation(id=f"toy.{name}", lhs=sides[0], rhs=sides[1], **arguments)


def scaled(factor: float) -> Side:
    return Side(f"{factor:g} norms", lambda batch: factor * norm(batch))


HOLDS = relation("holds", scaled(1), scaled(2))
VIOLATED = relation("violated", scaled(2), scaled(1))
EQUAL = relation("equal", scaled(1), scaled(1), kind=Kind.EQUAL)
UNEQUAL = relation("unequal", scaled(1), scaled(2), kind=Kind.EQUAL)
NAN = relation("nan", Side("nan", lambda batch: norm(batch) * float("nan")), scaled(1), nan_because="of the test")
REFUTED = relation("refuted", scaled(2), scaled(1), kind=Kind.REFUTED)
LUCKY = relation("lucky", scaled(1), scaled(2), kind=Kind.REFUTED)
PAIRS = relation("pairs", scaled(1), scaled(2), labels=Labels.PAIRS)
PROXIES = relation("proxies", norm, Side("proxies", lambda batch: batch.classifier.sum()), labels=Labels.PROXY_ANY)
FACTOR = relation(
    "factor",
    Side("norm times factor", lambda batch: norm(batch) * batch["factor"]),
    scaled(3),
    hyper={"factor": Hyper(1.0, 0.0, 5.0)},
)
