r"""What estimates of mutual information do not depend on, and what that says of their gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pml_proxyext.bounds import witnesses
from pml_proxyext.bounds.assumptions import Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.families.information import AT_TEMPERATURE, SCORES, score_matrix
from pml_proxyext.bounds.families.information_conditional import BOTH, psi_phi
from pml_proxyext.bounds.relation import Kind, Relation, Side
from pml_proxyext.information import CLUB, CNCEImportance, DonskerVaradhan, InfoNCE, L1Out, RowDonskerVaradhan

__all__ = ["RELATIONS"]

_FIVE = (InfoNCE(), RowDonskerVaradhan(), DonskerVaradhan(), CLUB(), L1Out())


def _five_estimates(scores: Tensor) -> Tensor:
    return torch.stack([estimator(scores) for estimator in _FIVE]).mean()


def _five_in_another_order(batch: BoundBatch) -> Tensor:
    return _five_estimates(score_matrix(batch).roll((1, 1), dims=(0, 1)))


def _gradient(estimate: Callable[[Tensor], Tensor], scores: Tensor) -> Tensor:
    """Return the gradient by the scores, through which gradients flow in turn."""
    with torch.enable_grad():
        scores = scores if scores.requires_grad else scores.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(estimate(scores), scores, create_graph=True)
    return gradient


def _of_infonce(batch: BoundBatch) -> Tensor:
    return _gradient(InfoNCE(), score_matrix(batch))


def _of_importance(batch: BoundBatch) -> Tensor:
    psi, phi = psi_phi(batch)
    return _gradient(lambda scores: CNCEImportance()(psi, scores), phi)


def _pull(gradient: Tensor) -> Tensor:
    return gradient.diagonal().abs().sum()


def _push(gradient: Tensor) -> Tensor:
    return (gradient.sum(1) - gradient.diagonal()).abs().sum()


RELATIONS = (
    Relation(
        id="information.order_of_pairs",
        title="No estimate depends on the order of the pairs",
        statement=r"\hat I(S_{ij}) = \hat I(S_{\pi(i) \pi(j)})",
        source="elementary",
        proof="each is a mean over the positives and means over the others",
        labels=Labels.PAIRS,
        lhs=Side("mean of five estimates", lambda batch: _five_estimates(score_matrix(batch))),
        rhs=Side("mean of five estimates, the last pair first", _five_in_another_order),
        kind=Kind.EQUAL,
        hyper=AT_TEMPERATURE,
        assumptions=f"{SCORES} The five are InfoNCE, both of Donsker-Varadhan, CLUB and L1Out",
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.infonce_gradient",
        title="InfoNCE pulls at the positive of a row as much as it pushes the negatives",
        statement=r"\sum_i \Big|\frac{\partial \hat I_{\mathrm{NCE}}}{\partial S_{ii}}\Big| = "
        r"\sum_i \Big|\sum_{j \ne i} \frac{\partial \hat I_{\mathrm{NCE}}}{\partial S_{ij}}\Big|",
        source="derived; from information.infonce_row_shift",
        proof="what does not see a shift of a row has a gradient whose rows sum to zero",
        labels=Labels.PAIRS,
        lhs=Side("pull of InfoNCE at the positives", lambda batch: _pull(_of_infonce(batch))),
        rhs=Side("push of InfoNCE at the negatives", lambda batch: _push(_of_infonce(batch))),
        kind=Kind.EQUAL,
        hyper=AT_TEMPERATURE,
        assumptions=SCORES,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
    Relation(
        id="information.importance_gradient",
        title="The estimate by importance weights pulls at the positive as much as it pushes the negatives",
        statement=r"\sum_i \Big|\frac{\partial \hat I_{\mathrm{IS}}}{\partial \phi_{ii}}\Big| = "
        r"\sum_i \Big|\sum_{j \ne i} \frac{\partial \hat I_{\mathrm{IS}}}{\partial \phi_{ij}}\Big|",
        source="derived; from information.importance_shift",
        proof="as for InfoNCE: the weights share out the push, and do not change its sum",
        labels=Labels.PAIRS,
        lhs=Side("pull of the conditional estimate at the positives", lambda batch: _pull(_of_importance(batch))),
        rhs=Side("push of the conditional estimate at the negatives", lambda batch: _push(_of_importance(batch))),
        kind=Kind.EQUAL,
        hyper=AT_TEMPERATURE,
        assumptions=BOTH,
        witness=lambda: witnesses.axes([2, 2, 2], temperature=0.5),
    ),
)
