r"""Critics trained as classifiers of pairs: JS, which reports a bound, and SMILE, which reports an estimate."""

from __future__ import annotations

from torch import Tensor

from pml_proxyext.information.donsker_varadhan import log_mean_exp
from pml_proxyext.information.estimator import MutualInformationEstimator
from pml_proxyext.information.scores import Scores, split_scores
from pml_proxyext.information.variational import nwj_rows
from pml_proxyext.utils.checks import check_number
from pml_proxyext.utils.precision import log1p_exp

__all__ = ["JS", "SMILE", "jensen_shannon_rows"]


def jensen_shannon_rows(scores: Scores) -> Tensor:
    r"""Return the objective of Jensen-Shannon by row, ``(R,)``, which is never above zero and is no information.

    .. math::
        J_i = -\log(1 + e^{-S_{ii}}) - \frac{1}{K - 1} \sum_{j \ne i} \log(1 + e^{S_{ij}})

    Its best critic is :math:`\log p(y | x) / p(y)`.
    """
    positive, negatives = split_scores(scores)
    return -log1p_exp(-positive) - log1p_exp(negatives).mean(1)


class JS(MutualInformationEstimator):
    r"""Train by the Jensen-Shannon divergence, report by :class:`NWJ` at the scores plus one.

    .. math::
        I_i = S_{ii} + 1 - \frac{1}{K - 1} \sum_{j \ne i} e^{S_{ij}}

    The gradients of the training objective are bounded and of small variance, which those of NWJ are not. The value is
    a lower bound for every critic and every K, with the variance of NWJ. The 1 is there since the best critic of the
    objective is :math:`\log p(y | x) / p(y)`, while that of NWJ is by 1 larger.

    Called with:
        scores. :meth:`loss` is minus the objective, :math:`\log 4` for a critic that knows nothing.

    Raises:
        ValueError: for scores of no valid form, and without negatives.

    Departs from the paper or the release:
        a known implementation reports NWJ at the scores themselves, which is low by :math:`1/e` at the best critic.

    Reference:
        Hjelm, Fedorov, Lavoie-Marchildon, Grewal, Bachman, Trischler, Bengio, "Learning Deep Representations by Mutual
        Information Estimation and Maximization", ICLR 2019, arXiv:1808.06670; reported by NWJ in Poole et al., ICML
        2019, arXiv:1905.06922.

    Example:
        >>> import torch
        >>> JS()(torch.zeros(4, 4)), JS().loss(torch.zeros(4, 4))
        (tensor(0.), tensor(1.3863))
    """

    is_lower_bound = True

    def per_row(self, scores: Scores) -> Tensor:
        """Return :math:`I_i`, ``(R,)``."""
        return nwj_rows(scores, offset=1.0)

    def loss(self, scores: Scores) -> Tensor:
        """Return minus the mean objective."""
        return -jensen_shannon_rows(scores).mean()


class SMILE(MutualInformationEstimator):
    r"""Train as :class:`JS`, report by Donsker-Varadhan with clipped scores of negatives. **Not a bound.**

    .. math::
        I = \frac1R \sum_i S_{ii} - \log \frac{1}{R n} \sum_{i, j \ne i} e^{\min(\max(S_{ij}, -\tau), \tau)}

    Clipping lowers the variance and makes the value too large where it cuts large scores off: with the best critic at 4
    nats and :math:`\tau = 1`, by about 0.7 nats. The value is within :math:`\tau` of the mean score of the positives.

    Args:
        tau: :math:`\tau > 0`. A known implementation compares 1, 5 and infinity; infinity is
            :class:`DonskerVaradhan`.

    Called with:
        scores. :meth:`loss` is that of :class:`JS`.

    Raises:
        ValueError: if ``tau`` is not positive, for scores of no valid form, and without negatives.

    Departs from the paper or the release:
        the value has its own gradient, and the loss is minus the objective of :class:`JS`, where the release returns
        one number with the value of the one and the gradient of the other.

    Reference:
        Song, Ermon, "Understanding the Limitations of Variational Mutual Information Estimators", ICLR 2020,
        arXiv:1910.06222.

    Example:
        >>> import torch
        >>> SMILE(tau=1.0)(torch.tensor([[3.0, 0.0], [0.0, 3.0]]))
        tensor(3.)
    """

    def __init__(self, tau: float = 5.0) -> None:
        super().__init__()
        self.tau = check_number("tau", tau, low=0.0, open_low=True)

    def per_row(self, scores: Scores) -> Tensor:
        """Return the positives minus the one logarithm of the whole batch, ``(R,)``."""
        positive, negatives = split_scores(scores)
        return positive - log_mean_exp(negatives.clamp(-self.tau, self.tau))

    def loss(self, scores: Scores) -> Tensor:
        """Return minus the mean objective of :class:`JS`."""
        return -jensen_shannon_rows(scores).mean()

    def extra_repr(self) -> str:
        return f"tau={self.tau:g}"
