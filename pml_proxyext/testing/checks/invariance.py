"""The order of the rows, and the names of classes that have no proxies, mean nothing."""

from __future__ import annotations

import torch

from pml_proxyext.testing.subject import Evaluation, NotApplicable, Subject

__all__ = ["check_label_names", "check_row_order"]


def check_row_order(subject: Subject) -> None:
    """Permuting the batch leaves the value and the parameters' gradients, and permutes the embeddings' gradients."""
    subject.require_deterministic()
    batch = subject.batch(dtype=torch.float64)
    order = torch.randperm(len(batch.embeddings), generator=torch.Generator().manual_seed(0))
    expected = subject.evaluate(batch, subject.build().double())
    expected = Evaluation(expected.value, expected.embeddings_grad[order], expected.parameter_grads)
    permuted = subject.evaluate(batch.rows(order), subject.build().double())
    permuted.require_close(expected, "rows in another order", rtol=1e-8, atol=1e-10)


def check_label_names(subject: Subject) -> None:
    """Class ids from 1000 on are as good as any for a loss without a table of classes."""
    if subject.profile.num_classes is not None or not subject.profile.labels:
        raise NotApplicable("labels are places in the loss's table of classes, or not taken")
    subject.require_deterministic()
    batch = subject.batch()
    assert batch.labels is not None
    renamed = subject.batch(batch.labels * 7 + 1000)
    subject.evaluate(renamed).require_close(subject.evaluate(batch), "other class ids", rtol=1e-5, atol=1e-6)
