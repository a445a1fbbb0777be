r"""Contrastive estimates of :math:`I(x; y | x')`, which differ in where the negatives come from."""

from __future__ import annotations

import math

from torch import Tensor

from pml_proxyext.information.contrastive import ContrastiveEstimator, contrast_rows, infonce_rows
from pml_proxyext.information.scores import Scores, add_scores, detach_scores, split_alike, split_scores

__all__ = ["CNCE", "CNCEBoosted", "CNCEImportance", "CNCEVariational"]


class CNCE(ContrastiveEstimator):
    r"""Contrast with true conditional negatives: a lower bound on :math:`I(x; y | x')`.

    .. math::
        I_i = \log \frac{e^{\phi_{i1}}}{\frac1K \sum_{k=1}^K e^{\phi_{ik}}}, \qquad y_2, \dots, y_K \sim p(y | x'_i)

    The formula of :class:`InfoNCE` with negatives drawn given the subview :math:`x'_i`, and a bound for the same
    reason, for every critic and every K. The best critic is :math:`\log p(y | x, x') / p(y | x')` plus any function of
    x and x'. If x' is a class label, the other samples of the class are such negatives.

    Called with:
        scores as a pair (positives, negatives). The negatives of a square matrix would be draws of :math:`p(y)`, so it
        is refused. Without negatives (K = 1) the value is zero.

    Raises:
        ValueError: for a square matrix, and scores of no valid form.

    Reference:
        Sordoni, Dziri, Schulz, Gordon, Bachman, Tachet des Combes, "Decomposed Mutual Information Estimation for
        Contrastive Representation Learning", ICML 2021, arXiv:2106.13401.

    Example:
        >>> import torch
        >>> CNCE()((torch.tensor([1.0, 2.0]), torch.zeros(2, 7)))
        tensor(1.1092)
    """

    is_lower_bound = True

    def per_row(self, scores: Scores) -> Tensor:
        """Return :math:`I_i`, ``(R,)``."""
        return _rows_of_pair(scores)


def _rows_of_pair(scores: Scores) -> Tensor:
    if isinstance(scores, Tensor):
        raise ValueError(
            "scores must be a pair (positives (R,), negatives (R, n) drawn given x'), "
            f"got a tensor of shape {tuple(scores.shape)}, whose negatives would be draws of p(y)"
        )
    return infonce_rows(scores)


class CNCEVariational(ContrastiveEstimator):
    r"""Contrast with negatives of a model q: a lower bound on :math:`I(x; y | x')` once its divergence is subtracted.

    .. math::
        I_i = \log \frac{e^{\phi_{i1}}}{\frac1K \sum_{k=1}^K e^{\phi_{ik}}}
              - \mathrm{KL}\big(p(y | x'_i) \,\|\, q(y | x'_i)\big), \qquad y_2, \dots, y_K \sim q(y | x'_i)

    A bound for every critic, every K and every q; with the best critic and K to infinity it is tight whatever q is.
    Without the divergence, which is seldom known, the value is no bound. To train the critic no divergence is needed:
    use the loss of :class:`CNCE`; and fit q by maximum likelihood, which lowers the divergence.

    Called with:
        scores as a pair (positives, negatives of q), and ``kl_per_row`` ``(R,)``.

    Raises:
        ValueError: as :class:`CNCE`, and if ``kl_per_row`` has another shape than the positives.

    Reference:
        as :class:`CNCE`.

    Example:
        >>> import torch
        >>> CNCEVariational()((torch.tensor([1.0, 2.0]), torch.zeros(2, 7)), torch.tensor([0.1, 0.3]))
        tensor(0.9092)
    """

    is_lower_bound = True

    def per_row(self, scores: Scores, kl_per_row: Tensor) -> Tensor:
        """Return :math:`I_i`, ``(R,)``."""
        rows = _rows_of_pair(scores)
        if kl_per_row.shape != rows.shape:
            raise ValueError(
                f"kl_per_row must have one number for each row of scores, got shape {tuple(kl_per_row.shape)} "
                f"for {len(rows)} rows"
            )
        return rows - kl_per_row


class CNCEImportance(ContrastiveEstimator):
    r"""Contrast with weighted draws of p(y) for conditional negatives. **Not a bound** at any finite K.

    .. math::
        I_i = c_K\Big(\phi_{ii} - \log \sum_{j \ne i} w_{ij} e^{\phi_{ij}}\Big), \qquad
        w_{ij} = \frac{e^{\psi_{ij}}}{\sum_{l \ne i} e^{\psi_{il}}}

    with :func:`cap` :math:`c_K`. It estimates :math:`I(x; y | x')` from the negatives that :class:`InfoNCE` on
    :math:`\psi` has anyway, and their sum estimates the whole :math:`I(x; y)` below :math:`2 \log K`. Even with the
    best critics both exceed the truth at finite K where few negatives have all the weight: report
    :func:`effective_sample_size`, and call the number an estimate. As K grows the sum becomes a lower bound for every
    :math:`\psi` and :math:`\phi`; this part alone only with the best :math:`\psi`.

    The value has a gradient with respect to both scores. :meth:`loss` takes :math:`\psi` for a constant, since
    :math:`\psi` has a task of its own. A critic :math:`\phi` trained on this very loss learns to exploit the noise of
    the weights; train it by :class:`CNCEBoosted` and evaluate it here.

    Called with:
        psi, the scores of the subview, and phi, the scores of the whole; alike in form and shape. Without negatives
        (K = 1) the value is zero.

    Raises:
        ValueError: for scores of no valid form or of different shapes.

    Reference:
        as :class:`CNCE`; the formula is a reconstruction.

    Example:
        >>> import torch
        >>> from pml_proxyext.information import InfoNCE
        >>> psi, phi = torch.zeros(4, 4), 2 * torch.eye(4)
        >>> torch.isclose(CNCEImportance()(psi, phi), InfoNCE()(phi))  # equal weights: nothing is known of y yet
        tensor(True)
    """

    def per_row(self, psi: Scores, phi: Scores) -> Tensor:
        """Return :math:`I_i`, ``(R,)``."""
        positive, log_mean, num_negatives = _weighted(psi, phi)
        # Without negatives the logarithm of the mean is that of nothing, and must stay so.
        return contrast_rows(positive, log_mean + math.log(max(num_negatives, 1)), num_negatives + 1)

    def uncapped(self, psi: Scores, phi: Scores) -> Tensor:
        r"""Return :math:`\phi_{ii} - \log \sum_{j \ne i} w_{ij} e^{\phi_{ij}}`, ``(R,)``.

        Added to the rows of :class:`RowDonskerVaradhan` at psi, it gives those at psi + phi, exactly.
        """
        split_scores(psi, "psi")  # refuses K = 1, where there is no such value
        positive, log_mean, _ = _weighted(psi, phi)
        return positive - log_mean

    def loss(self, psi: Scores, phi: Scores) -> Tensor:
        """Return minus the value, with psi as a constant."""
        return -self(detach_scores(psi), phi)


def _weighted(psi: Scores, phi: Scores) -> tuple[Tensor, Tensor, int]:
    """Return the positives of phi, the weighted mean exponential of its negatives as a logarithm, and their number."""
    (_, psi_negatives), (positive, negatives) = split_alike(psi, phi)
    return positive, (psi_negatives.log_softmax(1) + negatives).logsumexp(1), negatives.shape[1]


class CNCEBoosted(ContrastiveEstimator):
    r"""InfoNCE with the sum of two critics: a lower bound on the **total** :math:`I(x, x'; y)`, not on a part of it.

    .. math::
        I_i = \log \frac{e^{\psi_{ii} + \phi_{ii}}}{\frac1K \sum_j e^{\psi_{ij} + \phi_{ij}}}

    With :math:`\psi` held fixed, the :math:`\phi` that maximises it is :math:`\log p(y | x, x') / p(y | x')` plus any
    function of x and x', as if the negatives were conditional, if :math:`\psi` is best. That makes its loss the way to
    train a conditional critic. Its value counts :math:`I(x'; y)`; added to :class:`InfoNCE` of :math:`\psi`, it would
    count it twice.

    Called with:
        psi, the scores of the subview, and phi, the scores of the whole; alike in form and shape. :meth:`loss` takes
        psi for a constant. Without negatives (K = 1) the value is zero.

    Raises:
        ValueError: for scores of no valid form or of different shapes.

    Reference:
        as :class:`CNCE`; that the authors train by a boosted critic we know from a third party, the formula is a
        reconstruction.

    Example:
        >>> import torch
        >>> from pml_proxyext.information import InfoNCE
        >>> psi, phi = torch.eye(4), 2 * torch.eye(4)
        >>> torch.isclose(CNCEBoosted()(psi, phi), InfoNCE()(psi) + CNCEBoosted().increment(psi, phi).mean())
        tensor(True)
    """

    is_lower_bound = True

    def per_row(self, psi: Scores, phi: Scores) -> Tensor:
        """Return :math:`I_i`, ``(R,)``."""
        return infonce_rows(add_scores(psi, phi))

    def increment(self, psi: Scores, phi: Scores) -> Tensor:
        r"""Return what :math:`\phi` adds to :class:`InfoNCE` of :math:`\psi`, ``(R,)``. **Not a bound** of any part.

        It is :class:`CNCEImportance` with the positive among the weighted, up to the cap:
        :math:`\phi_{ii} - \log \sum_j v_{ij} e^{\phi_{ij}}` with v the softmax of :math:`\psi` over all candidates.
        """
        return self.per_row(psi, phi) - infonce_rows(psi)

    def loss(self, psi: Scores, phi: Scores) -> Tensor:
        """Return minus the value, with psi as a constant."""
        return -self(detach_scores(psi), phi)
