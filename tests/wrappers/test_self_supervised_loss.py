from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning import losses as pml_losses

from pml_proxyext.losses import ProxyAnchorLoss
from pml_proxyext.wrappers import SelfSupervisedLoss

VIEWS = tuple(torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)))


class OwnSupCon(pml_losses.SupConLoss):
    pass


@pytest.mark.parametrize("symmetric", [True, False])
def test_value_is_that_of_pml(symmetric: bool) -> None:
    expected = pml_losses.SelfSupervisedLoss(pml_losses.SupConLoss(), symmetric=symmetric)(*VIEWS)
    assert SelfSupervisedLoss(OwnSupCon(), symmetric=symmetric)(*VIEWS) == expected


def test_proxy_loss_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="SelfSupervisedLoss is not supported for loss=ProxyAnchorLoss"):
        SelfSupervisedLoss(ProxyAnchorLoss(3, 4))


def test_views_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ref_emb must have the shape of embeddings, \(5, 4\), got \(4, 4\)"):
        SelfSupervisedLoss(pml_losses.SupConLoss())(VIEWS[0], VIEWS[1][:4])
