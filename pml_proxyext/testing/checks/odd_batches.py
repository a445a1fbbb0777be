"""Batches that training meets now and then: the loss is finite, keeps its graph, and hides no NaN."""

from __future__ import annotations

from dataclasses import replace

import torch

from pml_proxyext.testing.subject import Batch, NotApplicable, Subject, require

__all__ = [
    "check_duplicates",
    "check_empty_batch",
    "check_identical_embeddings",
    "check_large_norms",
    "check_nan_is_visible",
    "check_no_positive",
    "check_one_class",
    "check_one_sample",
    "check_zero_vectors",
]


def check_empty_batch(subject: Subject) -> None:
    subject.evaluate(subject.batch(torch.empty(0, dtype=torch.long))).require_finite("an empty batch")


def check_one_sample(subject: Subject) -> None:
    subject.evaluate(subject.batch(torch.tensor([0]))).require_finite("one sample")


def check_one_class(subject: Subject) -> None:
    _require_labels(subject)
    subject.evaluate(subject.batch(torch.zeros(6, dtype=torch.long))).require_finite("one class")


def check_no_positive(subject: Subject) -> None:
    """Every class once."""
    _require_labels(subject)
    labels = torch.arange(min(6, subject.profile.num_classes or 6))
    subject.evaluate(subject.batch(labels)).require_finite("no two samples of a class")


def check_duplicates(subject: Subject) -> None:
    """The rows twice, so that distances between samples are zero."""
    batch = subject.batch(torch.arange(4) % (subject.profile.num_classes or 4))
    subject.evaluate(batch.rows(torch.arange(8) % 4)).require_finite("duplicate rows")


def check_identical_embeddings(subject: Subject) -> None:
    batch = subject.batch()
    same = batch.embeddings[:1].expand_as(batch.embeddings)
    subject.evaluate(_with_embeddings(batch, same)).require_finite("identical embeddings")


def check_zero_vectors(subject: Subject) -> None:
    """Zero has no direction; both one row of zeros and all rows must pass."""
    batch = subject.batch()
    one = batch.embeddings.clone()
    one[0] = 0
    subject.evaluate(_with_embeddings(batch, one)).require_finite("a zero embedding")
    subject.evaluate(_with_embeddings(batch, torch.zeros_like(one))).require_finite("all embeddings zero")


def check_large_norms(subject: Subject) -> None:
    """Networks without a last normalisation give norms of this size."""
    if subject.profile.unit_interval:
        raise NotApplicable("embeddings lie in [0, 1]")
    batch = subject.batch()
    norms = batch.embeddings.norm(dim=1, keepdim=True)
    subject.evaluate(_with_embeddings(batch, 100 * batch.embeddings / norms)).require_finite("norm 100")


def check_nan_is_visible(subject: Subject) -> None:
    """One NaN among the embeddings makes the loss NaN; an ordinary number would hide it from whoever watches."""
    batch = subject.batch()
    broken = batch.embeddings.clone()
    broken[0, 0] = torch.nan
    value = subject.value(subject.build(), _with_embeddings(batch, broken))
    require(not torch.isfinite(value), f"a NaN embedding is hidden: the loss is {value.item():.4g}")


def _with_embeddings(batch: Batch, embeddings: torch.Tensor) -> Batch:
    return replace(batch, embeddings=embeddings, ref_emb=None if batch.ref_emb is None else embeddings.clone())


def _require_labels(subject: Subject) -> None:
    if not subject.profile.labels:
        raise NotApplicable("the loss takes no labels")
