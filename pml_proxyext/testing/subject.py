"""The loss under test: built, fed and differentiated in ways that can be repeated."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.reducers import DoNothingReducer
from torch import Tensor, nn

from pml_proxyext.testing.profile import LossFactory, LossProfile

__all__ = ["Batch", "Evaluation", "NotApplicable", "Subject", "owns_generator", "require", "require_close", "seeded"]


class NotApplicable(Exception):
    """Raised by a check that says nothing about this loss, with the reason."""


def require(condition: bool | Tensor, message: str) -> None:
    """Raise an AssertionError with ``message`` unless ``condition`` holds; unlike assert, under ``python -O`` too."""
    if not condition:
        raise AssertionError(message)


def require_close(actual: Tensor, expected: Tensor, what: str, rtol: float, atol: float = 0.0) -> None:
    """Require two tensors to agree, NaN with NaN; the message tells the largest difference."""
    require(actual.shape == expected.shape, f"{what}: shape {tuple(actual.shape)} for {tuple(expected.shape)}")
    actual, expected = actual.detach().double(), expected.detach().double()
    if torch.allclose(actual, expected, rtol=rtol, atol=atol, equal_nan=True):
        return
    if actual.numel() == 1:
        raise AssertionError(f"{what}: {actual.item():.8g}, expected {expected.item():.8g}")
    difference = (actual - expected).abs().max().item()
    raise AssertionError(f"{what}: differs by {difference:.3g}, where {expected.abs().max().item():.3g} is largest")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch and numpy inside the block, and put their states back after it."""
    numpy_state = np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a loss or torch warns of is not what a check asks
            torch.manual_seed(seed)
            np.random.seed(seed)
            yield
    finally:
        np.random.set_state(numpy_state)


@dataclass(frozen=True)
class Batch:
    """The arguments of one call, in PML's order."""

    embeddings: Tensor
    labels: Tensor | None = None
    indices_tuple: Any = None
    ref_emb: Tensor | None = None
    ref_labels: Tensor | None = None

    def rows(self, index: Tensor | slice) -> Batch:
        """Return the batch of the chosen rows."""
        tensors = (self.embeddings, self.labels, self.ref_emb, self.ref_labels)
        embeddings, labels, ref_emb, ref_labels = (None if t is None else t[index] for t in tensors)
        assert embeddings is not None
        return Batch(embeddings, labels, self.indices_tuple, ref_emb, ref_labels)

    @property
    def arguments(self) -> tuple[Any, ...]:
        return self.embeddings, self.labels, self.indices_tuple, self.ref_emb, self.ref_labels


@dataclass(frozen=True)
class Evaluation:
    """A value with its gradients; a parameter without influence has none."""

    value: Tensor
    embeddings_grad: Tensor
    parameter_grads: dict[str, Tensor | None]

    def require_finite(self, what: str) -> None:
        require(torch.isfinite(self.value).all(), f"{what}: the loss is {self.value.item()}")
        require(torch.isfinite(self.embeddings_grad).all(), f"{what}: the gradient of the embeddings has nan or inf")
        for name, grad in self.parameter_grads.items():
            require(grad is None or torch.isfinite(grad).all(), f"{what}: the gradient of {name} has nan or inf")

    def require_close(self, expected: Evaluation, what: str, rtol: float, atol: float) -> None:
        require_close(self.value, expected.value, f"{what}: value", rtol, atol)
        require_close(self.embeddings_grad, expected.embeddings_grad, f"{what}: embeddings' gradient", rtol, atol)
        for name, grad in expected.parameter_grads.items():
            mine = self.parameter_grads[name]
            require((mine is None) == (grad is None), f"{what}: {name} has a gradient in one evaluation only")
            if mine is not None and grad is not None:
                require_close(mine, grad, f"{what}: gradient of {name}", rtol, atol)


def owns_generator(loss: nn.Module) -> bool:
    """Say whether a module of the loss keeps a ``torch.Generator``."""
    return any(isinstance(value, torch.Generator) for module in loss.modules() for value in vars(module).values())


class Subject:
    """A factory of losses with its profile; everything it returns depends on the given seeds alone.

    Losses that draw random numbers from torch's default generator are seeded before each call. One that owns a
    ``torch.Generator`` advances it, so checks that compare evaluations build the loss anew for each: let the factory
    make the generator.
    """

    def __init__(self, factory: LossFactory, profile: LossProfile) -> None:
        self.factory, self.profile = factory, profile

    def build(self, seed: int = 0, **kwargs: Any) -> BaseMetricLossFunction:
        """Return a new loss; ``kwargs`` are PML's."""
        with seeded(seed):
            return self.factory(**kwargs)

    def batch(
        self, labels: Tensor | None = None, dtype: torch.dtype = torch.float32, indices_tuple: Any = None
    ) -> Batch:
        """Return normal embeddings, or their sigmoids, by default twelve of up to six classes, two or more of each."""
        if labels is None:
            labels = torch.arange(12) % min(6, self.profile.num_classes or 6)
        generator = torch.Generator().manual_seed(len(labels))
        shape = (len(labels), self.profile.embedding_size)
        embeddings = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        batch = Batch(self.fitted(embeddings), labels if self.profile.labels else None, indices_tuple)
        if self.profile.ref_emb == "required":
            near = embeddings + 0.5 * torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
            batch = replace(batch, ref_emb=self.fitted(near), ref_labels=batch.labels)
        return batch

    def fitted(self, outputs: Tensor) -> Tensor:
        """Return what a network with these outputs would give the loss: themselves, or values in [0, 1]."""
        return outputs.sigmoid() if self.profile.unit_interval else outputs

    def value(self, loss: nn.Module, batch: Batch, seed: int = 0) -> Tensor:
        """Return what the loss returns for the batch."""
        with seeded(seed):
            return loss(*batch.arguments)

    def evaluate(self, batch: Batch, loss: nn.Module | None = None, seed: int = 0) -> Evaluation:
        """Return value and gradients, of a new loss unless one is given."""
        loss = self.build() if loss is None else loss
        leaf = batch.embeddings.detach().clone().requires_grad_()
        value = self.value(loss, replace(batch, embeddings=leaf), seed)
        require(value.ndim == 0, f"the loss has shape {tuple(value.shape)}, not that of a scalar")
        require(value.requires_grad, "the loss has lost its graph: it does not require a gradient")
        parameters = {name: p for name, p in loss.named_parameters() if p.requires_grad}
        grads = torch.autograd.grad(value, [leaf, *parameters.values()], allow_unused=True)
        require(grads[0] is not None, "the embeddings are not part of the loss's graph")
        return Evaluation(value.detach(), grads[0], dict(zip(parameters, grads[1:], strict=True)))

    def loss_dict(self, batch: Batch) -> dict[str, dict[str, Any]]:
        """Return the sub losses as the reducer gets them."""
        unreduced: Any = self.value(self.build(reducer=DoNothingReducer()), batch)
        return unreduced

    def is_random(self) -> bool:
        """Say whether the value of a new loss depends on the seed before the call, or on a generator of its own."""
        if owns_generator(self.build()):
            return True
        try:
            values = [self.value(self.build(), self.batch(), seed) for seed in (1, 2)]
        except Exception:  # no value, no randomness; the checks will tell what went wrong
            return False
        return not torch.equal(*values)

    def require_deterministic(self) -> None:
        if self.profile.random:
            raise NotApplicable("random numbers belong to rows, so evaluations of other rows cannot be compared")
