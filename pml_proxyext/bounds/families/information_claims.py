"""What estimators of mutual information are taken for and are not, with joint distributions that show it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pml_proxyext.bounds.assumptions import Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.information_expectations import CONDITIONAL, INFORMATION, TWO_NEGATIVES
from pml_proxyext.bounds.families.information_joint import (
    Contrasts,
    best_critics,
    critic,
    expected,
    marginal,
    sum_of_best,
    table,
)
from pml_proxyext.bounds.families.mutual_information import small_joint
from pml_proxyext.bounds.relation import Kind, Relation, Scope, Side
from pml_proxyext.information import CLUB, CNCEBoosted, CNCEImportance, InfoNCE, RowDonskerVaradhan

__all__ = ["RELATIONS"]


def _importance_best(batch: BoundBatch) -> Tensor:
    return expected(batch, CNCEImportance(), *best_critics(batch))


def _demi_best(batch: BoundBatch) -> Tensor:
    psi, phi = best_critics(batch)
    return expected(batch, InfoNCE(), psi) + expected(batch, CNCEImportance(), psi, phi)


def _row_dv_best(batch: BoundBatch) -> Tensor:
    return expected(batch, RowDonskerVaradhan(), sum_of_best(batch))


def _increment(batch: BoundBatch) -> Tensor:
    """Return what the rest of a row adds to a critic of x' that knows nothing."""
    phi = critic(batch, 1.0)
    psi = torch.zeros_like(phi)
    return expected(batch, CNCEBoosted(), psi, phi) - expected(batch, InfoNCE(), psi)


def _club_of_critic(batch: BoundBatch) -> Tensor:
    return expected(batch, CLUB(), critic(batch, 0.1).log_softmax(1))


def _infonce_of_other_classes(batch: BoundBatch) -> Tensor:
    """Return InfoNCE of the best critic, with negatives of all classes but the likeliest one of the row."""
    log_p = small_joint(batch)
    is_own = one_hot(log_p.argmax(1), log_p.shape[1]).bool()
    contrasts = Contrasts.of(log_p, marginal(log_p).masked_fill(is_own, -torch.inf).log_softmax(1))
    return contrasts.mean(InfoNCE().per_row(contrasts.scores(sum_of_best(batch))))


def _rare_rows() -> BoundBatch:
    """Return halves that tell all about y, but for a rare row in each, which has the y of the other half."""
    return table([-20, -9, -20], [0, -20, -20], [-9, -20, -20], [-20, 0, -20])


def _two_classes() -> BoundBatch:
    """Return rows that are of one of two classes for certain; hardly any is of the third."""
    return table([0, -20, -20], [0, -20, -20], [-20, 0, -20], [-20, 0, -20])


def _tilted() -> BoundBatch:
    return table([0, -2, -1], [-1, 0, -3], [-2, -1, 0], [-1, -1, -1])


RELATIONS = (
    Relation(
        id="information.importance_claim",
        title="The estimate by importance weights is at most the conditional mutual information",
        statement=r"\mathbb E\, \hat I_{\mathrm{IS}} \le I(X; Y \mid X')",
        source="natural; true of true conditional negatives, information.expected_cnce",
        proof="a row whose negatives all are unlikely given x' weights them as if they were likely. Both critics are "
        "the best ones",
        labels=Labels.PROXY_ANY,
        lhs=Side("expected conditional estimate by importance weights", _importance_best),
        rhs=CONDITIONAL,
        kind=Kind.REFUTED,
        scope=Scope.EXPECTATION,
        assumptions=TWO_NEGATIVES,
        witness=_rare_rows,
    ),
    Relation(
        id="information.demi_claim",
        title="The DEMI estimate is at most the mutual information",
        statement=r"\mathbb E[\hat I_{\mathrm{NCE}} + \hat I_{\mathrm{IS}}] \le I(X; Y)",
        source="natural; true with infinitely many negatives",
        proof="information.importance_claim, by more than InfoNCE falls short. Both critics are the best ones",
        labels=Labels.PROXY_ANY,
        lhs=Side("expected DEMI estimate", _demi_best),
        rhs=INFORMATION,
        kind=Kind.REFUTED,
        scope=Scope.EXPECTATION,
        assumptions=TWO_NEGATIVES,
        witness=_rare_rows,
    ),
    Relation(
        id="information.row_dv_claim",
        title="Donsker-Varadhan by rows is at most the mutual information",
        statement=r"\mathbb E\, \hat I_{\mathrm{rDV}} \le I(X; Y)",
        source="natural; true of the expectation in the place of the mean of a row",
        proof="the logarithm of a mean of few negatives is too small on average. The critic is the best one",
        labels=Labels.PROXY_ANY,
        lhs=Side("expected row-wise Donsker-Varadhan estimate", _row_dv_best),
        rhs=INFORMATION,
        kind=Kind.REFUTED,
        scope=Scope.EXPECTATION,
        assumptions=TWO_NEGATIVES,
        witness=_tilted,
    ),
    Relation(
        id="information.increment_claim",
        title="What the conditional critic adds to InfoNCE is at most the conditional mutual information",
        statement=r"\mathbb E[\hat I_{\mathrm{BO}} - \hat I_{\mathrm{NCE}}] \le I(X; Y \mid X')",
        source="natural; true with the best critic of the subview and infinitely many negatives",
        proof="a difference of two lower bounds: where the critic of the subview knows nothing, the other one makes up "
        "for it",
        labels=Labels.PROXY_ANY,
        lhs=Side("expected increment of the boosted estimate", _increment),
        rhs=CONDITIONAL,
        kind=Kind.REFUTED,
        scope=Scope.EXPECTATION,
        assumptions=TWO_NEGATIVES,
        witness=_two_classes,
    ),
    Relation(
        id="information.club_claim",
        title="CLUB with a model of the conditional distribution is at least the mutual information",
        statement=r"I(X; Y) \le \mathbb E\, \hat I_{\mathrm{CLUB}}^q",
        source="natural; Cheng et al. 2020 ask for a good model",
        proof="a model that hardly depends on x gives hardly anything",
        labels=Labels.PROXY_ANY,
        lhs=INFORMATION,
        rhs=Side("expected CLUB estimate with a model", _club_of_critic),
        kind=Kind.REFUTED,
        scope=Scope.EXPECTATION,
        assumptions=TWO_NEGATIVES,
        witness=_tilted,
    ),
    Relation(
        id="information.other_classes_claim",
        title="InfoNCE with negatives of other classes is at most the mutual information",
        statement=r"\mathbb E\, \hat I_{\mathrm{NCE}}^{y_k \ne y} \le I(X; Y)",
        source="natural where a loss leaves out negatives of the same class, as PML's NT-Xent does",
        proof="negatives must be draws of p(y). With two classes the best critic tells all of them from the positive, "
        "and the estimate is log K however many there are",
        labels=Labels.PROXY_ANY,
        lhs=Side("expected InfoNCE estimate with negatives of other classes", _infonce_of_other_classes),
        rhs=INFORMATION,
        kind=Kind.REFUTED,
        scope=Scope.EXPECTATION,
        assumptions="K - 1 = 2 negatives of p(y) without the likeliest class of the row",
        witness=_two_classes,
    ),
)
