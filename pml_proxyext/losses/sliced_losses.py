"""The losses with proxies, PML's or ours, that can be evaluated on slices of their classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch

from pytorch_metric_learning import losses as pml_losses
from torch import Tensor, nn

from pml_proxyext.losses.class_slices import SlicedLoss, SliceObjective, SoftmaxObjective
from pml_proxyext.losses.nivmf_loss import NivMFLoss
from pml_proxyext.losses.nivmf_slices import nivmf_slices
from pml_proxyext.losses.proxy_anchor_loss import ProxyAnchorLoss

__all__ = ["sliced"]


@singledispatch
def sliced(loss: nn.Module) -> SlicedLoss:
    """Return a loss as what it computes of slices of its classes.

    A class of your own gets its slices by ``@sliced.register``.

    Raises:
        ValueError: for a loss that is not known to be a function of slices.

    Example:
        >>> sliced(ProxyAnchorLoss(num_classes=5, embedding_size=3)).num_classes
        5
    """
    known = ", ".join(sorted(one.__name__ for one in sliced.registry if one is not object))
    raise ValueError(f"loss must be one of {known} to be evaluated on slices of its classes, got {type(loss).__name__}")


def _similarities_to_proxies(
    proxies: Tensor, similarity: Callable[[Tensor, Tensor], Tensor], objective: SliceObjective
) -> SlicedLoss:
    """Return a loss of one objective on similarities of embeddings and proxies."""
    return SlicedLoss(
        objectives=[objective],
        class_tensors=[proxies],
        rows=lambda embeddings: (embeddings,),
        logits=lambda rows, class_tensors: [similarity(rows[0], class_tensors[0])],
    )


def _sign(loss: pml_losses.BaseMetricLossFunction) -> int:
    return 1 if loss.distance.is_inverted else -1


@sliced.register
def _(loss: ProxyAnchorLoss) -> SlicedLoss:
    return _similarities_to_proxies(loss.proxies, lambda a, b: _sign(loss) * loss.distance(a, b), loss.objective)


@sliced.register
def _(loss: pml_losses.ProxyNCALoss) -> SlicedLoss:
    scale = _sign(loss) * loss.softmax_scale
    return _similarities_to_proxies(loss.proxies, lambda a, b: scale * loss.distance(a, b), SoftmaxObjective())


@sliced.register
def _(loss: pml_losses.NormalizedSoftmaxLoss) -> SlicedLoss:
    scale = _sign(loss) / loss.temperature
    return _similarities_to_proxies(
        loss.W.t(), lambda a, b: scale * loss.distance(a, loss.distance.normalize(b)), SoftmaxObjective()
    )


@sliced.register(pml_losses.ArcFaceLoss)
@sliced.register(pml_losses.CosFaceLoss)
def _(loss: pml_losses.LargeMarginSoftmaxLoss) -> SlicedLoss:
    if isinstance(loss, pml_losses.SubCenterArcFaceLoss):
        return sliced.dispatch(object)(loss)

    def with_margin(own: Tensor) -> Tensor:
        return loss.scale * loss.modify_cosine_of_target_classes(own / loss.scale)

    return _similarities_to_proxies(
        loss.W.t(), lambda a, b: loss.scale * loss.distance(a, b), SoftmaxObjective(with_margin)
    )


sliced.register(NivMFLoss)(nivmf_slices)
