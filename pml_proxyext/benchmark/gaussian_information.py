r"""Gaussian variables whose mutual information is known, and what the estimators say of it with the best critics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pml_proxyext.information import (
    CLUB,
    CNCE,
    JS,
    SMILE,
    CNCEBoosted,
    CNCEImportance,
    DonskerVaradhan,
    InfoNCE,
    Interpolated,
    L1Out,
    MutualInformationEstimator,
    RowDonskerVaradhan,
    effective_sample_size,
)
from pml_proxyext.information.critics import Critic
from pml_proxyext.utils.checks import check_integer, check_number

__all__ = ["REFERENCES", "GaussianViews", "decomposed_estimates", "mean_and_error", "reference_estimates"]


class _LogDensity(Critic):
    """The log-density of y around x, a normal one of the same variance in all directions."""

    def __init__(self, variance: float) -> None:
        super().__init__()
        self.variance = variance

    def compare(self, x: Tensor, y: Tensor) -> Tensor:
        if y.ndim == 3:
            squares = (y - x[:, None]).square().sum(2)
        else:
            squares = x.square().sum(1, keepdim=True) + y.square().sum(1) - 2 * x @ y.mT
        return -0.5 * (squares / self.variance + x.shape[1] * math.log(2 * math.pi * self.variance))


@dataclass(frozen=True)
class GaussianViews:
    r"""Two independent parts of one view, x = (a, b), the subview x' = a, and another view y that each half informs.

    .. math::
        a, b, \varepsilon \sim \mathcal N(0, I_d), \qquad y = \alpha a + \beta b + \sigma \varepsilon, \qquad
        \alpha^2 = 1 - e^{-T / d}, \quad \beta^2 = e^{-T / d} - e^{-2 T / d}, \quad \sigma^2 = e^{-2 T / d}

    so that y is standard normal, :math:`I(x; y) = T` and :math:`I(x'; y) = I(x; y | x') = T / 2`.

    Args:
        total: :math:`T > 0` in nats.
        dim: :math:`d`, the width of each of a, b and y.

    Raises:
        ValueError: if they are out of range.

    Example:
        >>> views = GaussianViews(total=10, dim=20)
        >>> a, b, y = views.draw(256, torch.Generator().manual_seed(0))
        >>> a.shape, round(views.weight_a**2 + views.weight_b**2 + views.noise, 12)
        (torch.Size([256, 20]), 1.0)
    """

    total: float
    dim: int = 20

    def __post_init__(self) -> None:
        check_number("total", self.total, low=0, open_low=True)
        check_integer("dim", self.dim)

    @property
    def weight_a(self) -> float:
        r"""Of a in y, :math:`\alpha`."""
        return math.sqrt(-math.expm1(-self.total / self.dim))

    @property
    def weight_b(self) -> float:
        r"""Of b in y, :math:`\beta`."""
        return math.sqrt(self.noise_given_a - self.noise)

    @property
    def noise_given_a(self) -> float:
        r"""The variance of y given a, :math:`\beta^2 + \sigma^2`."""
        return math.exp(-self.total / self.dim)

    @property
    def noise(self) -> float:
        r"""The variance of y given a and b, :math:`\sigma^2`."""
        return math.exp(-2 * self.total / self.dim)

    def draw(self, rows: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> list[Tensor]:
        """Return a, b and y, each ``(rows, dim)``."""
        a, b, noise = torch.randn(3, rows, self.dim, generator=generator, dtype=dtype)
        return [a, b, self.weight_a * a + self.weight_b * b + math.sqrt(self.noise) * noise]

    def log_ratios(self, a: Tensor, b: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return the best critics of all pairs, :math:`\psi = \log \frac{p(y | a)}{p(y)}` and
        :math:`\phi = \log \frac{p(y | a, b)}{p(y | a)}`.

        Shapes:
            a, b ``(R, d)`` and y ``(M, d)`` or ``(R, n, d)`` -> ``(R, M)`` or ``(R, n)`` each.
        """
        mean_a = self.weight_a * a
        marginal = _LogDensity(1.0)(torch.zeros_like(a), y)
        given_a = _LogDensity(self.noise_given_a)(mean_a, y)
        return given_a - marginal, _LogDensity(self.noise)(mean_a + self.weight_b * b, y) - given_a

    def conditional_negatives(self, b: Tensor, count: int, generator: torch.Generator) -> Tensor:
        r"""Return the best :math:`\phi` of ``count`` draws of p(y | a) for each row, ``(R, count)``.

        With them, y is :math:`\alpha a` plus a rest that is independent of a, and :math:`\phi` looks at the rest and at
        b alone. So the rows can share the rests as they share the negatives of p(y).
        """
        rests = torch.randn(count, self.dim, generator=generator, dtype=b.dtype) * math.sqrt(self.noise_given_a)
        unconditional = _LogDensity(self.noise_given_a)(torch.zeros_like(b), rests)
        return _LogDensity(self.noise)(self.weight_b * b, rests) - unconditional


def decomposed_estimates(
    views: GaussianViews, candidates: int, batches: int, generator: torch.Generator, rows: int = 256
) -> Iterator[dict[str, float]]:
    """Yield for each batch what the parts of a decomposition and the whole come to, with the best critics.

    The rows of a batch share their K - 1 negatives of p(y), and their K - 1 rests of true conditional negatives.

    Args:
        views: what to draw.
        candidates: K.
        batches: how many; one is in memory at a time.
        generator: source of the draws.
        rows: positives of a batch.
    """
    negatives = check_integer("candidates", candidates, low=2) - 1
    for _ in range(batches):
        a, b, y = views.draw(rows, generator)
        others = torch.randn(negatives, views.dim, generator=generator, dtype=y.dtype)
        psi_own, phi_own = (scores.squeeze(1) for scores in views.log_ratios(a, b, y[:, None]))
        psi_others, phi_others = views.log_ratios(a, b, others)
        psi, phi = (psi_own, psi_others), (phi_own, phi_others)
        conditional = (phi_own, views.conditional_negatives(b, negatives, generator))
        values = {
            "infonce_direct": CNCEBoosted()(psi, phi),
            "infonce_sub": InfoNCE()(psi),
            "cnce": CNCE()(conditional),
            "cnce_importance": CNCEImportance()(psi, phi),
            "ess": effective_sample_size(psi).mean(),
            "club_conditional": CLUB()(conditional),
            "log_ratio": (psi_own + phi_own).mean(),
        }
        values["sum_conditional"] = values["infonce_sub"] + values["cnce"]
        values["sum_importance"] = values["infonce_sub"] + values["cnce_importance"]
        yield {name: value.item() for name, value in values.items()}


#: From a title to an estimator and to what it takes besides the best critic's scores, which are log-ratios.
REFERENCES: dict[str, tuple[MutualInformationEstimator, dict[str, float]]] = {
    "InfoNCE": (InfoNCE(), {}),
    "NWJ, scores + 1 (JS)": (JS(), {}),
    "Interpolated, alpha 0.5, baseline 1": (Interpolated(0.5), {"log_baseline": 0.0}),
    "DV, minibatch": (DonskerVaradhan(), {}),
    "DV by rows": (RowDonskerVaradhan(), {}),
    "SMILE, tau 1": (SMILE(1.0), {}),
    "SMILE, tau 5": (SMILE(5.0), {}),
    "L1Out": (L1Out(), {}),
    "CLUB": (CLUB(), {}),
}


def reference_estimates(
    total: float, dim: int, candidates: int, batches: int, generator: torch.Generator
) -> Iterator[dict[str, float]]:
    r"""Yield for each batch of K pairs what the estimators :data:`REFERENCES` come to, with the best critic.

    x and y are normal of width d with correlation :math:`\rho` in each coordinate, :math:`\rho^2 = 1 - e^{-2 I / d}`.
    For the upper bounds the scores stand for :math:`\log p(y | x)`, from which they differ by a function of y, which
    cancels.

    Args:
        total: :math:`I` in nats.
        dim: d.
        candidates: K.
        batches: how many.
        generator: source of the draws.
    """
    views = GaussianViews(2 * total, dim)  # a is x then, and b is more noise
    for _ in range(batches):
        a, b, y = views.draw(candidates, generator)
        scores, _ = views.log_ratios(a, b, y)
        yield {name: estimator(scores, **rest).item() for name, (estimator, rest) in REFERENCES.items()}


def mean_and_error(batches: Iterable[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each number over batches, and its standard error under the name with ``_se``; two at least.

    Example:
        >>> mean_and_error([{"value": 1.0}, {"value": 3.0}])
        {'value': 2.0, 'value_se': 1.0}
    """
    columns: dict[str, list[float]] = {}
    for batch in batches:
        for name, value in batch.items():
            columns.setdefault(name, []).append(value)
    found = {}
    for name, values in columns.items():
        column = torch.tensor(values, dtype=torch.float64)
        found[name] = column.mean().item()
        found[f"{name}_se"] = (column.std() / math.sqrt(len(values))).item()
    return found
