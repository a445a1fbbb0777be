"""What the checks must know about a loss, found out by trying."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pytorch_metric_learning.utils import loss_and_miner_utils as lmu

from pml_proxyext.testing.profile import LossFactory, LossProfile
from pml_proxyext.testing.subject import Subject, owns_generator
from pml_proxyext.utils.checks import check_choice

__all__ = ["describe_loss"]


def describe_loss(factory: LossFactory, **known: Any) -> LossProfile:
    """Return the profile of the losses that ``factory`` builds: what is ``known``, and the rest found out by trying.

    Sizes are read from the loss's attributes, and what it refuses ("not supported", as all of PML says it) from its
    ValueErrors. A loss with ``num_classes`` is expected to compile into one graph, unless it owns a
    ``torch.Generator``, which torch cannot trace.

    Args:
        factory: builds the loss; called with PML's keyword arguments.
        **known: fields of :class:`LossProfile` that are not to be guessed.

    Raises:
        ValueError: for an unknown field.

    Example:
        >>> from pml_proxyext.losses import ProxyAnchorLoss
        >>> profile = describe_loss(lambda **kwargs: ProxyAnchorLoss(6, 8, **kwargs))
        >>> profile.num_classes, profile.ref_emb, profile.fullgraph
        (6, 'refused', True)
    """

    for name in known:
        check_choice("known", name, [item.name for item in fields(LossProfile)])

    def subject() -> Subject:
        return Subject(factory, LossProfile(**known))

    loss = subject().build()
    for name in ("num_classes", "embedding_size"):
        known.setdefault(name, getattr(loss, name, None) or getattr(LossProfile, name))
    known.setdefault("fullgraph", known["num_classes"] is not None and not owns_generator(loss))
    if "labels" not in known:
        known["labels"] = "not supported" not in _refusal(subject())
    if "ref_emb" not in known:
        lacking = "ref_emb" in _refusal(subject())
        refused = "not supported" in _refusal(Subject(factory, LossProfile(**known, ref_emb="required")))
        known["ref_emb"] = "required" if lacking else "refused" if refused else "optional"
    if "tuples" not in known:
        labels = subject().batch().labels
        tuples = None if labels is None else lmu.get_all_pairs_indices(labels)
        known["tuples"] = tuples is not None and "not supported" not in _refusal(subject(), tuples)
    if "random" not in known:
        known["random"] = subject().is_random()
    return subject().profile


def _refusal(subject: Subject, indices_tuple: Any = None) -> str:
    """Return the text of the ValueError that an ordinary batch ends in, or nothing."""
    try:
        subject.value(subject.build(), subject.batch(indices_tuple=indices_tuple))
    except ValueError as error:
        return str(error)
    except Exception:
        return ""  # it tried, which is no refusal; the checks will tell what went wrong
    return ""
