"""What estimators of mutual information are on average, against loops over all that can be drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from statistics import fmean

import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch, Labels, Relation

GENERATOR = torch.Generator().manual_seed(0)
BATCH = BoundBatch(
    torch.randn(6, 4, generator=GENERATOR, dtype=torch.float64),
    torch.tensor([0, 1, 2, 0, 2, 1]),
    torch.randn(3, 4, generator=GENERATOR, dtype=torch.float64),
    {"sharpness": 0.8},
)
RELATIONS = [relation for relation in REGISTRY.select("information.*") if relation.labels is Labels.PROXY_ANY]
Matrix = list[list[float]]


def infonce_row(own: float, rest: list[float]) -> float:
    return own - math.log(fmean(math.exp(score) for score in [own, *rest]))


def row_dv(own: float, rest: list[float]) -> float:
    return own - math.log(fmean(map(math.exp, rest)))


def nwj(own: float, rest: list[float]) -> float:
    return own - fmean(math.exp(score - 1) for score in rest)


def capped(value: float) -> float:
    return -math.log(1 / 3 + 2 / 3 * math.exp(-value))


# The joint distribution: the softmax of the first four rows and the three proxies.
PRODUCTS = (BATCH.embeddings[:4] @ BATCH.classifier.T).tolist()
MASS = sum(math.exp(product) for row in PRODUCTS for product in row)
JOINT = [[math.exp(product) / MASS for product in row] for row in PRODUCTS]
X, Y = range(4), range(3)
P_X = [sum(row) for row in JOINT]
P_Y = [sum(JOINT[x][y] for x in X) for y in Y]
PARTNER = [1, 0, 3, 2]
P_Y_GIVEN_HALF = [[(JOINT[x][y] + JOINT[PARTNER[x]][y]) / (P_X[x] + P_X[PARTNER[x]]) for y in Y] for x in X]
PSI = [[math.log(P_Y_GIVEN_HALF[x][y] / P_Y[y]) for y in Y] for x in X]
PHI = [[math.log(JOINT[x][y] / P_X[x] / P_Y_GIVEN_HALF[x][y]) for y in Y] for x in X]
INFORMATION = sum(JOINT[x][y] * (PSI[x][y] + PHI[x][y]) for x in X for y in Y)
REST = sum(JOINT[x][y] * PHI[x][y] for x in X for y in Y)


def times(factor: float) -> Matrix:
    return [[factor * product for product in row] for row in PRODUCTS]


def of_halves(factor: float) -> Matrix:
    return [[factor * (PRODUCTS[x][y] + PRODUCTS[PARTNER[x]][y]) / 2 for y in Y] for x in X]


def expected(
    value: Callable[[int, int, list[int]], float], negatives: Callable[[int], list[float]] | None = None
) -> float:
    """Give the mean over all rows x, positives y and two negatives, of the marginal distribution by default."""
    law = negatives or (lambda x: P_Y)
    return sum(
        JOINT[x][y] * law(x)[first] * law(x)[second] * value(x, y, [first, second])
        for x, y, first, second in product(X, Y, Y, Y)
    )


def contrast(scores: Matrix) -> Callable[[int, int, list[int]], float]:
    return lambda x, y, negatives: infonce_row(scores[x][y], [scores[x][k] for k in negatives])


def sum_of(*matrices: Matrix) -> Matrix:
    return [[sum(scores[x][y] for scores in matrices) for y in Y] for x in X]


def importance(x: int, y: int, negatives: list[int]) -> float:
    weights = [math.exp(PSI[x][k]) for k in negatives]
    mean = sum(w * math.exp(PHI[x][k]) for w, k in zip(weights, negatives, strict=True)) / sum(weights)
    return capped(PHI[x][y] - math.log(mean))


def softmax(row: list[float]) -> list[float]:
    mass = sum(map(math.exp, row))
    return [math.exp(score) / mass for score in row]


def of_a_model() -> float:
    model = [softmax(row) for row in of_halves(0.5)]
    divergence = [sum(p * math.log(p / q) for p, q in zip(P_Y_GIVEN_HALF[x], model[x], strict=True)) for x in X]
    score = contrast(times(0.7))
    return expected(lambda x, y, negatives: score(x, y, negatives) - divergence[x], lambda x: model[x])


def l1out() -> float:
    """Give the mean over a row, its y and two other rows."""
    given = [[JOINT[x][y] / P_X[x] for y in Y] for x in X]
    return sum(
        JOINT[x][y] * P_X[a] * P_X[b] * math.log(given[x][y] / ((given[a][y] + given[b][y]) / 2))
        for x, y, a, b in product(X, Y, X, X)
    )


def club_of(scores: Matrix) -> float:
    return sum(scores[x][y] * (JOINT[x][y] - P_X[x] * P_Y[y]) for x in X for y in Y)


def independent_entropy() -> float:
    ratio = sum_of(PSI, PHI)
    values = {(x, *ys): fmean(math.exp(ratio[x][y]) for y in ys) for x, *ys in product(X, Y, Y, Y)}
    return sum(P_X[x] * P_Y[a] * P_Y[b] * P_Y[c] * m * math.log(m) for (x, a, b, c), m in values.items())


def other_classes(x: int) -> list[float]:
    own = max(Y, key=lambda y: JOINT[x][y])
    return [0.0 if y == own else P_Y[y] / (1 - P_Y[own]) for y in Y]


BEST = sum_of(PSI, PHI)
BEST_INFONCE = expected(contrast(BEST))
SHARP = [[1 + 0.8 * score for score in row] for row in BEST]
LOG_GIVEN = [[math.log(JOINT[x][y] / P_X[x]) for y in Y] for x in X]
IN_EXPECTATION = {
    "expected_cnce": (expected(contrast(times(0.7)), lambda x: P_Y_GIVEN_HALF[x]), REST),
    "expected_cnce_of_a_model": (of_a_model(), REST),
    "expected_boosted": (expected(contrast(sum_of(of_halves(0.5), times(0.3)))), INFORMATION),
    "expected_nwj": (
        expected(lambda x, y, ks: nwj(SHARP[x][y], [SHARP[x][k] for k in ks])),
        INFORMATION,
    ),
    "expected_club": (INFORMATION, club_of(LOG_GIVEN)),
    "expected_l1out": (INFORMATION, l1out()),
    "infonce_gap": (INFORMATION - BEST_INFONCE, independent_entropy()),
    "more_candidates": (
        expected(lambda x, y, ks: infonce_row(BEST[x][y], [BEST[x][ks[0]]])),
        BEST_INFONCE,
    ),
    "importance_claim": (expected(importance), REST),
    "demi_claim": (expected(contrast(PSI)) + expected(importance), INFORMATION),
    "row_dv_claim": (expected(lambda x, y, ks: row_dv(BEST[x][y], [BEST[x][k] for k in ks])), INFORMATION),
    "increment_claim": (expected(contrast(times(1.0))), REST),
    "club_claim": (INFORMATION, club_of([[math.log(p) for p in softmax(row)] for row in times(0.1)])),
    "other_classes_claim": (expected(contrast(BEST), other_classes), INFORMATION),
}


@pytest.mark.parametrize("name", IN_EXPECTATION)
def test_exact_expectations_are_the_loops(name: str) -> None:
    found = [side.item() for side in REGISTRY[f"information.{name}"].sides(BATCH)]
    assert found == pytest.approx(IN_EXPECTATION[name], rel=1e-9)


def test_every_relation_is_compared() -> None:
    assert {relation.id for relation in RELATIONS} == {f"information.{name}" for name in IN_EXPECTATION}


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.id)
def test_gradients_agree_with_differences(relation: Relation) -> None:
    def sides_of(embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        lhs, rhs = relation.sides(BoundBatch(embeddings, BATCH.labels, BATCH.proxies, BATCH.hyper))
        return lhs, rhs

    embeddings = BATCH.embeddings.clone().requires_grad_()
    assert torch.autograd.gradcheck(sides_of, (embeddings,), fast_mode=True)
