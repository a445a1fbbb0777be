"""Two views of a batch in place of labels."""

from __future__ import annotations

from pytorch_metric_learning import losses as pml_losses
from torch import Tensor, nn

from pml_proxyext.utils.checks import check_embeddings
from pml_proxyext.wrappers.capability import check_supports_ref_emb

__all__ = ["SelfSupervisedLoss"]


class SelfSupervisedLoss(pml_losses.SelfSupervisedLoss):
    r"""PML's wrapper of the same name for any loss that supports ``ref_emb``: row i of both views is one class.

    Args:
        loss: a loss for which :func:`~pml_proxyext.wrappers.supports_ref_emb` holds.
        symmetric: treat both views as one batch of 2N (default), or use the first as anchors only.

    Shapes:
        embeddings ``(N, D)``, ref_emb ``(N, D)`` -> what ``loss`` returns.

    Raises:
        ValueError: for a loss that cannot compare with ``ref_emb``, and for views of different shapes.

    Departs from PML:
        PML admits losses by their class name; here the loss is asked, and a refusal is a ValueError.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> loss_func = SelfSupervisedLoss(pml_losses.SupConLoss())
        >>> loss_func(torch.randn(4, 8), torch.randn(4, 8)).shape
        torch.Size([])
    """

    def __init__(self, loss: nn.Module, symmetric: bool = True) -> None:
        check_supports_ref_emb("SelfSupervisedLoss", loss)
        super().__init__(loss, symmetric=symmetric)

    @classmethod
    def check_loss_support(cls, loss_name: str) -> None:
        """Do nothing: the loss has been asked already, its name says nothing."""

    def forward(self, embeddings: Tensor, ref_emb: Tensor) -> Tensor:
        check_embeddings(embeddings)
        if ref_emb.shape != embeddings.shape:
            raise ValueError(
                f"ref_emb must have the shape of embeddings, {tuple(embeddings.shape)}, got {tuple(ref_emb.shape)}"
            )
        return super().forward(embeddings, ref_emb)
