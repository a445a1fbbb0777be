"""torch.compile: the same value and gradients, in one graph where the loss can."""

from __future__ import annotations

import torch

from pml_proxyext.testing.subject import Subject

__all__ = ["check_compile"]


def check_compile(subject: Subject) -> None:
    """Through the graph of forward and backward, run without code generation, which is torch's and slow."""
    batch = subject.batch()
    loss = subject.build()
    torch.compiler.reset()
    try:
        loss.compile(backend="aot_eager", fullgraph=subject.profile.fullgraph)
        compiled = subject.evaluate(batch, loss)
    except Exception as error:
        if isinstance(error, AssertionError):
            raise
        graph = "in one graph" if subject.profile.fullgraph else "at all"
        raise AssertionError(f"does not compile {graph}: {type(error).__name__}: {error}") from error
    finally:
        torch.compiler.reset()
    compiled.require_finite("compiled")
    if not subject.profile.random:  # a compiled graph may draw its numbers in another order
        compiled.require_close(subject.evaluate(batch), "compiled", rtol=1e-4, atol=1e-6)
