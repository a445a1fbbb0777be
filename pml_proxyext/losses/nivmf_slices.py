"""NivMFLoss on slices of its classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pml_proxyext.losses.class_slices import SlicedLoss, SliceObjective, SoftmaxObjective
from pml_proxyext.losses.nivmf_loss import GUIDANCE, NivMFLoss
from pml_proxyext.losses.nivmf_similarities import polar

__all__ = ["nivmf_slices"]


def nivmf_slices(loss: NivMFLoss) -> SlicedLoss:
    """Return the loss as what it computes of slices of its classes: all similarities, guidance and objectives."""
    class_tensors = [loss.proxies] if loss.similarity == "cosine" else [loss.proxies, loss.concentrations]

    def rows(embeddings: Tensor) -> tuple[Tensor, ...]:
        scaled, temperature = embeddings * loss.norm_multiplier, loss.log_temperature.to(embeddings).exp()
        samples = loss.draw(scaled)
        some = None if samples is None else samples[:, :1]
        with torch.no_grad():  # any one centre does, as long as all slices have the same
            first = loss.make_proxies(*(tensor[:1].to(scaled) for tensor in class_tensors))
            centre = loss.similarities(scaled[:1], some, first, temperature).proxy_constants
        return (scaled, centre, temperature) if samples is None else (scaled, centre, temperature, samples)

    def logits(rows: tuple[Tensor, ...], tensors: Sequence[Tensor]) -> list[Tensor]:
        scaled, centre, temperature, *samples = rows
        proxies = loss.make_proxies(*tensors)
        similarities = loss.similarities(scaled, samples[0] if samples else None, proxies, temperature)
        matrix, offset = similarities.centred(temperature, centre)
        matrices = [matrix if loss.objective is None else matrix + offset]
        return [*matrices, polar(scaled)[0] @ proxies.directions.T] if loss.guidance_weight else matrices

    if loss.guidance_weight:
        return SlicedLoss([_objective(loss), GUIDANCE], class_tensors, rows, logits, (1.0, loss.guidance_weight))
    return SlicedLoss([_objective(loss)], class_tensors, rows, logits)


def _objective(loss: NivMFLoss) -> SliceObjective:
    if loss.objective is None:
        return SoftmaxObjective()
    if not isinstance(loss.objective, SliceObjective):
        raise ValueError(
            f"objective must have the methods of_slice and of_all, as BinomialDeviance has, to be evaluated on slices "
            f"of the classes, got {loss.objective!r}"
        )
    return loss.objective
