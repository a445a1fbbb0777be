"""Every estimator as a function of the scores psi of a subview and phi of the whole, and as a loop over numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from pml_proxyext.information import (
    CLUB,
    CNCE,
    JS,
    NWJ,
    SMILE,
    TUBA,
    Chain,
    CNCEBoosted,
    CNCEImportance,
    CNCEVariational,
    DonskerVaradhan,
    InfoNCE,
    Interpolated,
    L1Out,
    MutualInformationEstimator,
    RowDonskerVaradhan,
    Scores,
)

Rows = list[tuple[float, list[float]]]


@dataclass(frozen=True)
class Call:
    """How to make an estimator and what to call it with, the loop it must agree with, and what it claims to be."""

    make: Callable[[], MutualInformationEstimator]
    loop: Callable[[Rows, Rows], list[float]]
    arguments: Callable[[Scores, Scores], tuple[object, ...]] = lambda psi, phi: (phi,)
    forms: tuple[str, ...] = ("square", "pair")
    bound: str = "none"
    without_negatives_zero: bool = False
    ceiling: Callable[[int], float] = lambda k: math.inf


def with_psi(psi: Scores, phi: Scores) -> tuple[object, ...]:
    return psi, phi


def as_rows(scores: Scores) -> Rows:
    """Return the positive and the negatives of each row as numbers."""
    if isinstance(scores, tuple):
        return list(zip(scores[0].tolist(), scores[1].tolist(), strict=True))
    return [(row[i], row[:i] + row[i + 1 :]) for i, row in enumerate(scores.tolist())]


def infonce(positive: float, negatives: list[float]) -> float:
    total = math.exp(positive) + sum(math.exp(s) for s in negatives)
    return math.log(math.exp(positive) / (total / (len(negatives) + 1)))


def importance(psi_negatives: list[float], positive: float, negatives: list[float]) -> float:
    total = sum(math.exp(s) for s in psi_negatives)
    weighted = sum(math.exp(p) / total * math.exp(f) for p, f in zip(psi_negatives, negatives, strict=True))
    k = len(negatives) + 1
    return math.log(math.exp(positive) / ((math.exp(positive) + (k - 1) * weighted) / k))


def boosted(psi: Rows, phi: Rows) -> list[float]:
    pairs = zip(psi, phi, strict=True)
    return [infonce(p + f, [a + b for a, b in zip(ps, fs, strict=True)]) for (p, ps), (f, fs) in pairs]


def interpolated(alpha: float, positive: float, negatives: list[float], log_q: float) -> float:
    """Follow the definition: for each candidate l that is left out, the mean over the others, and the baseline."""
    n = len(negatives)

    def b(without: int | None) -> float:
        others = [s for j, s in enumerate(negatives) if j != without] + ([] if without is None else [positive])
        return alpha * sum(math.exp(s) for s in others) / n + (1 - alpha) * math.exp(log_q)

    first = fmean(positive - math.log(b(j)) for j in range(n))
    return 1 + first - fmean(math.exp(s) / b(None) for s in negatives)


def by_row(function: Callable[[float, list[float]], float]) -> Callable[[Rows, Rows], list[float]]:
    return lambda psi, phi: [function(positive, negatives) for positive, negatives in phi]


def by_batch(log_of: Callable[[float], float]) -> Callable[[Rows, Rows], list[float]]:
    def rows(psi: Rows, phi: Rows) -> list[float]:
        log_mean = math.log(fmean(math.exp(log_of(s)) for _, negatives in phi for s in negatives))
        return [positive - log_mean for positive, _ in phi]

    return rows


def symmetric(psi: Rows, phi: Rows) -> list[float]:
    return [(infonce(*row) + infonce(*column)) / 2 for row, column in zip(phi, transposed(phi), strict=True)]


def transposed(rows: Rows) -> Rows:
    square = [[*negatives[:i], positive, *negatives[i:]] for i, (positive, negatives) in enumerate(rows)]
    return as_rows(torch.tensor(square, dtype=torch.float64).T)


def row_dv(positive: float, negatives: list[float]) -> float:
    return positive - math.log(fmean(map(math.exp, negatives)))


def nwj(positive: float, negatives: list[float]) -> float:
    return positive - fmean(math.exp(s - 1) for s in negatives)


def club(positive: float, negatives: list[float]) -> float:
    return positive - fmean(negatives)


def importance_rows(psi: Rows, phi: Rows) -> list[float]:
    return [importance(ps, f, fs) for (_, ps), (f, fs) in zip(psi, phi, strict=True)]


def chained(psi: Rows, phi: Rows) -> list[float]:
    first, second = by_row(infonce)(psi, psi), importance_rows(psi, phi)
    return [a + b for a, b in zip(first, second, strict=True)]


def constants(phi: Scores) -> Tensor:
    """Return a number for each row, the same at every call."""
    rows = phi if isinstance(phi, Tensor) else phi[0]
    return torch.linspace(0.2, 0.9, len(rows), dtype=rows.dtype)


def with_constants(psi: Scores, phi: Scores) -> tuple[object, ...]:
    return phi, constants(phi)


def log_baselines(rows: Rows) -> list[float]:
    return torch.linspace(0.2, 0.9, len(rows), dtype=torch.float64).tolist()


def tuba(psi: Rows, phi: Rows) -> list[float]:
    triples = zip(phi, log_baselines(phi), strict=True)
    return [1 + s - a - fmean(math.exp(t) / math.exp(a) for t in ts) for (s, ts), a in triples]


def interpolated_rows(alpha: float) -> Callable[[Rows, Rows], list[float]]:
    return lambda psi, phi: [interpolated(alpha, s, ts, q) for (s, ts), q in zip(phi, log_baselines(phi), strict=True)]


def variational(psi: Rows, phi: Rows) -> list[float]:
    return [infonce(*row) - kl for row, kl in zip(phi, log_baselines(phi), strict=True)]


CONTRAST = {"bound": "lower", "without_negatives_zero": True, "ceiling": math.log}
CALLS = {
    "InfoNCE": Call(InfoNCE, by_row(infonce), **CONTRAST),
    "InfoNCE symmetric": Call(lambda: InfoNCE(symmetric=True), symmetric, forms=("square",), **CONTRAST),
    "DonskerVaradhan": Call(DonskerVaradhan, by_batch(lambda s: s)),
    "DonskerVaradhan ema": Call(lambda: DonskerVaradhan(ema=0.9), by_batch(lambda s: s)),
    "RowDonskerVaradhan": Call(RowDonskerVaradhan, by_row(row_dv)),
    "NWJ": Call(NWJ, by_row(nwj), bound="lower"),
    "TUBA": Call(TUBA, tuba, with_constants, bound="lower"),
    "JS": Call(JS, by_row(lambda s, ts: nwj(s + 1, [t + 1 for t in ts])), bound="lower"),
    "SMILE": Call(lambda: SMILE(tau=0.7), by_batch(lambda s: min(max(s, -0.7), 0.7))),
    "Interpolated 0": Call(lambda: Interpolated(0.0), interpolated_rows(0.0), with_constants, bound="lower"),
    "Interpolated 0.3": Call(
        lambda: Interpolated(0.3),
        interpolated_rows(0.3),
        with_constants,
        bound="lower",
        ceiling=lambda k: 1 + math.log((k - 1) / 0.3),
    ),
    "Interpolated 1": Call(
        lambda: Interpolated(1.0),
        interpolated_rows(1.0),
        with_constants,
        bound="lower",
        ceiling=lambda k: math.log(k - 1),
    ),
    "CLUB": Call(CLUB, by_row(club), bound="upper"),
    "CLUB released": Call(CLUB.as_released, by_row(lambda s, ts: s - fmean([s, *ts]))),
    "L1Out square": Call(
        L1Out, lambda psi, phi: by_row(row_dv)(psi, transposed(phi)), forms=("square",), bound="upper"
    ),
    "L1Out pair": Call(L1Out, by_row(row_dv), forms=("pair",), bound="upper"),
    "CNCE": Call(CNCE, by_row(infonce), forms=("pair",), **CONTRAST),
    "CNCEVariational": Call(
        CNCEVariational, variational, with_constants, forms=("pair",), bound="lower", ceiling=math.log
    ),
    "CNCEImportance": Call(CNCEImportance, importance_rows, with_psi, without_negatives_zero=True, ceiling=math.log),
    "CNCEBoosted": Call(CNCEBoosted, boosted, with_psi, **CONTRAST),
    "Chain importance": Call(
        lambda: Chain(CNCEImportance()),
        chained,
        lambda psi, phi: ([psi, phi],),
        without_negatives_zero=True,
        ceiling=lambda k: 2 * math.log(k),
    ),
    "Chain boosted": Call(lambda: Chain(CNCEBoosted()), boosted, lambda psi, phi: ([psi, phi],), **CONTRAST),
    "Chain conditional": Call(
        lambda: Chain(CNCE()),
        lambda psi, phi: [infonce(*a) + infonce(*b) for a, b in zip(psi, phi, strict=True)],
        lambda psi, phi: ([psi, phi],),
        forms=("pair",),
        bound="lower",
        without_negatives_zero=True,
        ceiling=lambda k: 2 * math.log(k),
    ),
}
"""By the name of a test case. Baselines and divergences of the rows are :func:`constants`."""

FORMS = [(name, form) for name, call in CALLS.items() for form in call.forms]
"""Each test case with each form of scores that it takes."""


def normal(*shape: int, seed: int, scale: float = 1.5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def scores_of(form: str, *, rows: int = 5, negatives: int = 4, seed: int = 0, scale: float = 1.5) -> Scores:
    """Return normal scores, ``(rows, rows)`` or a pair of as many rows."""
    if form == "square":
        return normal(rows, rows, seed=seed, scale=scale)
    return normal(rows, seed=seed, scale=scale), normal(rows, negatives, seed=seed + 100, scale=scale)


def arguments_of(name: str, form: str, seed: int = 0, **sizes: int | float) -> tuple[object, ...]:
    return CALLS[name].arguments(scores_of(form, seed=seed, **sizes), scores_of(form, seed=seed + 1, **sizes))
