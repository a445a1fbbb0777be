"""The estimators of mutual information in their order: NWJ, Donsker-Varadhan, by rows, leave-one-out, CLUB, and others.

All take one matrix of scores, whose diagonal is left out of the mean over negatives. Being larger does not make an
estimator nearer to the truth: what is a bound, and in which sense, is said at the estimators.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.information import AT_TEMPERATURE, ROW_DV, SCORES, num_pairs, score_matrix
from pml_proxyext.bounds.relation import Kind, Relation, Side
from pml_proxyext.information import (
    CLUB,
    NWJ,
    SMILE,
    TUBA,
    DonskerVaradhan,
    Interpolated,
    L1Out,
    MutualInformationEstimator,
    RowDonskerVaradhan,
)

__all__ = ["RELATIONS"]


def _estimate(name: str, estimator: MutualInformationEstimator) -> Side:
    return Side(name, lambda batch: estimator(score_matrix(batch)))


def _tuba(batch: BoundBatch) -> Tensor:
    return TUBA()(score_matrix(batch), batch["log_baseline"])


def _club_centred(batch: BoundBatch) -> Tensor:
    """Return CLUB of scores from which the first column and then the diagonal have been taken."""
    scores = score_matrix(batch)
    scores = scores - scores[:1]
    return CLUB()(scores - scores.diagonal()[:, None])


def _positive_scores(batch: BoundBatch) -> Tensor:
    """Return the scores of cosines plus 1, so that none is below zero."""
    return score_matrix(batch) + 1 / batch["temperature"]


def _smile(batch: BoundBatch) -> Tensor:
    return SMILE(batch["tau"])(score_matrix(batch))


def _mean_positive(batch: BoundBatch, taus: float) -> Tensor:
    return score_matrix(batch).diagonal().mean() + taus * batch["tau"]


def _interpolated(batch: BoundBatch) -> Tensor:
    return Interpolated(batch["alpha"])(score_matrix(batch))


def _interpolated_ceiling(batch: BoundBatch) -> Tensor:
    return batch.embeddings.new_tensor(Interpolated(batch["alpha"]).ceiling(num_pairs(batch)))


NWJ_SIDE = _estimate("NWJ estimate", NWJ())
DV = _estimate("Donsker-Varadhan estimate", DonskerVaradhan())
CLUB_SIDE = _estimate("CLUB estimate", CLUB())
L1OUT = _estimate("leave-one-out estimate", L1Out())
SMILE_SIDE = Side("SMILE estimate", _smile)
CLIPPED = {**AT_TEMPERATURE, "tau": Hyper(5.0, 0.1, 20.0)}

RELATIONS = (
    Relation(
        id="information.nwj_le_dv",
        title="NWJ is at most Donsker-Varadhan",
        statement=r"\hat I_{\mathrm{NWJ}} \le \hat I_{\mathrm{DV}}",
        source="Belghazi et al. 2018; Poole et al. 2019",
        proof="log x is at most x / e",
        labels=Labels.PAIRS,
        lhs=NWJ_SIDE,
        rhs=DV,
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.collapsed(torch.tensor([[1.0, 0.0], [0.5, 0.75**0.5]]), [2, 2], temperature=0.5),
    ),
    Relation(
        id="information.dv_le_row_dv",
        title="Donsker-Varadhan is at most Donsker-Varadhan by rows",
        statement=r"\hat I_{\mathrm{DV}} \le \hat I_{\mathrm{rDV}}",
        source="derived",
        proof="Jensen over rows: the logarithm of the mean of all exponentials is at least the mean of those of rows",
        labels=Labels.PAIRS,
        lhs=DV,
        rhs=ROW_DV,
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.tuba_le_row_dv",
        title="TUBA is at most Donsker-Varadhan by rows, whatever the baseline",
        statement=r"\hat I_{\mathrm{TUBA}}(a) \le \hat I_{\mathrm{rDV}}",
        source="derived from Poole et al. 2019",
        proof="log x is at most x / a + log a - 1, with equality where the baseline a is the mean of the row",
        labels=Labels.PAIRS,
        lhs=Side("TUBA estimate", _tuba),
        rhs=ROW_DV,
        hyper={**AT_TEMPERATURE, "log_baseline": Hyper(1.0, -5.0, 5.0)},
        assumptions=f"{SCORES} One baseline for all rows.",
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5, log_baseline=0.0),
    ),
    Relation(
        id="information.row_dv_le_club",
        title="Donsker-Varadhan by rows is at most CLUB",
        statement=r"\hat I_{\mathrm{rDV}} \le \hat I_{\mathrm{CLUB}}",
        source="derived",
        proof="Jensen: the logarithm of a mean is at least the mean of the logarithms",
        labels=Labels.PAIRS,
        lhs=ROW_DV,
        rhs=CLUB_SIDE,
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.l1out_eq_row_dv",
        title="The leave-one-out estimate is Donsker-Varadhan by columns",
        statement=r"\hat I_{\mathrm{L1Out}}(S) = \hat I_{\mathrm{rDV}}(S^\top)",
        source="derived from Poole et al. 2019",
        proof="both average the exponentials of a column, the positive left out",
        labels=Labels.PAIRS,
        lhs=L1OUT,
        rhs=Side("column-wise Donsker-Varadhan estimate", lambda batch: RowDonskerVaradhan()(score_matrix(batch).t())),
        kind=Kind.EQUAL,
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.l1out_le_club",
        title="The leave-one-out estimate is at most CLUB",
        statement=r"\hat I_{\mathrm{L1Out}} \le \hat I_{\mathrm{CLUB}}",
        source="derived",
        proof="Jensen within each column",
        labels=Labels.PAIRS,
        lhs=L1OUT,
        rhs=CLUB_SIDE,
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.club_shift",
        title="CLUB sees neither what is added to a row nor what is added to a column",
        statement=r"\hat I_{\mathrm{CLUB}}(S_{ij}) = \hat I_{\mathrm{CLUB}}(S_{ij} - b_j - a_i)",
        source="elementary",
        proof="each row and each column has as large a share of the positives as of the negatives",
        labels=Labels.PAIRS,
        lhs=CLUB_SIDE,
        rhs=Side("CLUB estimate of shifted scores", _club_centred),
        kind=Kind.EQUAL,
        hyper=AT_TEMPERATURE,
        assumptions=f"{SCORES} Taken away: the first row from all rows, then the diagonal from all columns.",
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.smile_ceiling",
        title="SMILE exceeds the mean score of positives by at most the clip",
        statement=r"\hat I_{\mathrm{SMILE}} \le \overline{S_{ii}} + \tau_c",
        source="derived from Song and Ermon 2020",
        proof="clipped scores are at least minus the clip",
        labels=Labels.PAIRS,
        lhs=SMILE_SIDE,
        rhs=Side("mean score of positives", lambda batch: _mean_positive(batch, 1.0), "+ tau"),
        hyper=CLIPPED,
        assumptions=SCORES,
        witness=lambda: witnesses.poles([2, 2], temperature=0.2, tau=5.0),
        constant="the factor 1 of the clip",
        mutated=lambda batch: (_smile(batch), _mean_positive(batch, 0.99)),
    ),
    Relation(
        id="information.smile_floor",
        title="SMILE falls short of the mean score of positives by at most the clip",
        statement=r"\overline{S_{ii}} - \tau_c \le \hat I_{\mathrm{SMILE}}",
        source="derived from Song and Ermon 2020",
        proof="clipped scores are at most the clip",
        labels=Labels.PAIRS,
        lhs=Side("mean score of positives", lambda batch: _mean_positive(batch, -1.0), "- tau"),
        rhs=SMILE_SIDE,
        hyper=CLIPPED,
        assumptions=SCORES,
        witness=lambda: witnesses.collapsed(torch.ones(3, 2), [2, 2, 2], temperature=0.2, tau=5.0),
        constant="the factor 1 of the clip",
        mutated=lambda batch: (_mean_positive(batch, -0.99), _smile(batch)),
    ),
    Relation(
        id="information.dv_le_smile",
        title="SMILE is at least Donsker-Varadhan where no score is below minus the clip",
        statement=r"\hat I_{\mathrm{DV}}(S + \tfrac1\tau) \le \hat I_{\mathrm{SMILE}}(S + \tfrac1\tau)",
        source="derived from Song and Ermon 2020",
        proof="clipping then only lowers the scores of negatives; equal where the clip is above them all",
        labels=Labels.PAIRS,
        lhs=Side("Donsker-Varadhan estimate of scores above zero", lambda b: DonskerVaradhan()(_positive_scores(b))),
        rhs=Side("SMILE estimate of scores above zero", lambda b: SMILE(b["tau"])(_positive_scores(b))),
        hyper=CLIPPED,
        assumptions="Scores are cosines plus 1 of the first and the second sample of each class, divided by the "
        "temperature.",
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5, tau=5.0),
    ),
    Relation(
        id="information.interpolated_eq_nwj",
        title="At the end of the baseline, the interpolated estimate is NWJ",
        statement=r"\hat I_{\alpha = 0} = \hat I_{\mathrm{NWJ}}",
        source="Poole et al. 2019",
        proof="its baseline is then the constant e",
        labels=Labels.PAIRS,
        lhs=_estimate("interpolated estimate, alpha = 0", Interpolated(0.0)),
        rhs=NWJ_SIDE,
        kind=Kind.EQUAL,
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.interpolated_ceiling",
        title="The interpolated estimate has a ceiling unless it is all baseline",
        statement=r"\hat I_\alpha \le \log\tfrac{K - 1}{\alpha} + 1_{\alpha < 1}",
        source="derived; Poole et al. 2019 for alpha = 1",
        proof="the positive is in each of its own denominators. With alpha = 1 the last term is 1 and cancels",
        labels=Labels.PAIRS,
        lhs=Side("interpolated estimate", _interpolated),
        rhs=Side("ceiling of the interpolated estimate", _interpolated_ceiling),
        hyper={**AT_TEMPERATURE, "alpha": Hyper(0.5, 0.1, 1.0)},
        assumptions=SCORES,
        witness=lambda: witnesses.simplex(3, 2, temperature=0.05, alpha=1.0),
    ),
)
