"""What the checks must know about a loss, found out by trying."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu

from pml_proxyext.testing.profile import LossFactory, LossProfile
from pml_proxyext.testing.subject import Subject, owns_generator
from pml_proxyext.utils.checks import check_choice

__all__ = ["describe_loss"]


def describe_loss(factory: LossFactory, **known: Any) -> LossProfile:
    """Return the profile of the losses that ``factory`` builds: what is ``known``, and the rest found out by trying.

    Sizes are read from the loss's attributes, and what it refuses ("not supported", as all of PML says it) from its
    ValueErrors. A loss with ``num_classes`` is expected to compile into one graph, unless it
    owns a ``torch.Generator``, which torch cannot yet trace.

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
    loss = factory()
    sizes = {name: getattr(loss, name, None) or None for name in ("num_classes", "embedding_size")}
    known = {name: size for name, size in sizes.items() if size is not None} | known
    known.setdefault("fullgraph", known.get("num_classes") is not None and not owns_generator(loss))
    subject = Subject(factory, LossProfile(**known))

    def refuses(profile: LossProfile, **changes: Any) -> bool:
        probe = Subject(factory, profile)
        try:
            probe.value(probe.build(), probe.batch(**changes))
        except ValueError as error:
            return "not supported" in str(error)
        except Exception:  # it tried, which is no refusal; the checks will tell what went wrong
            return False
        return False

    if "labels" not in known:
        known["labels"] = not refuses(subject.profile)
    if "ref_emb" not in known:
        with_views = LossProfile(**known, ref_emb="required")
        known["ref_emb"] = "refused" if refuses(with_views) else "optional"
    if "tuples" not in known:
        labels = torch.arange(12) % min(6, known.get("num_classes") or 6)
        known["tuples"] = not refuses(LossProfile(**known), indices_tuple=lmu.get_all_pairs_indices(labels))
    if "random" not in known:
        known["random"] = Subject(factory, LossProfile(**known)).is_random()
    return LossProfile(**known)
