"""Both sides of the relations between estimators of mutual information against loops over numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean

import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch, Labels, Relation

GENERATOR = torch.Generator().manual_seed(0)
BATCH = BoundBatch(
    torch.randn(6, 4, generator=GENERATOR, dtype=torch.float64),
    torch.tensor([0, 1, 2, 0, 2, 1]),
    torch.randn(3, 4, generator=GENERATOR, dtype=torch.float64),
    {"temperature": 0.4, "log_baseline": 0.3, "tau": 0.7, "alpha": 0.4},
)
RELATIONS = [relation for relation in REGISTRY.select("information.*") if relation.labels is Labels.PAIRS]
FIRST, SECOND = [0, 1, 2], [3, 5, 4]
PAIRS = range(3)
Matrix = list[list[float]]


def sides(name: str) -> list[float]:
    return [side.item() for side in REGISTRY[f"information.{name}"].sides(BATCH)]


def cosines(width: int) -> Matrix:
    rows = [row[:width] for row in BATCH.embeddings.tolist()]

    def cosine(x: list[float], y: list[float]) -> float:
        return sum(a * b for a, b in zip(x, y, strict=True)) / math.hypot(*x) / math.hypot(*y)

    return [[cosine(rows[i], rows[j]) / 0.4 for j in SECOND] for i in FIRST]


WHOLE, HALF, THIRDS = cosines(4), cosines(2), [cosines(width) for width in (2, 3, 4)]
PLUS = [[score + 1 / 0.4 for score in row] for row in WHOLE]


def others(scores: Matrix, i: int) -> list[float]:
    return [scores[i][j] for j in PAIRS if j != i]


def total(*matrices: Matrix) -> Matrix:
    return [[sum(scores[i][j] for scores in matrices) for j in PAIRS] for i in PAIRS]


def columns(scores: Matrix) -> Matrix:
    return [list(column) for column in zip(*scores, strict=True)]


def over_rows(value: Callable[[float, list[float]], float], scores: Matrix) -> float:
    return fmean(value(scores[i][i], others(scores, i)) for i in PAIRS)


def infonce_row(own: float, rest: list[float]) -> float:
    return own - math.log(fmean(math.exp(score) for score in [own, *rest]))


def row_dv(own: float, rest: list[float]) -> float:
    return own - math.log(fmean(map(math.exp, rest)))


def club(own: float, rest: list[float]) -> float:
    return own - fmean(rest)


def nwj(own: float, rest: list[float]) -> float:
    return own - fmean(math.exp(score - 1) for score in rest)


def dv(scores: Matrix, clip: float = math.inf, with_positives: bool = False) -> float:
    kept = [scores[i][j] for i in PAIRS for j in PAIRS if with_positives or i != j]
    return fmean(scores[i][i] for i in PAIRS) - math.log(fmean(math.exp(max(-clip, min(s, clip))) for s in kept))


def weighted_row(psi: Matrix, phi: Matrix, i: int) -> float:
    """Give the uncapped value of a row by importance weights."""
    weights = [math.exp(score) for score in others(psi, i)]
    pairs = zip(weights, others(phi, i), strict=True)
    return phi[i][i] - math.log(sum(weight * math.exp(score) for weight, score in pairs) / sum(weights))


def capped(value: float) -> float:
    return -math.log(1 / 3 + 2 / 3 * math.exp(-value))


def demi_rows(psi: Matrix, phi: Matrix) -> list[float]:
    return [infonce_row(psi[i][i], others(psi, i)) + capped(weighted_row(psi, phi, i)) for i in PAIRS]


def chain() -> float:
    first, second, third = THIRDS
    parts = [demi_rows(first, second)[i] + capped(weighted_row(total(first, second), third, i)) for i in PAIRS]
    return fmean(parts)


def interpolated(alpha: float, log_q: float, own: float, rest: list[float]) -> float:
    def mixed(scores: list[float]) -> float:
        return alpha * sum(map(math.exp, scores)) / len(rest) + (1 - alpha) * math.exp(log_q)

    left_out = [[own, *rest[:j], *rest[j + 1 :]] for j in range(len(rest))]
    return 1 + fmean(own - math.log(mixed(s)) for s in left_out) - fmean(math.exp(s) / mixed(rest) for s in rest)


INFONCE = over_rows(infonce_row, WHOLE)
DV_ALL = dv(WHOLE, with_positives=True)
NWJ_ALL = fmean(nwj(WHOLE[i][i], WHOLE[i]) for i in PAIRS)
CLUB_ALL = fmean(WHOLE[i][i] - fmean(WHOLE[i]) for i in PAIRS)
L1OUT = over_rows(row_dv, columns(WHOLE))
TUBA = over_rows(lambda own, rest: 1 + own - 0.3 - fmean(math.exp(score - 0.3) for score in rest), WHOLE)
POSITIVE = fmean(WHOLE[i][i] for i in PAIRS)
UNCAPPED = over_rows(row_dv, total(HALF, WHOLE))
CONDITIONAL = fmean(capped(weighted_row(HALF, WHOLE, i)) for i in PAIRS)

FIVE = fmean([INFONCE, over_rows(row_dv, WHOLE), dv(WHOLE), over_rows(club, WHOLE), L1OUT])


def pushes(shares: Callable[[int], list[float]]) -> float:
    """Give what the softmax of each row leaves to the negatives, by the exponentials of the candidates."""
    return fmean(1 - 1 / sum(shares(i)) for i in PAIRS)


def shares(i: int) -> list[float]:
    return [math.exp(score - WHOLE[i][i]) for score in WHOLE[i]]


def weighted_shares(i: int) -> list[float]:
    return [1.0, 2 * math.exp(-weighted_row(HALF, WHOLE, i))]


PER_BATCH = {
    "infonce_eq_ntxent": (INFONCE, INFONCE),
    "infonce_ceiling": (INFONCE, math.log(3)),
    "infonce_eq_cap": (INFONCE, INFONCE),
    "infonce_le_row_dv": (INFONCE, 2 / 3 * over_rows(row_dv, WHOLE)),
    "infonce_row_shift": (INFONCE, INFONCE),
    "infonce_eq_row_dv": (INFONCE, INFONCE),
    "nwj_le_dv_all": (NWJ_ALL, DV_ALL),
    "dv_all_le_infonce": (DV_ALL, INFONCE),
    "infonce_le_club": (INFONCE, CLUB_ALL),
    "club_as_released": (CLUB_ALL, CLUB_ALL),
    "infonce_le_l1out": (over_rows(infonce_row, columns(WHOLE)), 2 / 3 * L1OUT),
    "nwj_le_dv": (over_rows(nwj, WHOLE), dv(WHOLE)),
    "dv_le_row_dv": (dv(WHOLE), over_rows(row_dv, WHOLE)),
    "tuba_le_row_dv": (TUBA, over_rows(row_dv, WHOLE)),
    "row_dv_le_club": (over_rows(row_dv, WHOLE), over_rows(club, WHOLE)),
    "l1out_eq_row_dv": (L1OUT, L1OUT),
    "l1out_le_club": (L1OUT, over_rows(club, WHOLE)),
    "club_shift": (over_rows(club, WHOLE), over_rows(club, WHOLE)),
    "smile_ceiling": (dv(WHOLE, 0.7), POSITIVE + 0.7),
    "smile_floor": (POSITIVE - 0.7, dv(WHOLE, 0.7)),
    "dv_le_smile": (dv(PLUS), dv(PLUS, 0.7)),
    "interpolated_eq_nwj": (over_rows(nwj, WHOLE), over_rows(nwj, WHOLE)),
    "interpolated_ceiling": (
        over_rows(lambda own, rest: interpolated(0.4, 1.0, own, rest), WHOLE),
        1 + math.log(2 / 0.4),
    ),
    "demi_ceiling": (fmean(demi_rows(HALF, WHOLE)), 2 * math.log(3)),
    "chain_ceiling": (chain(), 3 * math.log(3)),
    "boosted_chain": (over_rows(infonce_row, total(*THIRDS)),) * 2,
    "telescoping": (UNCAPPED, UNCAPPED),
    "demi_le_row_dv": (fmean(demi_rows(HALF, WHOLE)), 2 / 3 * UNCAPPED),
    "importance_shift": (CONDITIONAL, CONDITIONAL),
    "importance_eq_infonce": (INFONCE, INFONCE),
    "order_of_pairs": (FIVE, FIVE),
    "infonce_gradient": (pushes(shares), pushes(shares)),
    "importance_gradient": (pushes(weighted_shares), pushes(weighted_shares)),
}


@pytest.mark.parametrize("name", PER_BATCH)
def test_sides_are_the_loops(name: str) -> None:
    assert sides(name) == pytest.approx(PER_BATCH[name], rel=1e-9)


def test_rows_in_agreement_and_in_disagreement_are_told_apart() -> None:
    agree = [row_dv(HALF[i][i], others(HALF, i)) * weighted_row(HALF, WHOLE, i) >= 0 for i in PAIRS]
    boosted = [infonce_row(*(both[i][i], others(both, i))) for both in [total(HALF, WHOLE)] for i in PAIRS]
    demi = demi_rows(HALF, WHOLE)
    for name, mask, order in (("boosted_le_demi", agree, 1), ("demi_le_boosted", [not a for a in agree], -1)):
        expected = [sum(row for row, kept in zip(rows, mask, strict=True) if kept) / 3 for rows in (boosted, demi)]
        assert sides(name) == pytest.approx(expected[::order], rel=1e-9)
    assert 0 < sum(agree) < 3


def test_every_relation_is_compared() -> None:
    compared = {*PER_BATCH, "boosted_le_demi", "demi_le_boosted"}
    assert {relation.id for relation in RELATIONS} == {f"information.{name}" for name in compared}


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.id)
def test_gradients_agree_with_differences(relation: Relation) -> None:
    def sides_of(embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # A ceiling has no graph; adding zero gives it one.
        lhs, rhs = relation.sides(BoundBatch(embeddings, BATCH.labels, BATCH.proxies, BATCH.hyper))
        return lhs + 0 * embeddings.sum(), rhs + 0 * embeddings.sum()

    embeddings = BATCH.embeddings.clone().requires_grad_()
    assert torch.autograd.gradcheck(sides_of, (embeddings,), fast_mode=True)
