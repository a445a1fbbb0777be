r"""The bound between InfoNCE and NWJ: ceiling against variance."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pml_proxyext.information.estimator import MutualInformationEstimator
from pml_proxyext.information.scores import Scores, split_scores
from pml_proxyext.information.variational import baseline_rows
from pml_proxyext.utils.checks import check_integer, check_number

__all__ = ["Interpolated", "leave_one_out"]


def leave_one_out(positive: Tensor, negatives: Tensor) -> Tensor:
    r"""Return for each negative the logarithm of the sum over all other candidates of its row, the positive included.

    Shapes:
        ``(R,)``, ``(R, n)`` -> ``(R, n)``.
    """
    candidates = torch.cat([positive[:, None], negatives], dim=1)
    total = candidates.logsumexp(1, keepdim=True)
    is_top = torch.zeros_like(negatives, dtype=torch.bool).scatter(1, negatives.argmax(1, keepdim=True), True)
    # A negative other than the largest has at most half of the sum, so that the rest of it is known to full precision.
    share = (negatives - total).masked_fill(is_top, -math.inf).exp()
    without_top = torch.cat([positive[:, None], negatives.masked_fill(is_top, -math.inf)], dim=1)
    return torch.where(is_top, without_top.logsumexp(1, keepdim=True), total + torch.log1p(-share))


class Interpolated(MutualInformationEstimator):
    r"""The bound of Poole et al. that mixes the normaliser of InfoNCE with a baseline.

    With K candidates in row i and the baseline :math:`q_i`,

    .. math::
        b_{il} &= \frac{\alpha}{K - 1} \sum_{j \ne l} e^{S_{ij}} + (1 - \alpha) q_i, \\
        I_i &= 1 + \frac{1}{K - 1} \sum_{l \ne i} (S_{ii} - \log b_{il})
               - \frac{1}{K - 1} \sum_{j \ne i} \frac{e^{S_{ij}}}{b_{ii}} .

    A lower bound for every critic, every K and every baseline that does not look at the candidates. With
    :math:`\alpha = 1` it is InfoNCE with one candidate left out, below :math:`\log (K - 1)`; with :math:`\alpha = 0` it
    is :class:`TUBA`, and :class:`NWJ` if :math:`q = e`. In between, the ceiling is :math:`1 + \log ((K - 1) / \alpha)`.

    Args:
        alpha: :math:`\alpha \in [0, 1]`. The paper has no default; 0.5 is in the middle.

    Called with:
        scores, and ``log_baseline`` :math:`\log q`: a number (default 1) or a tensor ``(R,)``.

    Raises:
        ValueError: if ``alpha`` is out of range, for scores of no valid form, without negatives, and for a baseline of
            another shape.

    Departs from the paper or the release:
        the layout of the candidates that are left out is a reconstruction. That it is a bound, and both of its ends,
        have been proved or checked for it.

    Reference:
        Poole, Ozair, van den Oord, Alemi, Tucker, "On Variational Bounds of Mutual Information", ICML 2019,
        arXiv:1905.06922.

    Example:
        >>> scores = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]])
        >>> [round(Interpolated(alpha)(scores).item(), 3) for alpha in (0.0, 0.5, 1.0)]
        [1.632, 1.222, 0.566]
    """

    is_lower_bound = True

    def __init__(self, alpha: float = 0.5) -> None:
        super().__init__()
        self.alpha = check_number("alpha", alpha, low=0.0, high=1.0)

    def per_row(self, scores: Scores, log_baseline: Tensor | float = 1.0) -> Tensor:
        """Return :math:`I_i`, ``(R,)``."""
        positive, negatives = split_scores(scores)
        log_baseline = baseline_rows(log_baseline, positive)[:, None]
        log_count = math.log(negatives.shape[1])
        log_with_positive = self._mix(leave_one_out(positive, negatives) - log_count, log_baseline)
        log_without = self._mix(negatives.logsumexp(1, keepdim=True) - log_count, log_baseline)
        return 1 + positive - log_with_positive.mean(1) - (negatives - log_without).exp().mean(1)

    def _mix(self, log_mean: Tensor, log_baseline: Tensor) -> Tensor:
        if self.alpha == 1.0:
            return log_mean
        if self.alpha == 0.0:
            return log_baseline
        return torch.logaddexp(log_mean + math.log(self.alpha), log_baseline + math.log1p(-self.alpha))

    def ceiling(self, num_candidates: int) -> float:
        if self.alpha == 0.0:
            return math.inf
        ceiling = math.log((check_integer("num_candidates", num_candidates, low=2) - 1) / self.alpha)
        return ceiling if self.alpha == 1.0 else 1 + ceiling

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"
