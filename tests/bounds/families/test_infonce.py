"""SupCon, NCA, NT-Xent and N-pairs: values that no fixture has, from loops over samples."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch

TAU = 0.3
Cosines = list[list[float]]


def random_batch(labels: list[int], seed: int = 0, temperature: float = TAU) -> BoundBatch:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(len(labels), 4, generator=generator, dtype=torch.float64)
    return BoundBatch(embeddings, torch.tensor(labels), hyper={"temperature": temperature})


def cosine_table(batch: BoundBatch) -> Cosines:
    rows = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in batch.embeddings.tolist()]
    return [[sum(x * y for x, y in zip(one, two, strict=True)) for two in rows] for one in rows]


def neighbours(labels: list[int], anchor: int) -> tuple[list[int], list[int]]:
    positives = [j for j, label in enumerate(labels) if label == labels[anchor] and j != anchor]
    return positives, [j for j, label in enumerate(labels) if label != labels[anchor]]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def naive_nca(cosines: Cosines, labels: list[int], tau: float) -> float:
    terms = []
    for i, row in enumerate(cosines):
        positives, negatives = neighbours(labels, i)
        above = sum(math.exp(row[j] / tau) for j in positives)
        if positives:
            terms.append(-math.log(above / (above + sum(math.exp(row[j] / tau) for j in negatives))))
    return mean(terms)


def naive_supcon(cosines: Cosines, labels: list[int], tau: float) -> float:
    terms = []
    for i, row in enumerate(cosines):
        positives, negatives = neighbours(labels, i)
        below = sum(math.exp(row[j] / tau) for j in positives + negatives)
        if positives:
            terms.append(mean([-math.log(math.exp(row[j] / tau) / below) for j in positives]))
    return mean(terms)


def naive_ntxent(cosines: Cosines, labels: list[int], tau: float) -> float:
    terms = []
    for i, row in enumerate(cosines):
        positives, negatives = neighbours(labels, i)
        below = sum(math.exp(row[j] / tau) for j in negatives)
        terms += [-math.log(math.exp(row[p] / tau) / (math.exp(row[p] / tau) + below)) for p in positives]
    return mean(terms)


def naive_npairs(cosines: Cosines, labels: list[int]) -> float:
    """Take the first two samples of each class as anchor and positive."""
    pairs = [[i for i, label in enumerate(labels) if label == one][:2] for one in sorted(set(labels))]
    terms = []
    for anchor, positive in pairs:
        below = sum(math.exp(cosines[anchor][other]) for _, other in pairs)
        terms.append(-math.log(math.exp(cosines[anchor][positive]) / below))
    return mean(terms)


def naive_nca_range(labels: list[int], tau: float, gap: float) -> float:
    counts = [neighbours(labels, i) for i in range(len(labels))]
    return mean([math.log(1 + len(n) / len(p) * math.exp(gap / tau)) for p, n in counts if p])


BALANCED, UNBALANCED = [0, 0, 0, 1, 1, 1, 2, 2, 2], [0, 0, 0, 1, 1, 2]
Expected = Callable[[Cosines], tuple[float, float]]
# Nine samples in three classes: each anchor has two positives and six negatives.
CASES: dict[str, tuple[list[int], Expected]] = {
    "supcon.ceiling": (
        BALANCED,
        lambda cosines: (naive_supcon(cosines, BALANCED, TAU), math.log(2 + 6 * math.exp(2 / TAU))),
    ),
    "nca.floor": (
        UNBALANCED,
        lambda cosines: (naive_nca_range(UNBALANCED, TAU, -2), naive_nca(cosines, UNBALANCED, TAU)),
    ),
    "nca.ceiling": (
        UNBALANCED,
        lambda cosines: (naive_nca(cosines, UNBALANCED, TAU), naive_nca_range(UNBALANCED, TAU, 2)),
    ),
    "ntxent.simplex_floor": (
        BALANCED,
        lambda cosines: (math.log(1 + 6 * math.exp(-1.5 / TAU)), naive_ntxent(cosines, BALANCED, TAU)),
    ),
    "ntxent.ceiling": (
        BALANCED,
        lambda cosines: (math.log(7) - naive_ntxent(cosines, BALANCED, TAU), 9 / (7 * TAU)),
    ),
    "npairs.simplex_floor": (
        BALANCED,
        lambda cosines: (math.log(1 + 2 * math.exp(-1.5)), naive_npairs(cosines, BALANCED)),
    ),
    "npairs.ceiling": (
        BALANCED,
        lambda cosines: (naive_npairs(cosines, BALANCED), math.log(1 + 2 * math.exp(2))),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_both_sides_agree_with_a_loop(name: str) -> None:
    labels, expected = CASES[name]
    batch = random_batch(labels)
    found = REGISTRY[name].evaluate(batch)
    assert (found.lhs, found.rhs) == pytest.approx(expected(cosine_table(batch)), rel=1e-12)


def test_the_ceiling_of_supcon_is_not_exceeded_by_corners_of_the_cube_of_cosines() -> None:
    # The proof goes over corners: k of the m - 1 positives at cosine 1 and the others at -1, all negatives at 1.
    for per_class in (2, 3, 6):
        for negatives in (per_class, 4 * per_class):
            for tau in (0.05, 1.0, 5.0):
                others = per_class - 1
                ceiling = math.log(others + negatives * math.exp(2 / tau))
                for k in range(others + 1):
                    terms = math.log((k + negatives) * math.exp(1 / tau) + (others - k) * math.exp(-1 / tau))
                    assert terms - (2 * k - others) / (others * tau) <= ceiling + 1e-12


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_no_search_gets_ntxent_below_the_simplex(classes: int) -> None:
    batch = random_batch([label for label in range(classes) for _ in range(2)], temperature=0.5)
    embeddings = batch.embeddings.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([embeddings], max_iter=60, line_search_fn="strong_wolfe")
    relation = REGISTRY["ntxent.simplex_floor"]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = relation.sides(batch.moved(embeddings))[1]
        loss.backward()
        return loss

    optimizer.step(closure)
    found = relation.evaluate(batch.moved(embeddings.detach()))
    # Four dimensions hold a simplex of up to five classes, and the loss is nearly flat at its minimum.
    assert found.rhs == pytest.approx(found.lhs, rel=1e-4)
    assert found.holds
