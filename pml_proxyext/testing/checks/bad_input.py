"""Bad input gets a ValueError that names the argument; unusual but right input is taken."""

from __future__ import annotations

import re
from dataclasses import replace

import torch
from torch import Tensor

from pml_proxyext.testing.subject import Batch, NotApplicable, Subject, require, require_close

__all__ = [
    "check_bool_labels",
    "check_float_labels",
    "check_ignore_index",
    "check_integer_embeddings",
    "check_integer_label_types",
    "check_label_too_large",
    "check_labels_two_dimensional",
    "check_mismatched_rows",
    "check_missing_labels",
    "check_negative_label",
    "check_ref_emb",
    "check_wrong_width",
]


def check_label_too_large(subject: Subject) -> None:
    batch = _batch_with_label(subject, subject.profile.num_classes or 0)
    _require_refused(subject, batch, "labels", f"label {subject.profile.num_classes}, the number of classes,")


def check_negative_label(subject: Subject) -> None:
    _require_refused(subject, _batch_with_label(subject, -1), "labels", "label -1")


def check_ignore_index(subject: Subject) -> None:
    """Cross-entropy takes -100 for "leave this sample out"."""
    _require_refused(subject, _batch_with_label(subject, -100), "labels", "label -100")


def check_float_labels(subject: Subject) -> None:
    _require_refused(subject, subject.batch(_labels(subject).float()), "labels", "float labels")


def check_bool_labels(subject: Subject) -> None:
    _require_refused(subject, subject.batch(_labels(subject) > 0), "labels", "bool labels")


def check_labels_two_dimensional(subject: Subject) -> None:
    labels = _labels(subject)
    batch = replace(subject.batch(), labels=labels[:, None])
    _require_refused(subject, batch, "labels", "2-D labels")


def check_integer_label_types(subject: Subject) -> None:
    """int32 and uint8 are integers."""
    labels = _labels(subject)
    expected = subject.value(subject.build(), subject.batch())
    for dtype in (torch.int32, torch.uint8):
        try:
            value = subject.value(subject.build(), subject.batch(labels.to(dtype)))
        except Exception as error:
            raise AssertionError(f"labels of {dtype} end in {type(error).__name__}: {error}") from error
        require_close(value, expected, f"value with labels of {dtype}", rtol=1e-6)


def check_missing_labels(subject: Subject) -> None:
    _labels(subject)
    _require_refused(subject, replace(subject.batch(), labels=None, ref_labels=None), "labels", "no labels")


def check_mismatched_rows(subject: Subject) -> None:
    batch = subject.batch()
    if subject.profile.labels:
        shorter = replace(batch, labels=_labels(subject)[:-1])
        _require_refused(subject, shorter, "labels", "fewer labels than embeddings")
    elif batch.ref_emb is not None:
        _require_refused(subject, replace(batch, ref_emb=batch.ref_emb[:-1]), "ref_emb", "fewer rows in ref_emb")


def check_wrong_width(subject: Subject) -> None:
    if subject.profile.num_classes is None:
        raise NotApplicable("the loss has no width of its own")
    batch = subject.batch()
    wider = torch.cat([batch.embeddings, batch.embeddings], dim=1)
    _require_refused(subject, replace(batch, embeddings=wider), "embedding", "embeddings of twice the width")


def check_integer_embeddings(subject: Subject) -> None:
    batch = subject.batch()
    integers = replace(batch, embeddings=(8 * batch.embeddings).long())
    _require_refused(subject, integers, "embeddings", "integer embeddings")


def check_ref_emb(subject: Subject) -> None:
    """A second set of embeddings is refused, asked for, or needs its labels, as the loss's profile says."""
    batch = subject.batch()
    kind = subject.profile.ref_emb
    if kind == "refused":
        both = replace(batch, ref_emb=batch.embeddings.clone(), ref_labels=batch.labels)
        _require_refused(subject, both, "ref_emb.*not supported", "ref_emb")
    elif kind == "required":
        _require_refused(subject, replace(batch, ref_emb=None, ref_labels=None), "ref_emb", "no ref_emb")
    elif not subject.profile.labels:
        raise NotApplicable("ref_emb is optional and has no labels")
    else:
        lacking = replace(batch, ref_emb=batch.embeddings.clone())
        _require_refused(subject, lacking, "ref_labels", "ref_emb without ref_labels")


def _labels(subject: Subject) -> Tensor:
    labels = subject.batch().labels
    if labels is None:
        raise NotApplicable("the loss takes no labels")
    return labels


def _batch_with_label(subject: Subject, label: int) -> Batch:
    if subject.profile.num_classes is None:
        raise NotApplicable("any integer is a label")
    labels = _labels(subject).clone()
    labels[0] = label
    return subject.batch(labels)


def _require_refused(subject: Subject, batch: Batch, pattern: str, what: str) -> None:
    """Require a ValueError whose text fits ``pattern``."""
    try:
        value = subject.value(subject.build(), batch)
    except ValueError as error:
        named = re.search(pattern, str(error)) is not None
        require(named, f"{what}: the ValueError does not say {pattern!r} but {str(error)!r}")
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__} instead of a ValueError: {error}") from error
    else:
        raise AssertionError(f"{what}: silently accepted, the loss is {value.item():.4g}")
