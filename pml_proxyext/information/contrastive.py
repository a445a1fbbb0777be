r"""InfoNCE: pick the positive among K candidates."""

from __future__ import annotations

import math

from torch import Tensor

from pml_proxyext.information.estimator import MutualInformationEstimator
from pml_proxyext.information.scores import Scores, split_scores
from pml_proxyext.utils.checks import check_integer
from pml_proxyext.utils.precision import log1p_exp

__all__ = ["ContrastiveEstimator", "InfoNCE", "cap", "contrast_rows", "infonce_rows"]


def cap(uncapped: Tensor, num_candidates: int) -> Tensor:
    r"""Return what a contrast among K candidates makes of an uncapped value.

    .. math::
        c_K(d) = -\log\Big(\frac1K + \frac{K - 1}{K} e^{-d}\Big) = \log K - \log(1 + (K - 1) e^{-d})

    It grows with d, is concave, and satisfies :math:`c_K(0) = 0`, :math:`c_K(d) \le (1 - 1/K) d` and
    :math:`c_K(d) < \log K`.

    Args:
        uncapped: :math:`d` in nats, such as the rows of :class:`RowDonskerVaradhan`, of any shape.
        num_candidates: :math:`K \ge 2`, the positive among them.

    Raises:
        ValueError: if ``num_candidates`` is below 2.

    Example:
        >>> import torch
        >>> cap(torch.tensor([-1.0, 0.0, 1.0, 100.0]), 4)
        tensor([-0.8280,  0.0000,  0.6426,  1.3863])
    """
    check_integer("num_candidates", num_candidates, low=2)
    return contrast_rows(uncapped, math.log(num_candidates - 1), num_candidates)


def contrast_rows(positive: Tensor, log_negatives: Tensor | float, num_candidates: int) -> Tensor:
    r"""Return :math:`\log K + s_i - \log(e^{s_i} + e^{t_i})`, with :math:`t_i = -\infty` where there are no negatives.

    Args:
        positive: :math:`s_i`, ``(R,)``.
        log_negatives: :math:`t_i`, the logarithm of the sum over the negatives, ``(R,)`` or the same for all rows.
        num_candidates: :math:`K`.
    """
    return math.log(num_candidates) - log1p_exp(log_negatives - positive)


def infonce_rows(scores: Scores) -> Tensor:
    """Return the values of :class:`InfoNCE` by row, ``(R,)``; zeros without negatives."""
    positive, negatives = split_scores(scores, min_negatives=0)
    return contrast_rows(positive, negatives.logsumexp(1), negatives.shape[1] + 1)


class ContrastiveEstimator(MutualInformationEstimator):
    r"""An estimator that tells a positive from :math:`K - 1` negatives, with the ceiling :math:`\log K`."""

    def ceiling(self, num_candidates: int) -> float:
        return math.log(check_integer("num_candidates", num_candidates))


class InfoNCE(ContrastiveEstimator):
    r"""How much better than by chance the positive is told from the negatives.

    .. math::
        I_i = \log \frac{e^{S_{ii}}}{\frac1K \sum_j e^{S_{ij}}}
            = c_K\Big(S_{ii} - \log \frac{1}{K - 1} \sum_{j \ne i} e^{S_{ij}}\Big)

    with :func:`cap` :math:`c_K`. A lower bound on :math:`I(x; y)` for every critic and every K if the negatives are
    draws of :math:`p(y)`. The best critic is :math:`\log p(y | x) / p(y)` plus any function of x. The bound can be
    tight only if :math:`\log K` exceeds the information; with the best critic its gap shrinks as K grows.

    Args:
        symmetric: whether to take the mean of the contrast among columns and of that among rows, as CLIP does. Needs a
            square matrix. Also a lower bound.

    Called with:
        scores. Without negatives (K = 1) the value is zero.

    Raises:
        ValueError: for scores of no valid form, and for a pair if ``symmetric``.

    Relations:
        :math:`\log K` minus PML's ``NTXentLoss``, where every sample of a view has its own label and temperature 1.

    Reference:
        van den Oord, Li, Vinyals, "Representation Learning with Contrastive Predictive Coding", arXiv:1807.03748, 2018.

    Example:
        >>> import torch
        >>> estimator = InfoNCE()
        >>> estimator(20 * torch.eye(8)), estimator.ceiling(8)
        (tensor(2.0794), 2.0794415416798357)
    """

    is_lower_bound = True

    def __init__(self, symmetric: bool = False) -> None:
        super().__init__()
        self.symmetric = symmetric

    def per_row(self, scores: Scores) -> Tensor:
        """Return :math:`I_i`, ``(R,)``; the mean of the two directions at each diagonal entry if symmetric."""
        if not self.symmetric:
            return infonce_rows(scores)
        if not isinstance(scores, Tensor):
            raise ValueError("scores must be a square matrix for symmetric=True, got a pair (positives, negatives)")
        return (infonce_rows(scores) + infonce_rows(scores.mT)) / 2

    def extra_repr(self) -> str:
        return "symmetric=True" if self.symmetric else ""
