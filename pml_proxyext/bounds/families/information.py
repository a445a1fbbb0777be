r"""InfoNCE as an estimate of mutual information: its ceiling, and what it lies between on every batch.

A batch of pairs is read as two views, and a score is the cosine of a row of the first view and a row of the second one,
divided by the temperature. :math:`K` is the number of pairs, which is the number of candidates of a row.
"""

from __future__ import annotations

import math

import torch
from pytorch_metric_learning.losses import NTXentLoss
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.hyper import TEMPERATURE
from pml_proxyext.bounds.families.two_views import views
from pml_proxyext.bounds.relation import Kind, Relation, Side
from pml_proxyext.information import CLUB, NWJ, DonskerVaradhan, InfoNCE, L1Out, RowDonskerVaradhan, cap

__all__ = ["AT_TEMPERATURE", "INFONCE", "RELATIONS", "ROW_DV", "SCORES", "num_pairs", "off_share", "score_matrix"]

AT_TEMPERATURE = {"temperature": TEMPERATURE}
SCORES = "Scores are cosines of the first and the second sample of each class, divided by the temperature."


def score_matrix(batch: BoundBatch) -> Tensor:
    """Return ``(K, K)``, the scores of the first samples of the classes with the second ones."""
    first, second = views(batch.moved(batch.unit))
    return first @ second.t() / batch["temperature"]


def num_pairs(batch: BoundBatch) -> int:
    """Return K."""
    return len(batch) // 2


def off_share(batch: BoundBatch) -> float:
    """Return the share of the candidates of a row that are negatives, 1 - 1/K."""
    return 1 - 1 / num_pairs(batch)


def _infonce(batch: BoundBatch) -> Tensor:
    return InfoNCE()(score_matrix(batch))


def _infonce_of_columns(batch: BoundBatch) -> Tensor:
    return InfoNCE()(score_matrix(batch).t())


def _infonce_of_differences(batch: BoundBatch) -> Tensor:
    scores = score_matrix(batch)
    return InfoNCE()(scores - scores.diagonal()[:, None])


def _capped(batch: BoundBatch) -> Tensor:
    return cap(RowDonskerVaradhan().per_row(score_matrix(batch)), num_pairs(batch)).mean()


def _ntxent_one_way(batch: BoundBatch) -> Tensor:
    """Return NT-Xent of PML from the first view to the second one."""
    first, second = views(batch)
    ids = torch.arange(len(first), device=first.device)
    loss = NTXentLoss(temperature=batch["temperature"], reducer=MeanReducer())
    value: Tensor = loss(first, ids, None, second, ids.clone())  # one tensor would be a batch against itself
    return value


def _log_candidates(batch: BoundBatch) -> Tensor:
    return batch.embeddings.new_tensor(math.log(num_pairs(batch)))


def _with_positives(batch: BoundBatch) -> tuple[Tensor, Tensor]:
    """Return the scores with the positive of each row among its negatives."""
    scores = score_matrix(batch)
    return scores.diagonal(), scores


INFONCE = Side("InfoNCE estimate", _infonce)
ROW_DV = Side("row-wise Donsker-Varadhan estimate", lambda batch: RowDonskerVaradhan()(score_matrix(batch)))
WITH_POSITIVES = ", positives among the negatives"
DV_WITH_POSITIVES = Side(
    f"Donsker-Varadhan estimate{WITH_POSITIVES}", lambda batch: DonskerVaradhan()(_with_positives(batch))
)
RELEASED_CLUB = Side("CLUB estimate, as released", lambda batch: CLUB.as_released()(score_matrix(batch)))

RELATIONS = (
    Relation(
        id="information.infonce_eq_ntxent",
        title="The InfoNCE estimate is the logarithm of the number of candidates minus NT-Xent from view to view",
        statement=r"\hat I_{\mathrm{NCE}} = \log K - L_{\mathrm{NTX}}^{a \to b}",
        source="van den Oord et al. 2018",
        proof="the same softmax",
        labels=Labels.PAIRS,
        lhs=INFONCE,
        rhs=Side(
            "NT-Xent from view to view",
            lambda batch: _log_candidates(batch) - _ntxent_one_way(batch),
            "taken from log K",
        ),
        kind=Kind.EQUAL,
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.infonce_ceiling",
        title="The InfoNCE estimate cannot exceed the logarithm of the number of candidates",
        statement=r"\hat I_{\mathrm{NCE}} \le \log K",
        source="van den Oord et al. 2018",
        proof="the softmax of the positive is at most 1; the witness comes as near as rounding",
        labels=Labels.PAIRS,
        lhs=INFONCE,
        rhs=Side("log K", _log_candidates),
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.poles([2, 2], temperature=0.05),
    ),
    Relation(
        id="information.infonce_eq_cap",
        title="InfoNCE is row-wise Donsker-Varadhan, capped",
        statement=r"\hat I_{\mathrm{NCE}} = \overline{c_K(d_i)}, \quad "
        r"c_K(d) = -\log\bigl(\tfrac1K + (1 - \tfrac1K) e^{-d}\bigr)",
        source="derived",
        proof="the sum over all candidates is the positive plus K - 1 times the mean of the others",
        labels=Labels.PAIRS,
        lhs=INFONCE,
        rhs=Side("row-wise Donsker-Varadhan estimate, capped", _capped),
        kind=Kind.EQUAL,
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.infonce_le_row_dv",
        title="InfoNCE is at most row-wise Donsker-Varadhan, times the share of negatives",
        statement=r"\hat I_{\mathrm{NCE}} \le (1 - \tfrac1K)\, \hat I_{\mathrm{rDV}}",
        source="derived",
        proof="Jensen: the mean over all candidates of exponentials is at least the exponential of the mean; "
        "tight where nothing is known",
        labels=Labels.PAIRS,
        lhs=INFONCE,
        rhs=Side(ROW_DV.name, lambda batch: off_share(batch) * ROW_DV.value(batch), "times (1 - 1/K)"),
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.collapsed(torch.ones(3, 2), [2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.infonce_row_shift",
        title="InfoNCE does not see what is added to all scores of a row",
        statement=r"\hat I_{\mathrm{NCE}}(S_{ij}) = \hat I_{\mathrm{NCE}}(S_{ij} - S_{ii})",
        source="elementary",
        proof="the softmax of a row does not",
        labels=Labels.PAIRS,
        lhs=INFONCE,
        rhs=Side("InfoNCE estimate of differences to the positive", _infonce_of_differences),
        kind=Kind.EQUAL,
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.infonce_eq_row_dv",
        title="InfoNCE is row-wise Donsker-Varadhan with the positives among the negatives",
        statement=r"\hat I_{\mathrm{NCE}} = \hat I_{\mathrm{rDV}}^{\text{all}}",
        source="derived; Poole et al. 2019 reach it from a baseline of the batch",
        proof="the mean of exponentials is then over all K candidates",
        labels=Labels.PAIRS,
        lhs=INFONCE,
        rhs=Side(ROW_DV.name + WITH_POSITIVES, lambda batch: RowDonskerVaradhan()(_with_positives(batch))),
        kind=Kind.EQUAL,
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.nwj_le_dv_all",
        title="NWJ is at most Donsker-Varadhan, with the positives among the negatives of both",
        statement=r"\hat I_{\mathrm{NWJ}}^{\text{all}} \le \hat I_{\mathrm{DV}}^{\text{all}}",
        source="derived, as information.nwj_le_dv",
        proof="log x is at most x / e",
        labels=Labels.PAIRS,
        lhs=Side(f"NWJ estimate{WITH_POSITIVES}", lambda batch: NWJ()(_with_positives(batch))),
        rhs=DV_WITH_POSITIVES,
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.collapsed(torch.ones(3, 2), [2, 2, 2], temperature=1.0),
    ),
    Relation(
        id="information.dv_all_le_infonce",
        title="Donsker-Varadhan with the positives among the negatives is at most InfoNCE",
        statement=r"\hat I_{\mathrm{DV}}^{\text{all}} \le \hat I_{\mathrm{NCE}}",
        source="derived",
        proof="Jensen over rows: the logarithm of the mean of all exponentials is at least the mean of those of rows",
        labels=Labels.PAIRS,
        lhs=DV_WITH_POSITIVES,
        rhs=INFONCE,
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.infonce_le_club",
        title="InfoNCE is at most CLUB as it was released",
        statement=r"\hat I_{\mathrm{NCE}} \le \hat I_{\mathrm{CLUB}}^{\text{all}}",
        source="derived",
        proof="Jensen within each row. Neither side need be a bound of information here",
        labels=Labels.PAIRS,
        lhs=INFONCE,
        rhs=RELEASED_CLUB,
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.collapsed(torch.ones(3, 2), [2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.club_as_released",
        title="CLUB as it was released has the positives among the negatives",
        statement=r"(1 - \tfrac1K)\, \hat I_{\mathrm{CLUB}} = \hat I_{\mathrm{CLUB}}^{\text{all}}",
        source="derived from the authors' code",
        proof="a difference to itself is zero",
        labels=Labels.PAIRS,
        lhs=RELEASED_CLUB,
        rhs=Side(f"CLUB estimate{WITH_POSITIVES}", lambda batch: CLUB()(_with_positives(batch))),
        kind=Kind.EQUAL,
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.infonce_le_l1out",
        title="InfoNCE of the columns is at most the leave-one-out estimate, times the share of negatives",
        statement=r"\hat I_{\mathrm{NCE}}(S^\top) \le (1 - \tfrac1K)\, \hat I_{\mathrm{L1Out}}(S)",
        source="derived",
        proof="information.infonce_le_row_dv of the columns",
        labels=Labels.PAIRS,
        lhs=Side("InfoNCE estimate of columns", _infonce_of_columns),
        rhs=Side(
            "leave-one-out estimate", lambda batch: off_share(batch) * L1Out()(score_matrix(batch)), "times (1 - 1/K)"
        ),
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.collapsed(torch.ones(3, 2), [2, 2, 2], temperature=0.5),
    ),
)
