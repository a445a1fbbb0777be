"""Does a certainty know where the errors are? AUROC, and the error among the queries that are not turned away."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

__all__ = ["Rejection", "auroc"]

_Floats = npt.NDArray[np.float64]


def auroc(positive: npt.ArrayLike, score: npt.ArrayLike) -> float:
    r"""Return the probability that a positive scores higher than a negative, a tie being half a success.

    .. math::
        P(s_+ > s_-) + \tfrac12 P(s_+ = s_-)

    1 is a perfect separation, 0.5 what chance gives. It is the area under the receiver operating characteristic, and
    depends on the order of the scores alone. For "is this image degraded?" give the degraded images as positives and
    minus their certainty as the score.

    Args:
        positive: ``(N,)`` booleans.
        score: ``(N,)`` numbers, infinite ones allowed.

    Returns:
        a number in [0, 1]; NaN if all are positive or all negative, or where a score is NaN.

    Raises:
        ValueError: if the two are not vectors of one length.

    Example:
        >>> auroc([True, False, False], [0.9, 0.2, 0.9])
        0.75
    """
    outcomes, scores = _checked("positive", positive, "score", score)
    if outcomes.all() or not outcomes.any() or np.isnan(scores).any():
        return math.nan
    return float(roc_auc_score(outcomes, rankdata(scores)))  # ranks, because scikit-learn refuses infinities


class Rejection:
    r"""What turning the least certain queries away does to the error.

    With the queries sorted by falling certainty and :math:`w_i` the error of the i-th (1 if it is wrong, else 0), the
    error that is left after :math:`k` of :math:`N` have been turned away, and the area under that curve, are

    .. math::
        e_k = \frac{1}{N - k} \sum_{i=1}^{N-k} w_i, \qquad A = \frac1N \sum_{k=0}^{N-1} e_k .

    Queries of equal certainty are in random order: :math:`e_k` is the expectation over it. So nothing depends on the
    order in which queries come, nor on a monotone transformation of the certainty.

    Args:
        errors: ``(N,)`` booleans, whether each query goes wrong.
        certainty: ``(N,)`` numbers, larger for queries to keep longer.

    Raises:
        ValueError: if the two are not vectors of one length.

    Attributes:
        rejected: ``(N,)`` the fractions turned away, 0 to (N - 1) / N.
        error: ``(N,)`` the error left at each. NaN throughout if a certainty is NaN.

    Reference:
        Geifman, Uziel and El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019, for
        the area and its lowest value.

    Example:
        >>> rejection = Rejection([True, False, False, False], certainty=[0.1, 0.9, 0.8, 0.7])
        >>> rejection.error.tolist(), rejection.area
        ([0.25, 0.0, 0.0, 0.0], 0.0625)
        >>> rejection.normalized_area, rejection.auroc
        (0.0, 1.0)
    """

    def __init__(self, errors: npt.ArrayLike, certainty: npt.ArrayLike) -> None:
        self._wrong, self._certainty = _checked("errors", errors, "certainty", certainty)
        self.rejected: _Floats = np.arange(len(self._wrong)) / max(len(self._wrong), 1)
        self.error = _error_left(self._wrong, self._certainty)

    @property
    def area(self) -> float:
        """The area under the curve, that is the mean of ``error``; NaN without queries."""
        return float(self.error.mean()) if len(self.error) else math.nan

    @property
    def normalized_area(self) -> float:
        """The area on a scale from 0, all errors are turned away first, to 1, queries are turned away at random.

        Random rejection leaves the error as it is, so that its area is the error itself; worse than random is above 1.
        NaN if all queries are right, or all wrong.
        """
        if self._wrong.all() or not self._wrong.any():
            return math.nan
        best = _error_left(self._wrong, (~self._wrong).astype(np.float64)).mean()
        return float((self.area - best) / (self._wrong.mean() - best))

    @property
    def auroc(self) -> float:
        """Probability that a wrong query is less certain than a right one; NaN if all are right or all wrong."""
        return auroc(self._wrong, -self._certainty)

    def error_at(self, rejected: npt.ArrayLike) -> _Floats:
        """Return the error left after turning away these fractions of the queries, rounded to whole queries.

        At least one query stays. NaN without queries.
        """
        fractions = np.asarray(rejected, dtype=np.float64)
        count = len(self.error)
        if not count:
            return np.full(fractions.shape, math.nan)
        return self.error[np.clip(np.rint(fractions * count).astype(int), 0, count - 1)]


def _error_left(wrong: npt.NDArray[np.bool_], certainty: _Floats) -> _Floats:
    if np.isnan(certainty).any():
        return np.full(len(wrong), math.nan)
    group = np.unique(certainty, return_inverse=True)[1]  # 0 for the least certain
    mean_of_group = np.bincount(group, weights=wrong) / np.bincount(group)
    most_certain_first = mean_of_group[np.sort(group)[::-1]]
    return (most_certain_first.cumsum() / np.arange(1, len(wrong) + 1))[::-1]


def _checked(
    outcome_name: str, outcomes: npt.ArrayLike, number_name: str, numbers: npt.ArrayLike
) -> tuple[npt.NDArray[np.bool_], _Floats]:
    flags: npt.NDArray[Any] = np.asarray(outcomes)
    values = np.asarray(numbers, dtype=np.float64)
    if flags.ndim != 1 or flags.shape != values.shape:
        raise ValueError(
            f"{outcome_name} and {number_name} must have shape (N,), got shapes {flags.shape} and {values.shape}"
        )
    if not np.isin(flags, (0, 1)).all():
        raise ValueError(f"{outcome_name} must be booleans, got {flags.dtype} with other values than 0 and 1")
    return flags.astype(bool), values
