r"""Lower bounds with a baseline in place of the normaliser: TUBA, and NWJ with the baseline e."""

from __future__ import annotations

from torch import Tensor

from pml_proxyext.information.estimator import MutualInformationEstimator
from pml_proxyext.information.scores import Scores, split_scores

__all__ = ["NWJ", "TUBA", "baseline_rows", "nwj_rows"]


def baseline_rows(log_baseline: Tensor | float, positive: Tensor) -> Tensor:
    """Return one baseline for each row, ``(R,)``, or raise ValueError."""
    if not isinstance(log_baseline, Tensor):
        return positive.new_full(positive.shape, log_baseline)
    if log_baseline.shape not in ((), positive.shape):
        raise ValueError(
            f"log_baseline must be a number or have one for each of {len(positive)} rows, "
            f"got shape {tuple(log_baseline.shape)}"
        )
    return log_baseline.to(positive).expand_as(positive)


def nwj_rows(scores: Scores, offset: float = 0.0) -> Tensor:
    """Return the values of :class:`NWJ` by row, ``(R,)``, for scores to which ``offset`` is added."""
    positive, negatives = split_scores(scores)
    return positive + offset - (negatives + (offset - 1)).exp().mean(1)


class NWJ(MutualInformationEstimator):
    r"""The bound of Nguyen, Wainwright and Jordan, also known as f-MINE: no ceiling, but a large variance.

    .. math::
        I_i = S_{ii} - \frac{1}{K - 1} \sum_{j \ne i} e^{S_{ij} - 1}

    A lower bound for every critic and every K, since it is an average without a logarithm around it. The best critic is
    :math:`1 + \log p(y | x) / p(y)`, without freedom. The variance grows like :math:`e^I`, and scores far above
    :math:`\log` of the largest number make it minus infinity.

    Called with:
        scores.

    Raises:
        ValueError: for scores of no valid form, and without negatives.

    Reference:
        Nguyen, Wainwright, Jordan, "Estimating Divergence Functionals and the Likelihood Ratio by Convex Risk
        Minimization", IEEE Transactions on Information Theory 56(11), 2010, arXiv:0809.0853.

    Example:
        >>> import torch
        >>> NWJ()(torch.ones(4, 4))  # constant scores of 1 know nothing
        tensor(0.)
    """

    is_lower_bound = True

    def per_row(self, scores: Scores) -> Tensor:
        """Return :math:`I_i`, ``(R,)``."""
        return nwj_rows(scores)


class TUBA(MutualInformationEstimator):
    r"""The bound of Barber and Agakov for unnormalised critics, with a baseline :math:`a(x)`.

    .. math::
        I_i = 1 + S_{ii} - \log a_i - \frac{1}{K - 1} \sum_{j \ne i} \frac{e^{S_{ij}}}{a_i}

    A lower bound for every critic, every K and every positive baseline that does not look at the candidates. The best
    baseline for a critic is the normaliser :math:`E_{p(y)} e^{S(x, y)}`. With :math:`a = e` it is :class:`NWJ`. With
    the mean over the row for :math:`a_i` it would be :class:`RowDonskerVaradhan`, which is no bound.

    Called with:
        scores, and ``log_baseline`` :math:`\log a`: a number (default 1), or a tensor ``(R,)`` with its graph, from a
        network that sees x.

    Raises:
        ValueError: for scores of no valid form, without negatives, and for a baseline of another shape.

    Reference:
        Poole, Ozair, van den Oord, Alemi, Tucker, "On Variational Bounds of Mutual Information", ICML 2019,
        arXiv:1905.06922.

    Example:
        >>> import torch
        >>> TUBA()(torch.zeros(2, 2), log_baseline=torch.zeros(2))
        tensor(0.)
    """

    is_lower_bound = True

    def per_row(self, scores: Scores, log_baseline: Tensor | float = 1.0) -> Tensor:
        """Return :math:`I_i`, ``(R,)``."""
        positive, negatives = split_scores(scores)
        log_baseline = baseline_rows(log_baseline, positive)
        return 1 + positive - log_baseline - (negatives - log_baseline[:, None]).exp().mean(1)
