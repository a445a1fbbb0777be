"""Regularisers of embeddings and of weights add their term, no more and no less."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning import regularizers as reg
from pytorch_metric_learning.losses.mixins import WeightRegularizerMixin
from torch import Tensor

from pml_proxyext.testing.subject import NotApplicable, Subject, require, require_close

__all__ = ["check_embedding_regularizer", "check_weight_regularizer"]


class _Spy(reg.LpRegularizer):
    """Keeps what it was given."""

    seen: Tensor

    def compute_loss(self, x: Tensor) -> Any:
        object.__setattr__(self, "seen", x)
        return super().compute_loss(x)


def check_embedding_regularizer(subject: Subject) -> None:
    batch = subject.batch()
    plain = subject.value(subject.build(), batch)
    try:
        loss = subject.build(embedding_regularizer=reg.LpRegularizer(), embedding_reg_weight=0.5)
    except ValueError as error:
        raise NotApplicable(f"the loss refuses it: {error}") from error
    expected = plain + 0.5 * batch.embeddings.norm(dim=1).mean()
    require_close(subject.value(loss, batch), expected, "value with an embedding regulariser", 1e-4)
    subject.evaluate(batch, loss).require_finite("with an embedding regulariser")


def check_weight_regularizer(subject: Subject) -> None:
    """The weights arrive as rows of the embeddings' width, and PML's regularisers of such rows work."""
    if not isinstance(subject.build(), WeightRegularizerMixin):
        raise NotApplicable("the loss has no WeightRegularizerMixin")
    batch, spy = subject.batch(), _Spy()
    plain = subject.value(subject.build(), batch)
    try:
        loss = subject.build(weight_regularizer=spy, weight_reg_weight=0.5)
    except ValueError as error:
        raise NotApplicable(f"the loss refuses it: {error}") from error
    value = subject.value(loss, batch)
    require(hasattr(spy, "seen"), "the weight regulariser is not called")
    shape, size = tuple(spy.seen.shape), subject.profile.embedding_size
    require(spy.seen.ndim == 2 and shape[1] == size, f"weights to regularise have shape {shape}, not (rows, {size})")
    require_close(value, plain + 0.5 * spy.seen.norm(dim=1).mean(), "value with a weight regulariser", 1e-4)
    for kind in (reg.CenterInvariantRegularizer, reg.RegularFaceRegularizer, reg.ZeroMeanRegularizer):
        result = subject.evaluate(batch, subject.build(weight_regularizer=kind()))
        result.require_finite(kind.__name__)
        reached = any(grad is not None and torch.any(grad != 0) for grad in result.parameter_grads.values())
        require(reached, f"{kind.__name__} reaches no parameter")
