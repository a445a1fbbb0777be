from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pml_proxyext.losses.two_view_loss import TwoViewLoss

VIEW = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
OTHER = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
LABELS = torch.tensor([4, 7])


class AlignmentLoss(TwoViewLoss):
    """The smallest loss on two views: minus the mean dot product of partners, weighted by the sum of their labels."""

    def pair_losses(self, embeddings: Tensor, labels: Any, tuples: Any, ref_emb: Tensor, ref_labels: Any) -> Any:
        weights = 1 if labels is None else labels + ref_labels
        value = -((embeddings * ref_emb).sum(1) * weights).mean()
        return {"loss": {"losses": value, "indices": None, "reduction_type": "already_reduced"}}


def test_the_second_view_has_the_labels_of_the_first():
    assert AlignmentLoss()(VIEW, ref_emb=OTHER).item() == -(3 + 0) / 2
    assert AlignmentLoss()(VIEW, LABELS, ref_emb=OTHER).item() == -3 * 8 / 2
    assert AlignmentLoss()(VIEW, LABELS, ref_emb=OTHER, ref_labels=LABELS + 1).item() == -3 * 9 / 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "^ref_emb must be the second view, .* got none"),
        ({"ref_emb": VIEW}, "^ref_emb must be the second view, .* got none"),
        ({"ref_emb": OTHER[:1]}, r"^ref_emb must have one row for each .* got shapes \(1, 2\) and \(2, 2\)"),
        ({"ref_emb": torch.ones(2, 3)}, r"^ref_emb must have embedding_size 2, got shape \(2, 3\)"),
    ],
)
def test_views_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AlignmentLoss()(VIEW, LABELS, **arguments)


def test_no_pairs_give_zero_with_a_graph():
    embeddings = torch.zeros(0, 2, requires_grad=True)
    value = AlignmentLoss()(embeddings, LABELS[:0], ref_emb=OTHER[:0])
    value.backward()
    assert value.item() == 0
