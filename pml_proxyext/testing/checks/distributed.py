"""Two processes, each with half of the batch, find the value and the gradients of one."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pml_proxyext.testing.processes import run_processes
from pml_proxyext.testing.subject import Batch, Subject, require_close, seeded
from pml_proxyext.wrappers import DistributedLossWrapper

__all__ = ["check_distributed"]

_WORLD_SIZE = 2


def check_distributed(subject: Subject) -> None:
    """Through DistributedLossWrapper: the value, the model's gradient averaged as DDP does, the loss's own."""
    batch = subject.batch()
    half = len(batch.embeddings) // _WORLD_SIZE
    expected = _gradients(subject, batch, subject.build())

    def one_process(rank: int) -> tuple[Tensor, dict[str, Tensor]]:
        part = batch.rows(slice(rank * half, (rank + 1) * half))
        value, gradients = _gradients(subject, part, DistributedLossWrapper(subject.build()))
        for name in ("model.weight", "model.bias"):
            dist.all_reduce(gradients[name])
            gradients[name] /= _WORLD_SIZE
        return value, gradients

    for rank, (value, gradients) in enumerate(run_processes(one_process, _WORLD_SIZE)):
        require_close(value, expected[0], f"value on process {rank}", rtol=1e-5)
        for name, gradient in expected[1].items():
            require_close(gradients[name], gradient, f"gradient of {name} on process {rank}", rtol=1e-4, atol=1e-6)


def _gradients(subject: Subject, batch: Batch, loss: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the value, and the gradients of a linear model and of the loss's parameters."""
    size = subject.profile.embedding_size
    with seeded(0):
        model = nn.Linear(size, size)
    value = subject.value(loss, replace(batch, embeddings=subject.fitted(model(batch.embeddings))))
    value.backward()
    own = dict((loss.loss if isinstance(loss, DistributedLossWrapper) else loss).named_parameters())
    parameters = {"model.weight": model.weight, "model.bias": model.bias} | own
    return value.detach(), {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in parameters.items()
    }
