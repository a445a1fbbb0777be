r"""Upper bounds, for scores that are log-densities of y given x."""

from __future__ import annotations

from torch import Tensor

from pml_proxyext.information.donsker_varadhan import RowDonskerVaradhan
from pml_proxyext.information.estimator import MutualInformationEstimator
from pml_proxyext.information.scores import Scores, split_scores

__all__ = ["CLUB", "L1Out"]


class CLUB(MutualInformationEstimator):
    r"""How much likelier y is given its own x than given another's: a loose upper bound.

    .. math::
        I_i = S_{ii} - \frac{1}{K - 1} \sum_{j \ne i} S_{ij}, \qquad S_{ij} = \log q(y_j | x_i)

    An upper bound if :math:`q = p`, or if q is so good that it is nearer to :math:`p(x, y)` than to
    :math:`p(x) p(y)` in the sense :math:`\mathrm{KL}(p(x, y) \| q) \le \mathrm{KL}(p(x) p(y) \| q)`; else nothing is
    known. Very loose where there is much information: between Gaussians of correlation :math:`\rho` in d dimensions it
    is :math:`d \rho^2 / (1 - \rho^2)`.

    Args:
        include_positive: whether the mean runs over all K candidates, as in the authors' code, which makes the value
            :math:`1 - 1/K` times as large. That is **no bound**.

    Called with:
        scores, log-densities. :meth:`loss` trains q by maximum likelihood: it is minus the mean score of the positives.
        To make x and y independent, minimise the value itself.

    Raises:
        ValueError: for scores of no valid form, and without negatives.

    Departs from the paper or the release:
        the release includes the positive; ``CLUB.as_released()`` does so, too.

    Reference:
        Cheng, Hao, Dai, Liu, Gan, Carin, "CLUB: A Contrastive Log-ratio Upper Bound of Mutual Information", ICML 2020,
        arXiv:2006.12013.

    Example:
        >>> import torch
        >>> CLUB()(3 * torch.eye(4)), CLUB.as_released()(3 * torch.eye(4))
        (tensor(3.), tensor(2.2500))
    """

    def __init__(self, include_positive: bool = False) -> None:
        super().__init__()
        self.include_positive = include_positive
        self.is_upper_bound = not include_positive

    @classmethod
    def as_released(cls) -> CLUB:
        """Return the estimator of the authors' code."""
        return cls(include_positive=True)

    def per_row(self, scores: Scores) -> Tensor:
        """Return :math:`I_i`, ``(R,)``."""
        positive, negatives = split_scores(scores)
        rows = positive - negatives.mean(1)
        count = negatives.shape[1]
        return rows * (count / (count + 1)) if self.include_positive else rows

    def loss(self, scores: Scores) -> Tensor:
        """Return the negative log-likelihood of q, the mean over the positives."""
        return -split_scores(scores)[0].mean()

    def extra_repr(self) -> str:
        return "include_positive=True" if self.include_positive else ""


class L1Out(MutualInformationEstimator):
    r"""Leave one out: y's density given its own x against the mixture of the densities given the others.

    .. math::
        I_i = S_{ii} - \log \frac{1}{K - 1} \sum_{j \ne i} e^{S_{ji}}, \qquad S_{ji} = \log q(y_i | x_j)

    An upper bound if :math:`q = p`, much tighter than :class:`CLUB`, which is never below it on the same scores. Note
    the indices: the sum runs down a **column**, over other x's for the same y.

    Called with:
        scores, log-densities: a square matrix, or the pair of :math:`\log q(y_i | x_i)` ``(R,)`` and of the same
        :math:`y_i` under other x's ``(R, n)``. :meth:`loss` is that of :class:`CLUB`.

    Raises:
        ValueError: for scores of no valid form, and without negatives.

    Reference:
        Poole, Ozair, van den Oord, Alemi, Tucker, "On Variational Bounds of Mutual Information", ICML 2019,
        arXiv:1905.06922.

    Example:
        >>> import torch
        >>> L1Out().per_row(torch.tensor([[2.0, 0.0], [1.0, 1.5]]))
        tensor([1.0000, 1.5000])
    """

    is_upper_bound = True

    def per_row(self, scores: Scores) -> Tensor:
        """Return :math:`I_i`, ``(R,)``."""
        return RowDonskerVaradhan().per_row(scores.mT if isinstance(scores, Tensor) else scores)

    def loss(self, scores: Scores) -> Tensor:
        """Return the negative log-likelihood of q, the mean over the positives."""
        return -split_scores(scores)[0].mean()
