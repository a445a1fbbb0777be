"""What estimators of mutual information obey on every batch of scores: ceilings, chains, shifts, gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pml_proxyext.information import (
    CLUB,
    JS,
    NWJ,
    SMILE,
    TUBA,
    Chain,
    CNCEBoosted,
    CNCEImportance,
    DonskerVaradhan,
    InfoNCE,
    Interpolated,
    L1Out,
    RowDonskerVaradhan,
    cap,
)
from pml_proxyext.testing.strategies import score_matrices

OF_ONE = {
    "InfoNCE": InfoNCE(),
    "InfoNCE both ways": InfoNCE(symmetric=True),
    "row DV": RowDonskerVaradhan(),
    "DV": DonskerVaradhan(),
    "NWJ": NWJ(),
    "TUBA": TUBA(),
    "JS": JS(),
    "SMILE": SMILE(5.0),
    "interpolated": Interpolated(0.3),
    "CLUB": CLUB(),
    "L1Out": L1Out(),
}
OF_TWO = {"importance": CNCEImportance(), "boosted": CNCEBoosted()}
NO_NEGATIVES_IS_ZERO = {"InfoNCE", "InfoNCE both ways"}


def rounding(*scores: Tensor) -> float:
    """Give what sums of such scores may be off by: a thousand units in the last place of the largest score."""
    return 1e3 * torch.finfo(torch.float64).eps * (1 + max(float(matrix.abs().max()) for matrix in scores))


def assert_alike(found: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=tolerance)


def uncapped(scores: Tensor, psi: Tensor | None = None) -> Tensor:
    """Give S_ii - log sum_j w_ij exp S_ij over the negatives, weighted by the softmax of psi, by default equally."""
    is_positive = torch.eye(len(scores), dtype=torch.bool)
    weighing = torch.zeros_like(scores) if psi is None else psi
    log_weights = weighing.masked_fill(is_positive, -math.inf).log_softmax(1)
    return scores.diagonal() - (log_weights + scores).logsumexp(1)


def with_positives(scores: Tensor) -> tuple[Tensor, Tensor]:
    return scores.diagonal(), scores


@given(score_matrices(2))
def test_no_row_exceeds_its_ceiling(drawn: list[Tensor]) -> None:
    psi, phi = drawn
    ceiling = math.log(len(psi))
    for rows in (InfoNCE().per_row(psi), CNCEImportance().per_row(psi, phi), CNCEBoosted().per_row(psi, phi)):
        assert rows.max() <= ceiling
    assert Interpolated(1.0).per_row(psi).max() <= math.log(len(psi) - 1) + rounding(psi)
    assert InfoNCE().ceiling(len(psi)) == CNCEImportance().ceiling(len(psi)) == ceiling


@given(st.integers(2, 4).flatmap(score_matrices))
def test_a_chain_is_capped_stage_by_stage(stages: list[Tensor]) -> None:
    size, number, total = len(stages[0]), len(stages), torch.stack(stages).sum(0)
    chain = Chain(CNCEImportance(), num_stages=number)
    rows = chain.per_row(stages)
    assert rows.max() <= number * math.log(size) * (1 + 1e-12)
    assert chain.ceiling(size) == pytest.approx(number * math.log(size))
    tolerance = rounding(*stages)
    earlier, parts = torch.zeros_like(total), []
    for scores in stages:
        parts.append(uncapped(scores, earlier))
        earlier = earlier + scores
    assert_alike(torch.stack(parts).sum(0), uncapped(total), tolerance)
    assert_alike(rows, torch.stack([cap(part, size) for part in parts]).sum(0), tolerance)
    assert (rows <= (1 - 1 / size) * uncapped(total) + tolerance).all()
    assert_alike(Chain(CNCEBoosted(), num_stages=number).per_row(stages), InfoNCE().per_row(total), tolerance)


@given(score_matrices())
def test_infonce_is_capped_row_dv(drawn: list[Tensor]) -> None:
    [scores] = drawn
    rows, d, tolerance = InfoNCE().per_row(scores), uncapped(scores), rounding(scores)
    assert_alike(RowDonskerVaradhan().per_row(scores), d, tolerance)
    assert_alike(rows, cap(d, len(scores)), tolerance)
    assert (rows <= (1 - 1 / len(scores)) * d + tolerance).all()
    assert (rows[d >= 0] >= -tolerance).all()
    assert (rows[d < 0] >= d[d < 0] - tolerance).all()


@given(st.integers(2, 1000), st.lists(st.floats(-500, 500), min_size=3, max_size=3).map(sorted))
def test_the_cap_grows_and_is_concave(num_candidates: int, points: list[float]) -> None:
    low, middle, high = points
    at = dict(zip(points, cap(torch.tensor(points, dtype=torch.float64), num_candidates).tolist(), strict=True))
    assert at[low] <= at[middle] <= at[high] <= math.log(num_candidates)
    on_the_chord = at[low] * (high - middle) + at[high] * (middle - low)
    assert at[middle] * (high - low) >= on_the_chord - 1e-9 * (1 + abs(on_the_chord))
    assert cap(torch.zeros((), dtype=torch.float64), num_candidates).item() == pytest.approx(0, abs=1e-15)


@given(score_matrices(3))
def test_shifts_that_are_not_seen(drawn: list[Tensor]) -> None:
    scores, phi, other = drawn
    by_row, by_column, by_all = other[:, :1], other[:1], other[0, 0]
    tolerance = rounding(*drawn)
    for estimator in (InfoNCE(), RowDonskerVaradhan()):
        assert_alike(estimator.per_row(scores + by_row), estimator.per_row(scores), tolerance)
    for conditional in (CNCEImportance(), CNCEBoosted()):
        expected = conditional.per_row(scores, phi)
        assert_alike(conditional.per_row(scores + by_row, phi), expected, tolerance)
        assert_alike(conditional.per_row(scores, phi + by_row), expected, tolerance)
    assert_alike(L1Out().per_row(scores + by_column), L1Out().per_row(scores), tolerance)
    assert_alike(CLUB()(scores + by_row + by_column), CLUB()(scores), tolerance)
    assert_alike(DonskerVaradhan()(scores + by_all), DonskerVaradhan()(scores), tolerance)


def test_shifts_that_are_seen() -> None:
    scores = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    by_row = torch.arange(5.0, dtype=torch.float64)[:, None]
    for estimator, shifted in (
        (NWJ(), scores + 1),
        (DonskerVaradhan(), scores + by_row),
        (InfoNCE(), scores + by_row.T),
    ):
        assert abs(estimator(shifted) - estimator(scores)) > 0.1


@given(score_matrices(kind="constant"), score_matrices(2))
def test_who_knows_nothing_gets_nothing(constant: list[Tensor], drawn: list[Tensor]) -> None:
    [same] = constant
    tolerance = rounding(same)
    clip = SMILE(tau=1 + float(same.abs().max()))
    for estimator in (InfoNCE(), RowDonskerVaradhan(), DonskerVaradhan(), CLUB(), L1Out(), clip):
        assert_alike(estimator(same), torch.zeros((), dtype=same.dtype), tolerance)
    psi, phi = drawn
    nothing, per_row = torch.zeros_like(phi), torch.ones_like(phi) * psi[:, :1]
    tolerance = rounding(psi, phi)
    assert_alike(CNCEImportance().per_row(psi, nothing), nothing[0], tolerance)
    assert_alike(CNCEBoosted().per_row(psi, nothing), InfoNCE().per_row(psi), tolerance)
    assert_alike(CNCEImportance().per_row(per_row, phi), InfoNCE().per_row(phi), tolerance)


@given(score_matrices(), st.floats(-20, 20))
def test_the_chain_without_positives(drawn: list[Tensor], log_baseline: float) -> None:
    [scores] = drawn
    tolerance = rounding(scores)
    values = [estimator(scores) for estimator in (NWJ(), DonskerVaradhan(), RowDonskerVaradhan(), CLUB())]
    assert all(low <= high + tolerance for low, high in pairwise(values))
    tuba, row_dv = TUBA().per_row(scores, log_baseline), RowDonskerVaradhan().per_row(scores)
    assert (tuba <= row_dv + tolerance).all()
    best = scores.diagonal() - row_dv  # the logarithm of the mean exponential of each row
    assert_alike(TUBA().per_row(scores, best), row_dv, tolerance)


@given(score_matrices())
def test_the_chain_with_positives(drawn: list[Tensor]) -> None:
    [scores] = drawn
    tolerance = rounding(scores)
    values = [
        estimator(with_positives(scores)) for estimator in (NWJ(), DonskerVaradhan(), RowDonskerVaradhan(), CLUB())
    ]
    assert all(low <= high + tolerance for low, high in pairwise(values))
    assert_alike(values[2], InfoNCE()(scores), tolerance)
    assert_alike(values[3], CLUB.as_released()(scores), tolerance)
    assert_alike(values[3], (1 - 1 / len(scores)) * CLUB()(scores), tolerance)


@given(score_matrices())
def test_columns(drawn: list[Tensor]) -> None:
    [scores] = drawn
    tolerance = rounding(scores)
    assert_alike(L1Out().per_row(scores), uncapped(scores.T), tolerance)
    assert InfoNCE()(scores.T) <= (1 - 1 / len(scores)) * L1Out()(scores) + tolerance
    assert L1Out()(scores) <= CLUB()(scores) + tolerance


@given(score_matrices(2))
def test_the_positive_among_the_weighted_makes_a_bound(drawn: list[Tensor]) -> None:
    psi, phi = drawn
    safe = phi.diagonal() - (psi.log_softmax(1) + phi).logsumexp(1)
    assert_alike(InfoNCE().per_row(psi) + safe, InfoNCE().per_row(psi + phi), rounding(psi, phi))
    assert_alike(CNCEBoosted().increment(psi, phi), safe, rounding(psi, phi))


@given(score_matrices(2))
def test_the_parts_add_up_before_they_are_capped(drawn: list[Tensor]) -> None:
    psi, phi = drawn
    size, tolerance = len(psi), rounding(psi, phi)
    first, second, whole = uncapped(psi), CNCEImportance().uncapped(psi, phi), uncapped(psi + phi)
    assert_alike(first + second, whole, tolerance)
    apart = InfoNCE().per_row(psi) + CNCEImportance().per_row(psi, phi)
    assert_alike(apart, cap(first, size) + cap(second, size), tolerance)
    assert (apart <= (1 - 1 / size) * whole + tolerance).all()
    gain = apart - CNCEBoosted().per_row(psi, phi)
    agree = first * second >= 0
    assert (gain[agree] >= -tolerance).all()
    assert (gain[~agree] <= tolerance).all()


@given(score_matrices(), st.floats(0.05, 400))
def test_clipping(drawn: list[Tensor], tau: float) -> None:
    [scores] = drawn
    tolerance = rounding(scores)
    smile, mean_positive = SMILE(tau)(scores), scores.diagonal().mean()
    assert mean_positive - tau - tolerance <= smile <= mean_positive + tau + tolerance
    everything = float(scores.abs().max()) + 1
    assert_alike(SMILE(everything)(scores), DonskerVaradhan()(scores), tolerance)
    above = scores - scores.min() - tau  # nothing is below -tau
    assert SMILE(tau)(above) >= DonskerVaradhan()(above) - rounding(above)
    assert JS().loss(scores) >= 0


@given(score_matrices())
def test_the_ends_of_the_interpolated_estimate(drawn: list[Tensor]) -> None:
    [scores] = drawn
    size, tolerance = len(scores), rounding(scores)
    assert_alike(Interpolated(0.0).per_row(scores), NWJ().per_row(scores), tolerance)
    left_out = torch.empty(size, dtype=scores.dtype)
    for i in range(size):
        denominators = [scores[i][torch.arange(size) != k].logsumexp(0) for k in range(size) if k != i]
        left_out[i] = scores[i, i] - torch.stack(denominators).mean() + math.log(size - 1)
    assert_alike(Interpolated(1.0).per_row(scores), left_out, tolerance)


@pytest.mark.parametrize("name", OF_ONE)
@given(score_matrices(), st.integers(0, 9999))
def test_the_order_of_pairs_does_not_matter(name: str, drawn: list[Tensor], seed: int) -> None:
    [scores] = drawn
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed))
    rows = OF_ONE[name].per_row(scores)
    assert_alike(OF_ONE[name].per_row(scores[order][:, order]), rows[order], rounding(scores))


@pytest.mark.parametrize("name", OF_TWO)
@given(score_matrices(2), st.integers(0, 9999))
def test_the_order_of_pairs_does_not_matter_to_conditional_estimates(name: str, drawn: list[Tensor], seed: int) -> None:
    order = torch.randperm(len(drawn[0]), generator=torch.Generator().manual_seed(seed))
    rows = OF_TWO[name].per_row(*drawn)
    moved = [scores[order][:, order] for scores in drawn]
    assert_alike(OF_TWO[name].per_row(*moved), rows[order], rounding(*drawn))


@given(st.floats(-300, 300))
def test_a_single_candidate_tells_nothing(score: float) -> None:
    alone = torch.tensor([[score]], dtype=torch.float64)
    for name, estimator in OF_ONE.items():
        if name in NO_NEGATIVES_IS_ZERO:
            assert estimator(alone) == 0
        else:
            with pytest.raises(ValueError, match="at least 1 negative"):
                estimator(alone)
    assert all(estimator(alone, alone) == 0 for estimator in OF_TWO.values())


def gradient_sums(value: Callable[[Tensor], Tensor], scores: Tensor) -> Tensor:
    leaf = scores.clone().requires_grad_()
    value(leaf).backward()
    assert leaf.grad is not None
    return leaf.grad.sum(1)


@given(score_matrices(2))
def test_gradients_of_a_row_sum_to_zero(drawn: list[Tensor]) -> None:
    """What does not see a constant in a row has no gradient along it."""
    psi, phi = drawn
    boosted, importance = CNCEBoosted(), CNCEImportance()
    sums = [
        gradient_sums(InfoNCE(), phi),
        gradient_sums(RowDonskerVaradhan(), phi),
        gradient_sums(lambda moved: boosted(psi, moved), phi),
        gradient_sums(lambda moved: boosted(moved, phi), psi),
        gradient_sums(lambda moved: importance(psi, moved), phi),
        gradient_sums(lambda moved: importance(moved, phi), psi),
    ]
    assert (
        torch.stack(sums).abs().max() < 1e-12
    )  # gradients themselves are of size 1 / K at most, for each of two parts
