r"""What every estimator of mutual information offers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

__all__ = ["MutualInformationEstimator"]


class MutualInformationEstimator(nn.Module):
    r"""A number of nats for the scores that a critic gives to candidates.

    Row i holds the scores of one :math:`x_i` with :math:`K` candidates: the positive :math:`y_i` and :math:`n = K - 1`
    negatives, draws of :math:`p(y)` unless a class says otherwise. Scores come as a square matrix whose diagonal is
    positive, or as the pair (positives ``(R,)``, negatives ``(R, n)``). Values are in float32 for half precision.

    Subclasses define ``per_row``, ``(R,)`` numbers whose mean is the value. Under "called with" each class says what
    ``per_row``, the call and ``loss`` take; mostly it is the scores.

    Attributes:
        is_lower_bound: whether the expectation of the value is at most the information, for every critic and every K.
            The value of a batch may lie above, always.
        is_upper_bound: whether the expectation of the value is at least the information, for every K, if the scores
            are the true :math:`\log p(y_j | x_i)`. There is no upper bound for every critic.
    """

    is_lower_bound: bool = False
    is_upper_bound: bool = False

    per_row: Callable[..., Tensor]

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the estimate, a scalar in nats."""
        return self.per_row(*args, **kwargs).mean()

    def loss(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the scalar to minimise; its gradient is the one to train critics by, its value need not mean much."""
        return -self(*args, **kwargs)

    def ceiling(self, num_candidates: int) -> float:
        """Return the least number that no value exceeds with ``num_candidates`` candidates a row; infinity if none."""
        return math.inf
