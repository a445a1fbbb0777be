"""Which losses can compare a batch with other embeddings: asked of the loss itself, not of a list of names."""

from __future__ import annotations

from pytorch_metric_learning import losses as pml_losses
from pytorch_metric_learning.losses.mixins import WeightMixin
from torch import nn

__all__ = ["check_supports_ref_emb", "supports_ref_emb"]

# PML's own losses carry no such attribute; its wrapper lists them, and a subclass of a listed loss is as able.
_PML_LOSSES = frozenset(pml_losses.CrossBatchMemory.supported_losses())


def supports_ref_emb(loss: nn.Module) -> bool:
    """Say whether ``loss`` can compare its embeddings with ``ref_emb``.

    The class attribute ``supports_ref_emb`` of the loss decides; without one, the loss must be, or extend, one of
    the losses that PML's ``CrossBatchMemory`` lists, and have no class weights (as ProxyNCALoss, an NCALoss, has).

    Example:
        >>> supports_ref_emb(pml_losses.SupConLoss()), supports_ref_emb(pml_losses.ProxyAnchorLoss(3, 2))
        (True, False)
    """
    said = getattr(loss, "supports_ref_emb", None)
    if said is not None:
        return bool(said)
    listed = any(base.__name__ in _PML_LOSSES for base in type(loss).__mro__)
    return listed and not isinstance(loss, WeightMixin)


def check_supports_ref_emb(wrapper: str, loss: nn.Module) -> None:
    """Raise a ValueError that says why ``wrapper`` has no use for ``loss``, unless the loss supports ``ref_emb``."""
    if not supports_ref_emb(loss):
        raise ValueError(
            f"{wrapper} is not supported for loss={type(loss).__name__}: it needs a loss that compares embeddings with "
            "ref_emb, and a loss with proxies compares them with its own parameters; "
            "a loss that does take ref_emb says so by the class attribute supports_ref_emb = True"
        )
