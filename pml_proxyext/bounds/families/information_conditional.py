r"""DEMI on every batch: what capping the information of a subview and the rest of it apart does to the sum.

The subview of a sample is the first half of its coordinates; psi scores subviews, phi scores samples, both as cosines
over the temperature. The conditional part is estimated by importance weights on the same negatives.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.information import (
    AT_TEMPERATURE,
    INFONCE,
    SCORES,
    num_pairs,
    off_share,
    score_matrix,
)
from pml_proxyext.bounds.families.two_views import views
from pml_proxyext.bounds.relation import Kind, Relation, Side
from pml_proxyext.information import Chain, CNCEBoosted, CNCEImportance, InfoNCE, RowDonskerVaradhan

__all__ = ["BOTH", "RELATIONS", "psi_phi"]


def _leading_scores(batch: BoundBatch, width: int) -> Tensor:
    """Return ``(K, K)``, the scores of the first ``width`` coordinates."""
    first, second = (normalize(view[:, :width], dim=1) for view in views(batch))
    return first @ second.t() / batch["temperature"]


def psi_phi(batch: BoundBatch) -> tuple[Tensor, Tensor]:
    """Return the scores of the subviews and of the samples, ``(K, K)`` each."""
    return _leading_scores(batch, math.ceil(batch.embeddings.shape[1] / 2)), score_matrix(batch)


def _importance(batch: BoundBatch) -> Tensor:
    return CNCEImportance()(*psi_phi(batch))


def _importance_of_differences(batch: BoundBatch) -> Tensor:
    psi, phi = (scores - scores.diagonal()[:, None] for scores in psi_phi(batch))
    return CNCEImportance()(psi, phi)


def _importance_of_nothing(batch: BoundBatch) -> Tensor:
    phi = score_matrix(batch)
    return CNCEImportance()(torch.zeros_like(phi), phi)


def _demi_rows(batch: BoundBatch) -> Tensor:
    psi, phi = psi_phi(batch)
    return InfoNCE().per_row(psi) + CNCEImportance().per_row(psi, phi)


def _boosted_rows(batch: BoundBatch) -> Tensor:
    return CNCEBoosted().per_row(*psi_phi(batch))


def _agreeing(batch: BoundBatch) -> Tensor:
    """Return the rows in which the subview and the rest of the sample are both for the positive, or both against it."""
    psi, phi = psi_phi(batch)
    return (RowDonskerVaradhan().per_row(psi) >= 0) == (CNCEImportance().uncapped(psi, phi) >= 0)


def _over(rows: Tensor, mask: Tensor) -> Tensor:
    """Return the sum over the rows of a mask, divided by the number of all rows."""
    return rows.masked_fill(~mask, 0).mean()


def _ceilings(batch: BoundBatch, number: int) -> Tensor:
    return batch.embeddings.new_tensor(number * math.log(num_pairs(batch)))


def _uncapped_apart(batch: BoundBatch) -> Tensor:
    psi, phi = psi_phi(batch)
    return (RowDonskerVaradhan().per_row(psi) + CNCEImportance().uncapped(psi, phi)).mean()


def _uncapped_together(batch: BoundBatch) -> Tensor:
    psi, phi = psi_phi(batch)
    return RowDonskerVaradhan()(psi + phi)


def _thirds(batch: BoundBatch) -> list[Tensor]:
    """Return the scores of the first third, the first two thirds and all of the coordinates."""
    width = batch.embeddings.shape[1]
    return [_leading_scores(batch, math.ceil(width * share / 3)) for share in (1, 2, 3)]


def _sum_of_thirds(batch: BoundBatch) -> Tensor:
    first, second, third = _thirds(batch)
    return InfoNCE()(first + second + third)


def _one_coordinate(sign: float) -> BoundBatch:
    """Return pairs whose subviews say nothing, and which are alike or opposite in the one coordinate that is left."""
    rows = torch.tensor([[0.0, 1.0], [0.0, sign], [0.0, -1.0], [0.0, -sign]])
    return BoundBatch(rows, torch.tensor([0, 0, 1, 1]), hyper={"temperature": 0.5}, origin="witness")


DEMI = Side("DEMI estimate", lambda batch: _demi_rows(batch).mean())
IMPORTANCE = Side("conditional estimate by importance weights", _importance)
TOGETHER = "row-wise Donsker-Varadhan estimate of the sum of both critics"
BOTH = (
    f"{SCORES} The conditional critic is this one, that of the subview is the same of the first halves of the "
    "coordinates"
)

THIRDS = f"{SCORES} The critics are this one and the same of the first third and of the first two thirds of coordinates"

RELATIONS = (
    Relation(
        id="information.demi_ceiling",
        title="The DEMI estimate cannot exceed twice the logarithm of the number of candidates",
        statement=r"\hat I_{\mathrm{NCE}}(\psi) + \hat I_{\mathrm{IS}}(\phi; \psi) \le 2 \log K",
        source="Sordoni et al. 2021",
        proof="each part is capped at log K; the witness comes as near as rounding",
        labels=Labels.PAIRS,
        lhs=DEMI,
        rhs=Side("log K", lambda batch: _ceilings(batch, 2), "times 2"),
        hyper=AT_TEMPERATURE,
        assumptions=BOTH,
        witness=lambda: witnesses.poles([2, 2], temperature=0.05),
    ),
    Relation(
        id="information.chain_ceiling",
        title="A chain of estimates by importance weights cannot exceed log K times its length",
        statement=r"\hat I_{\mathrm{NCE}}(\psi) + \sum_{t=2}^T \hat I_{\mathrm{IS}, t} \le T \log K",
        source="derived from Sordoni et al. 2021",
        proof="each part is capped at log K; the witness comes as near as rounding",
        labels=Labels.PAIRS,
        lhs=Side("chain of three estimates", lambda batch: Chain(CNCEImportance(), 3)(_thirds(batch))),
        rhs=Side("log K", lambda batch: _ceilings(batch, 3), "times 3"),
        hyper=AT_TEMPERATURE,
        assumptions=THIRDS,
        witness=lambda: witnesses.poles([2, 2], temperature=0.05),
    ),
    Relation(
        id="information.boosted_chain",
        title="A chain of boosted increments is InfoNCE of the sum of all critics",
        statement=r"\sum_{t=1}^T \Delta \hat I_{\mathrm{BO}, t} = \hat I_{\mathrm{NCE}}\Bigl(\sum_t \phi_t\Bigr)",
        source="derived",
        proof="each increment takes away what the part before has added",
        labels=Labels.PAIRS,
        lhs=Side("chain of three boosted increments", lambda batch: Chain(CNCEBoosted(), 3)(_thirds(batch))),
        rhs=Side("InfoNCE estimate of the sum of three critics", _sum_of_thirds),
        kind=Kind.EQUAL,
        hyper=AT_TEMPERATURE,
        assumptions=THIRDS,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.telescoping",
        title="Before they are capped, the parts of a DEMI estimate add up to one estimate of the sum of both critics",
        statement=r"d(\psi) + d^w(\phi; \psi) = d(\psi + \phi)",
        source="derived",
        proof="the weights of the second part have the mean of the first one as their denominator, which cancels",
        labels=Labels.PAIRS,
        lhs=Side("DEMI estimate without caps", _uncapped_apart),
        rhs=Side(TOGETHER, _uncapped_together),
        kind=Kind.EQUAL,
        hyper=AT_TEMPERATURE,
        assumptions=BOTH,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.demi_le_row_dv",
        title="The DEMI estimate is at most the uncapped one of the sum of both critics, times the share of negatives",
        statement=r"\hat I_{\mathrm{NCE}}(\psi) + \hat I_{\mathrm{IS}}(\phi; \psi) \le "
        r"(1 - \tfrac1K)\, \hat I_{\mathrm{rDV}}(\psi + \phi)",
        source="derived",
        proof="the cap of d is at most (1 - 1/K) d, and information.telescoping",
        labels=Labels.PAIRS,
        lhs=DEMI,
        rhs=Side(TOGETHER, lambda batch: off_share(batch) * _uncapped_together(batch), "times (1 - 1/K)"),
        hyper=AT_TEMPERATURE,
        assumptions=BOTH,
        witness=lambda: witnesses.collapsed(torch.ones(3, 2), [2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.boosted_le_demi",
        title="Capping the parts apart gains where the subview and the rest agree about the positive",
        statement=r"d_i(\psi)\, d^w_i(\phi; \psi) \ge 0 \Rightarrow "
        r"\hat I_{\mathrm{BO}, i} \le \hat I_{\mathrm{NCE}, i} + \hat I_{\mathrm{IS}, i}",
        source="derived",
        proof="the cap is concave and 0 at 0, so that it is subadditive where signs agree",
        labels=Labels.PAIRS,
        lhs=Side("boosted estimate of rows in agreement", lambda b: _over(_boosted_rows(b), _agreeing(b))),
        rhs=Side("DEMI estimate of rows in agreement", lambda b: _over(_demi_rows(b), _agreeing(b))),
        hyper=AT_TEMPERATURE,
        assumptions=f"{BOTH}. Sums are over the rows of agreement, divided by the number of all rows",
        witness=lambda: _one_coordinate(1.0),
    ),
    Relation(
        id="information.demi_le_boosted",
        title="Capping the parts apart loses where the subview and the rest disagree about the positive",
        statement=r"d_i(\psi)\, d^w_i(\phi; \psi) \le 0 \Rightarrow "
        r"\hat I_{\mathrm{NCE}, i} + \hat I_{\mathrm{IS}, i} \le \hat I_{\mathrm{BO}, i}",
        source="derived",
        proof="the cap is concave and 0 at 0, so that it is superadditive where signs differ",
        labels=Labels.PAIRS,
        lhs=Side("DEMI estimate of rows in disagreement", lambda b: _over(_demi_rows(b), ~_agreeing(b))),
        rhs=Side("boosted estimate of rows in disagreement", lambda b: _over(_boosted_rows(b), ~_agreeing(b))),
        hyper=AT_TEMPERATURE,
        assumptions=f"{BOTH}. Sums are over the rows of disagreement, divided by the number of all rows",
        witness=lambda: _one_coordinate(-1.0),
    ),
    Relation(
        id="information.importance_shift",
        title="The estimate by importance weights does not see what is added to a row of either critic",
        statement=r"\hat I_{\mathrm{IS}}(\phi_{ij}; \psi_{ij}) = "
        r"\hat I_{\mathrm{IS}}(\phi_{ij} - \phi_{ii}; \psi_{ij} - \psi_{ii})",
        source="elementary",
        proof="neither the weights nor the differences to the positive do",
        labels=Labels.PAIRS,
        lhs=IMPORTANCE,
        rhs=Side("conditional estimate of differences to the positive", _importance_of_differences),
        kind=Kind.EQUAL,
        hyper=AT_TEMPERATURE,
        assumptions=BOTH,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.importance_eq_infonce",
        title="If the subview says nothing, the estimate by importance weights is InfoNCE",
        statement=r"\hat I_{\mathrm{IS}}(\phi; 0) = \hat I_{\mathrm{NCE}}(\phi)",
        source="derived",
        proof="equal weights 1 / (K - 1), and the factor K - 1 in front",
        labels=Labels.PAIRS,
        lhs=Side("conditional estimate by equal weights", _importance_of_nothing),
        rhs=INFONCE,
        kind=Kind.EQUAL,
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
)
