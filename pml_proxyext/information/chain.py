r"""The chain rule: one view in several more and more informed subviews, one estimate for each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pml_proxyext.information.conditional import CNCE, CNCEBoosted, CNCEImportance
from pml_proxyext.information.contrastive import infonce_rows
from pml_proxyext.information.estimator import MutualInformationEstimator
from pml_proxyext.information.scores import Scores, add_scores
from pml_proxyext.utils.checks import check_integer

__all__ = ["Chain"]


class Chain(MutualInformationEstimator):
    r"""InfoNCE on the first subview, and a conditional estimate of what each further subview adds.

    .. math::
        I(x^1, \dots, x^T; y) = I(x^1; y) + \sum_{t=2}^T I(x^t; y | x^1, \dots, x^{t-1}) \le I(x; y)

    for subviews :math:`x^t` computed from x; the sum is all of :math:`I(x; y)` if one of them is x. Each part has its
    own ceiling :math:`\log K`, and so the sum :math:`T \log K`, where :class:`InfoNCE` stops at :math:`\log K`.

    Args:
        conditional: the estimator of all parts but the first.

            - :class:`CNCE`: a lower bound; each part brings its own conditional negatives.
            - :class:`CNCEImportance`: an estimate, **not a bound**; the same negatives for all parts.
            - :class:`CNCEBoosted`: trains each part by its total, and counts it in the value by its ``increment``, so
              that the sum is InfoNCE of the sum of all critics: a lower bound, with the ceiling :math:`\log K` only.
              Train so, and evaluate with :class:`CNCEImportance`.
        num_stages: :math:`T`, the number of subviews.

    Called with:
        a list of T scores, those of part t of the critic that is to add what :math:`x^t` tells beyond the earlier ones.
        Where negatives are shared, the sum of all earlier scores, detached in :meth:`loss`, is the critic
        :math:`\psi` of part t.

    Raises:
        ValueError: for another estimator, a wrong number of scores, scores of no valid form, and if they differ in
            their number of rows (in their shapes, where negatives are shared).

    Reference:
        Sordoni, Dziri, Schulz, Gordon, Bachman, Tachet des Combes, "Decomposed Mutual Information Estimation for
        Contrastive Representation Learning", ICML 2021, arXiv:2106.13401.

    Example:
        >>> scores = [5 * torch.eye(8), 6 * torch.eye(8), 7 * torch.eye(8)]
        >>> chain = Chain(CNCEImportance(), num_stages=3)
        >>> chain(scores), chain.ceiling(8)
        (tensor(6.1687), 6.238324625039507)
    """

    def __init__(self, conditional: CNCE | CNCEImportance | CNCEBoosted, num_stages: int = 2) -> None:
        super().__init__()
        if not isinstance(conditional, CNCE | CNCEImportance | CNCEBoosted):
            raise ValueError(
                f"conditional must be a CNCE, CNCEImportance or CNCEBoosted, got {type(conditional).__name__}"
            )
        self.conditional = conditional
        self.num_stages = check_integer("num_stages", num_stages)
        self.is_lower_bound = conditional.is_lower_bound

    def per_stage(self, scores: Sequence[Scores]) -> Tensor:
        """Return the parts of the sum by row, ``(T, R)``."""
        scores = self._checked(scores)
        part = self.conditional.increment if isinstance(self.conditional, CNCEBoosted) else self.conditional.per_row
        parts = [infonce_rows(scores[0]), *(part(*arguments) for arguments in self._conditional_arguments(scores))]
        if len({rows.shape for rows in parts}) > 1:
            raise ValueError(f"scores must all have the same number of rows, got {[len(rows) for rows in parts]}")
        return torch.stack(parts)

    def per_row(self, scores: Sequence[Scores]) -> Tensor:
        """Return the sum of the parts, ``(R,)``."""
        return self.per_stage(scores).sum(0)

    def loss(self, scores: Sequence[Scores]) -> Tensor:
        """Return the sum of the losses of the parts, earlier scores being constants in later parts."""
        scores = self._checked(scores)
        losses = [self.conditional.loss(*arguments) for arguments in self._conditional_arguments(scores)]
        return torch.stack([-infonce_rows(scores[0]).mean(), *losses]).sum()

    def ceiling(self, num_candidates: int) -> float:
        stages = 1 if isinstance(self.conditional, CNCEBoosted) else self.num_stages
        return stages * self.conditional.ceiling(num_candidates)

    def extra_repr(self) -> str:
        return f"num_stages={self.num_stages}"

    def _checked(self, scores: Sequence[Scores]) -> Sequence[Scores]:
        if not isinstance(scores, Sequence) or len(scores) != self.num_stages:
            found = f"{len(scores)} of them" if isinstance(scores, Sequence) else type(scores).__name__
            raise ValueError(f"scores must be a list of {self.num_stages} scores, one for each stage, got {found}")
        return scores

    def _conditional_arguments(self, scores: Sequence[Scores]) -> list[tuple[Scores, ...]]:
        if isinstance(self.conditional, CNCE):
            return [(phi,) for phi in scores[1:]]
        arguments: list[tuple[Scores, ...]] = []
        psi = scores[0]
        for phi in scores[1:]:
            arguments.append((psi, phi))
            psi = add_scores(psi, phi)
        return arguments
