"""Which estimators of mutual information are bounds on average, by exact sums over small joint distributions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.information_joint import (
    Contrasts,
    conditional_information,
    critic,
    expected,
    given_half,
    marginal,
    mean_of_halves,
    sum_of_best,
    table,
)
from pml_proxyext.bounds.families.mutual_information import independence, small_information, small_joint
from pml_proxyext.bounds.relation import Kind, Relation, Scope, Side
from pml_proxyext.information import CLUB, CNCE, NWJ, CNCEBoosted, CNCEVariational, InfoNCE, L1Out

__all__ = ["CONDITIONAL", "INFORMATION", "RELATIONS", "TWO_NEGATIVES"]


def _kl_to_model(batch: BoundBatch) -> tuple[Tensor, Tensor]:
    """Return a model q of y given x', as logarithms for each row, and the divergence of the truth from it by row."""
    log_p = small_joint(batch)
    log_q = mean_of_halves(batch, 0.5).log_softmax(1)
    truth = given_half(log_p)
    return log_q, (truth.exp() * (truth - log_q)).sum(1)


def _cnce(batch: BoundBatch) -> Tensor:
    log_p = small_joint(batch)
    contrasts = Contrasts.of(log_p, given_half(log_p))
    return contrasts.mean(CNCE().per_row(contrasts.scores(critic(batch, 0.7))))


def _cnce_of_a_model(batch: BoundBatch) -> Tensor:
    log_q, divergence = _kl_to_model(batch)
    contrasts = Contrasts.of(small_joint(batch), log_q)
    per_row = CNCEVariational().per_row(contrasts.scores(critic(batch, 0.7)), divergence[contrasts.row])
    return contrasts.mean(per_row)


def _boosted(batch: BoundBatch) -> Tensor:
    return expected(batch, CNCEBoosted(), mean_of_halves(batch, 0.5), critic(batch, 0.3))


def _nwj(batch: BoundBatch) -> Tensor:
    """Return NWJ with a multiple of the best critic, clipped where a density all but vanishes."""
    return expected(batch, NWJ(), 1 + batch["sharpness"] * sum_of_best(batch).clamp(-20, 20))


def _club(batch: BoundBatch) -> Tensor:
    return expected(batch, CLUB(), small_joint(batch).log_softmax(1))


def _l1out(batch: BoundBatch) -> Tensor:
    """Return the leave-one-out estimate of the true conditional distribution; its negatives are other rows."""
    of_columns = small_joint(batch).t()
    contrasts = Contrasts.of(of_columns, marginal(of_columns))
    return contrasts.mean(L1Out().per_row(contrasts.scores(of_columns.log_softmax(0))))


def _infonce_best(batch: BoundBatch) -> Tensor:
    return expected(batch, InfoNCE(), sum_of_best(batch))


def _infonce_best_of_two(batch: BoundBatch) -> Tensor:
    """Return InfoNCE of the best critic with one negative."""
    log_p = small_joint(batch)
    contrasts = Contrasts.of(log_p, marginal(log_p))
    positive, negatives = contrasts.scores(sum_of_best(batch))
    return contrasts.mean(InfoNCE().per_row((positive, negatives[:, :1])))


def _mixed_entropy(batch: BoundBatch) -> Tensor:
    """Return E[m log m], with m the mean ratio of densities of three candidates that are all independent of the row."""
    log_p = small_joint(batch)
    independent = log_p.logsumexp(1, keepdim=True) + marginal(log_p)
    contrasts = Contrasts.of(independent, marginal(log_p))
    positive, negatives = contrasts.scores(sum_of_best(batch))
    log_mean = torch.cat([positive[:, None], negatives], dim=1).logsumexp(1) - math.log(3)
    # The ratio alone overflows for a row that is rare enough.
    return ((contrasts.log_probability + log_mean).exp() * log_mean).sum()


def _tilted() -> BoundBatch:
    return table([0, -2, -1], [-1, 0, -3], [-2, -1, 0], [-1, -1, -1], sharpness=1.0)


INFORMATION = Side("mutual information of the first rows and classes", small_information)
CONDITIONAL = Side("conditional mutual information of the first rows and classes", conditional_information)
TWO_NEGATIVES = "K - 1 = 2 negatives that are independent of the row"
GENEROUS = math.log(1.01)
"""What a ceiling of log(1.01 K) in the place of log K adds to a contrast."""

RELATIONS = (
    Relation(
        id="information.expected_cnce",
        title="With true conditional negatives, InfoNCE is at most the conditional mutual information",
        statement=r"\mathbb E\, \hat I_{\mathrm{CNCE}} \le I(X; Y \mid X')",
        source="Sordoni et al. 2021",
        proof="Donsker-Varadhan given x', with the candidates of a row exchangeable under the reference",
        labels=Labels.PROXY_ANY,
        lhs=Side("expected conditional InfoNCE estimate", _cnce),
        rhs=CONDITIONAL,
        scope=Scope.EXPECTATION,
        assumptions="K - 1 = 2 negatives drawn from p(y | x')",
        witness=independence,
        constant="K",
        mutated=lambda batch: (_cnce(batch) + GENEROUS, conditional_information(batch)),
    ),
    Relation(
        id="information.expected_cnce_of_a_model",
        title="With negatives of a model, InfoNCE minus the divergence is at most the conditional mutual information",
        statement=r"\mathbb E\, \hat I_{\mathrm{VAR}} \le I(X; Y \mid X')",
        source="Sordoni et al. 2021",
        proof="as information.expected_cnce, with a reference that is further off by the divergence",
        labels=Labels.PROXY_ANY,
        lhs=Side("expected conditional InfoNCE estimate with a model", _cnce_of_a_model),
        rhs=CONDITIONAL,
        scope=Scope.EXPECTATION,
        assumptions="K - 1 = 2 negatives drawn from a model q(y | x')",
        witness=independence,
        constant="K",
        mutated=lambda batch: (_cnce_of_a_model(batch) + GENEROUS, conditional_information(batch)),
    ),
    Relation(
        id="information.expected_boosted",
        title="The boosted estimate is at most the whole mutual information",
        statement=r"\mathbb E\, \hat I_{\mathrm{BO}} \le I(X; Y)",
        source="Sordoni et al. 2021; that it bounds the whole, not the conditional part, is derived",
        proof="it is InfoNCE with the sum of both critics",
        labels=Labels.PROXY_ANY,
        lhs=Side("expected boosted estimate", _boosted),
        rhs=INFORMATION,
        scope=Scope.EXPECTATION,
        assumptions=TWO_NEGATIVES,
        witness=independence,
        constant="K",
        mutated=lambda batch: (_boosted(batch) + GENEROUS, small_information(batch)),
    ),
    Relation(
        id="information.expected_nwj",
        title="NWJ is at most the mutual information, and equal to it with the best critic",
        statement=r"\mathbb E\, \hat I_{\mathrm{NWJ}} \le I(X; Y)",
        source="Nguyen et al. 2010",
        proof="log x is at most x / e, with equality at 1 plus the logarithm of the ratio of densities",
        labels=Labels.PROXY_ANY,
        lhs=Side("expected NWJ estimate", _nwj),
        rhs=INFORMATION,
        scope=Scope.EXPECTATION,
        hyper={"sharpness": Hyper(1.0, 0.0, 2.0)},
        assumptions="The critic is 1 plus a multiple of the best one, its sharpness, clipped to 20 nats",
        witness=_tilted,
    ),
    Relation(
        id="information.expected_club",
        title="CLUB with the true conditional distribution is at least the mutual information",
        statement=r"I(X; Y) \le \mathbb E\, \hat I_{\mathrm{CLUB}}",
        source="Cheng et al. 2020",
        proof="Jensen: the mean of log p(y | x) over x is at most log p(y)",
        labels=Labels.PROXY_ANY,
        lhs=INFORMATION,
        rhs=Side("expected CLUB estimate", _club),
        scope=Scope.EXPECTATION,
        assumptions=TWO_NEGATIVES,
    ),
    Relation(
        id="information.expected_l1out",
        title="The leave-one-out estimate with the true conditional distribution is at least the mutual information",
        statement=r"I(X; Y) \le \mathbb E\, \hat I_{\mathrm{L1Out}}",
        source="Poole et al. 2019",
        proof="Jensen: the mean of log(mean of p(y | x)) over rows x is at most log p(y)",
        labels=Labels.PROXY_ANY,
        lhs=INFORMATION,
        rhs=Side("expected leave-one-out estimate", _l1out),
        scope=Scope.EXPECTATION,
        assumptions="two other rows, independent of the class",
    ),
    Relation(
        id="information.infonce_gap",
        title="What InfoNCE with the best critic misses is the mean of m log m of independent candidates",
        statement=r"I(X; Y) - \mathbb E\, \hat I_{\mathrm{NCE}}^{*} = \mathbb E_{p(x) \prod_k p(y_k)}[m \log m], "
        r"\quad m = \frac1K \sum_{k=1}^K \frac{p(y_k \mid x)}{p(y_k)}",
        source="derived",
        proof="the positive of K candidates is any of them, each in the K-th part of the cases",
        labels=Labels.PROXY_ANY,
        lhs=Side(
            INFORMATION.name,
            lambda batch: small_information(batch) - _infonce_best(batch),
            "minus the expected InfoNCE estimate with the best critic",
        ),
        rhs=Side("mean of m log m of candidates", _mixed_entropy),
        kind=Kind.EQUAL,
        scope=Scope.EXPECTATION,
        assumptions=TWO_NEGATIVES,
        witness=_tilted,
    ),
    Relation(
        id="information.more_candidates",
        title="With the best critic, InfoNCE is larger on average with one candidate more",
        statement=r"\mathbb E\, \hat I_{\mathrm{NCE}}^{*, K} \le \mathbb E\, \hat I_{\mathrm{NCE}}^{*, K + 1}",
        source="derived",
        proof="what is missing, information.infonce_gap, is the mean of a convex function of a mean of K, and means "
        "over more vary less",
        labels=Labels.PROXY_ANY,
        lhs=Side("expected InfoNCE estimate with the best critic and one negative", _infonce_best_of_two),
        rhs=Side("expected InfoNCE estimate with the best critic", _infonce_best),
        scope=Scope.EXPECTATION,
        assumptions="K = 2, and negatives that are independent of the row",
    ),
)
