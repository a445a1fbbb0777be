"""Losses with proxies, PML's or ours: where the proxies lie, what the logits mean, how to run one as it stands."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.losses import ProxyAnchorLoss as PMLProxyAnchorLoss
from pytorch_metric_learning.losses import ProxyNCALoss as PMLProxyNCALoss
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import normalize

from pml_proxyext.losses.proxy_loss import ProxyLoss
from pml_proxyext.utils.precision import upcast

__all__ = [
    "class_proxies",
    "full_precision_loss",
    "own_proxies",
    "proxies_per_class",
    "similarity_logits",
    "stored_proxies",
]

# Where losses keep their proxies, and whether these are columns there.
_IS_TRANSPOSED = {"proxies": False, "W": True, "fc": True}


def class_proxies(loss: BaseMetricLossFunction, num_classes: int, embedding_size: int) -> Tensor:
    """Return the proxies of any loss of PML or this package as ``(num_classes, proxies per class, embedding_size)``.

    Raises:
        ValueError: if the loss has no proxies, or others than ``num_classes`` of ``embedding_size``.

    Example:
        >>> from pytorch_metric_learning.losses import SoftTripleLoss
        >>> class_proxies(SoftTripleLoss(5, 8, centers_per_class=3), num_classes=5, embedding_size=8).shape
        torch.Size([5, 3, 8])
    """
    rows = stored_proxies(loss)
    if rows is None:
        places = ", ".join(f".{name}" for name in _IS_TRANSPOSED)
        raise ValueError(f"proxy_loss must keep its proxies in a matrix {places}, got {type(loss).__name__}")
    per_class = proxies_per_class(loss)
    if rows.shape != (num_classes * per_class, embedding_size):
        raise ValueError(
            f"proxy_loss must have num_classes={num_classes} times {per_class} proxies of "
            f"embedding_size={embedding_size}, got {rows.shape[0]} of size {rows.shape[1]} in {type(loss).__name__}"
        )
    return rows.unflatten(0, (num_classes, per_class))


def stored_proxies(loss: nn.Module) -> Tensor | None:
    """Return the matrix ``(all proxies, embedding_size)`` in which a loss keeps its proxies, if it has one."""
    for name, is_transposed in _IS_TRANSPOSED.items():
        matrix = getattr(loss, name, None)
        if isinstance(matrix, Tensor) and matrix.ndim == 2:
            return matrix.t() if is_transposed else matrix
    return None


def proxies_per_class(loss: nn.Module) -> int:
    """Return how many rows of :func:`stored_proxies` belong to one class."""
    per_class: int = getattr(loss, "centers_per_class", getattr(loss, "sub_centers", 1))
    return per_class


def own_proxies(proxies: Tensor, directions: Tensor, labels: Tensor) -> Tensor:
    """Return, normalized, the proxy ``(N, D)`` of each sample's class; of several, the one of largest cosine.

    Args:
        proxies: ``(num_classes, proxies per class, D)``.
        directions: ``(N, D)``, the normalized embeddings.
        labels: ``(N,)``.
    """
    own = normalize(proxies.index_select(0, labels), dim=-1)  # (N, proxies per class, D)
    nearest = torch.einsum("nd,nkd->nk", directions, own).argmax(1)
    return own.take_along_dim(nearest[:, None, None], dim=1).squeeze(1)


def similarity_logits(loss: BaseMetricLossFunction, embeddings: Tensor) -> Tensor:
    """Return the logits ``(N, num_classes)`` of a loss with proxies such that larger means nearer."""
    if isinstance(loss, ProxyLoss):
        return loss.get_logits(embeddings)
    # PML's losses do not convert their parameters here, so the embeddings follow them.
    logits = upcast(loss.get_logits(embeddings.to(next(loss.parameters()))))
    is_distance = isinstance(loss, (PMLProxyAnchorLoss, PMLProxyNCALoss)) and not loss.distance.is_inverted
    return -logits if is_distance else logits


def full_precision_loss(
    loss: BaseMetricLossFunction, embeddings: Tensor, labels: Tensor | None, *arguments: Any
) -> Tensor:
    """Return ``loss(embeddings, labels, *arguments)`` in full precision, whatever precision surrounds it.

    PML's losses change the dtype of their own parameters to that of the embeddings. Where the two differ, the loss
    runs on converted copies here: its parameters stay what they are, and their gradients arrive.
    """
    embeddings = upcast(embeddings)
    with torch.autocast(embeddings.device.type, enabled=False):
        copies = {name: parameter.to(embeddings) for name, parameter in loss.named_parameters()}
        if all(copies[name] is parameter for name, parameter in loss.named_parameters()):
            return loss(embeddings, labels, *arguments)
        return functional_call(loss, copies, (embeddings, labels, *arguments))
