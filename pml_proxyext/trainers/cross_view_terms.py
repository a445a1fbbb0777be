"""What Cross-GAN's trainer adds up: terms of what was encoded, the networks and the losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["TERMS", "EncodedPairs", "EncodedView", "held_constant"]

_Modules = Mapping[str, nn.Module]


@dataclass(frozen=True)
class EncodedView:
    """One view of a batch: the data, its distributions ``[mean | log-variance]``, their means, a sample of each."""

    data: Tensor
    packed: Tensor
    mean: Tensor
    z: Tensor


@dataclass(frozen=True)
class EncodedPairs:
    """Both views, the samples of the first in the space of the second, and the labels of the pairs."""

    a: EncodedView
    b: EncodedView
    mapped: Tensor
    labels: Tensor


def _reconstruction(pairs: EncodedPairs, models: _Modules, losses: _Modules) -> Tensor:
    a, b = pairs.a, pairs.b
    return _decoded(models, "decoder", a.z, a.data, losses) + _decoded(models, "ref_decoder", b.z, b.data, losses)


def _crossing(pairs: EncodedPairs, models: _Modules, losses: _Modules) -> Tensor:
    back = models["ref_aligner"](pairs.b.z)
    there = _decoded(models, "ref_decoder", pairs.mapped, pairs.b.data, losses)
    return there + _decoded(models, "decoder", back, pairs.a.data, losses)


def _decoded(models: _Modules, decoder: str, z: Tensor, data: Tensor, losses: _Modules) -> Tensor:
    decoded = models[decoder](z)
    if decoded.shape != data.shape:  # a squared error would broadcast
        raise ValueError(
            f"{decoder!r} must return the shape of the data, {tuple(data.shape)}, got {tuple(decoded.shape)}"
        )
    return losses["recon_loss"](decoded, data)


def _divergence(pairs: EncodedPairs, models: _Modules, losses: _Modules) -> Tensor:
    return losses["kl_loss"](pairs.a.packed) + losses["kl_loss"](pairs.b.packed)


def _alignment(pairs: EncodedPairs, models: _Modules, losses: _Modules) -> Tensor:
    return losses["align_loss"](pairs.mapped, ref_emb=pairs.b.z)


def _metric(pairs: EncodedPairs, models: _Modules, losses: _Modules) -> Tensor:
    # Labels are given twice, for of one tensor PML's pair losses think that a batch is compared with itself.
    embeddings = models["aligner"](pairs.a.mean)
    return losses["metric_loss"](embeddings, pairs.labels, None, pairs.b.mean, pairs.labels.clone())


#: By the name of their weight; each takes pairs, models and losses.
TERMS: dict[str, Callable[[EncodedPairs, _Modules, _Modules], Tensor]] = {
    "recon_loss": _reconstruction,
    "kl_loss": _divergence,
    "align_loss": _alignment,
    "cross_recon_loss": _crossing,
    "metric_loss": _metric,
}


@contextmanager
def held_constant(module: nn.Module) -> Iterator[None]:
    """Let gradients through the module, and none into it."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
