"""Gradients agree with finite differences, and reach every parameter."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.func import functional_call

from pml_proxyext.testing.subject import NotApplicable, Subject, require, seeded

__all__ = ["check_gradcheck", "check_gradient_of_parameters"]


def check_gradcheck(subject: Subject) -> None:
    """Along random directions, in float64, for the embeddings and all parameters."""
    labels = torch.arange(8) % min(4, subject.profile.num_classes or 4)
    batch = subject.batch(labels, dtype=torch.float64)
    parameters = {name: p.detach().double().clone() for name, p in subject.build().named_parameters()}

    def value(embeddings: Tensor, *tensors: Tensor) -> Tensor:
        loss = subject.build().double()  # anew, for a loss that owns a generator
        arguments = replace(batch, embeddings=embeddings).arguments
        with seeded(0):
            return functional_call(loss, dict(zip(parameters, tensors, strict=True)), arguments)

    with seeded(0):  # of the directions
        inputs = [tensor.requires_grad_() for tensor in (batch.embeddings, *parameters.values())]
        torch.autograd.gradcheck(value, inputs, fast_mode=True, atol=1e-5, rtol=1e-4)


def check_gradient_of_parameters(subject: Subject) -> None:
    """Every parameter that asks for a gradient gets one, even if it is zero: DDP waits for it."""
    gradients = subject.evaluate(subject.batch()).parameter_grads
    if not gradients:
        raise NotApplicable("the loss has no parameters")
    missing = [name for name, gradient in gradients.items() if gradient is None]
    require(not missing, f"parameters without a gradient: {', '.join(missing)}")
