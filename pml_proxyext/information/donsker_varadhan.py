r"""The Donsker-Varadhan representation, over a batch (MINE) and row by row."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pml_proxyext.information.estimator import MutualInformationEstimator
from pml_proxyext.information.scores import Scores, split_scores
from pml_proxyext.utils.checks import check_number

__all__ = ["DonskerVaradhan", "RowDonskerVaradhan", "log_mean_exp"]


def log_mean_exp(tensor: Tensor) -> Tensor:
    """Return the logarithm of the mean exponential of all entries, a scalar."""
    return tensor.reshape(-1).logsumexp(0) - math.log(tensor.numel())


class DonskerVaradhan(MutualInformationEstimator):
    r"""The Donsker-Varadhan value of a batch, as in MINE. **Not a bound** on batches of any size.

    .. math::
        I = \frac1R \sum_i S_{ii} - \log \frac{1}{R n} \sum_{i, j \ne i} e^{S_{ij}}

    With the expectation in the logarithm it is a lower bound, and the information itself at
    :math:`S = \log p(y | x) / p(y)` plus a constant. The logarithm of a *mean of a batch* is too small on average, and
    so the value too large, also for a fixed critic.

    Args:
        ema: decay in (0, 1) of MINE's moving mean of :math:`e^{S}`, with which :meth:`loss` divides; None for the
            gradient of the value. The moving mean makes the gradient less biased, and does not touch the value. It
            starts with the first batch, takes in each batch for which :meth:`loss` is called in training mode before
            it is used, passes over batches with a mean that is not finite, and is part of the ``state_dict``.

    Called with:
        scores.

    Raises:
        ValueError: if ``ema`` is out of range, for scores of no valid form, and without negatives.

    Departs from the paper or the release:
        a known implementation in PyTorch has the decay 0.9 and keeps the moving mean above 1e-4; in the logarithmic
        domain, in which it is kept here, no such floor is needed.

    Reference:
        Belghazi, Baratin, Rajeswar, Ozair, Bengio, Courville, Hjelm, "Mutual Information Neural Estimation",
        ICML 2018, arXiv:1801.04062.

    Example:
        >>> DonskerVaradhan()(torch.tensor([[2.0, 0.0], [0.0, 2.0]]))
        tensor(2.)
    """

    log_moving_mean: Tensor

    def __init__(self, ema: float | None = None) -> None:
        super().__init__()
        self.ema = ema
        if ema is not None:
            decay = check_number("ema", ema, low=0.0, high=1.0, open_low=True)
            if decay == 1.0:
                raise ValueError(f"ema must be below 1, where nothing new would count, got {ema!r}")
            self.register_buffer("log_moving_mean", torch.tensor(-math.inf))

    def per_row(self, scores: Scores) -> Tensor:
        """Return the positives minus the one logarithm of the whole batch, ``(R,)``."""
        positive, negatives = split_scores(scores)
        return positive - log_mean_exp(negatives)

    def loss(self, scores: Scores) -> Tensor:
        """Return minus the value, in training mode with the gradient of MINE if there is a moving mean."""
        if self.ema is None or not self.training:
            return -self(scores)
        positive, negatives = split_scores(scores)
        log_mean = log_mean_exp(negatives)
        seen = log_mean.detach()
        # The gradient of mean / moving_mean, written as a factor on that of log(mean).
        factor = (seen - self._moving(seen).to(seen)).exp()
        return seen + factor * (log_mean - seen) - positive.mean()

    def _moving(self, log_mean: Tensor) -> Tensor:
        assert self.ema is not None
        log_mean = log_mean.to(self.log_moving_mean)
        mixed = torch.logaddexp(self.log_moving_mean + math.log(self.ema), log_mean + math.log1p(-self.ema))
        mixed = torch.where(self.log_moving_mean == -math.inf, log_mean, mixed)
        self.log_moving_mean.copy_(torch.where(log_mean.isfinite(), mixed, self.log_moving_mean))
        return self.log_moving_mean.clone()

    def extra_repr(self) -> str:
        return "" if self.ema is None else f"ema={self.ema}"


class RowDonskerVaradhan(MutualInformationEstimator):
    r"""The Donsker-Varadhan value of each row: InfoNCE without its cap. **Not a bound** at any finite K.

    .. math::
        d_i = S_{ii} - \log \frac{1}{K - 1} \sum_{j \ne i} e^{S_{ij}}

    :class:`InfoNCE` is :func:`cap` of it, row by row. It invites a critic to overfit few negatives: use it to look
    behind the ceiling, with the caution that its expectation exceeds that of :class:`DonskerVaradhan`.

    Called with:
        scores.

    Raises:
        ValueError: for scores of no valid form, and without negatives.

    Example:
        >>> RowDonskerVaradhan().per_row(torch.tensor([[2.0, 0.0], [1.0, 1.5]]))
        tensor([2.0000, 0.5000])
    """

    def per_row(self, scores: Scores) -> Tensor:
        """Return :math:`d_i`, ``(R,)``."""
        positive, negatives = split_scores(scores)
        return positive - negatives.logsumexp(1) + math.log(negatives.shape[1])
