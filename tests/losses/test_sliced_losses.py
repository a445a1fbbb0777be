"""What slices of each loss compute is tested with the wrappers that use them; here, which losses have slices."""

from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning import losses as pml
from torch import nn

from pml_proxyext.losses import NivMFLoss, ProxyAnchorLoss
from pml_proxyext.losses.class_slices import SlicedLoss, SoftmaxObjective
from pml_proxyext.losses.nivmf_slices import nivmf_slices
from pml_proxyext.losses.sliced_losses import sliced


class Mine(nn.Module):
    weight = torch.eye(4)


@pytest.mark.parametrize(
    "loss", [pml.NormalizedSoftmaxLoss(5, 3), pml.ArcFaceLoss(5, 3), ProxyAnchorLoss(5, 3), pml.ProxyNCALoss(5, 3)]
)
def test_logits_of_slices_are_columns_of_the_logits(loss: nn.Module) -> None:
    embeddings = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    slices = sliced(loss)
    assert slices.num_classes == 5
    rows = slices.rows(embeddings)
    whole = slices.logits(rows, slices.class_tensors)[0]
    part = slices.logits(rows, [tensor[1:3] for tensor in slices.class_tensors])[0]
    torch.testing.assert_close(part, whole[:, 1:3])
    sign = -1 if isinstance(loss, pml.ProxyNCALoss) else 1  # PML's returns distances
    torch.testing.assert_close(whole, sign * loss.get_logits(embeddings))


@pytest.mark.parametrize("similarity", ["el_nivmf", "nivmf", "el_vmf", "b_vmf", "kl_vmf", "l2", "cosine"])
def test_logits_of_nivmf_are_those_of_the_loss_up_to_one_constant(similarity: str) -> None:
    loss = NivMFLoss(5, 8, similarity, temperature=0.5).double()  # type: ignore[arg-type]
    embeddings = 10 * torch.randn(4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    slices = nivmf_slices(loss)
    torch.manual_seed(1)
    (logits,) = slices.logits(slices.rows(embeddings), slices.class_tensors)
    torch.manual_seed(1)
    difference = logits - loss.get_logits(embeddings)
    torch.testing.assert_close(difference, difference[:1, :1].expand_as(difference))


def test_a_subclass_has_the_slices_of_its_class_and_a_loss_can_bring_its_own() -> None:
    class Variant(ProxyAnchorLoss):
        pass

    @sliced.register(Mine)
    def _(loss: Mine) -> SlicedLoss:
        return SlicedLoss([SoftmaxObjective()], [loss.weight], lambda e: (e,), lambda rows, t: [rows[0] @ t[0].T])

    assert sliced(Mine()).num_classes == 4
    assert sliced(Variant(3, 2)).num_classes == 3
    with pytest.raises(ValueError, match=r"loss must be one of .* got SupConLoss"):
        sliced(pml.SupConLoss())
