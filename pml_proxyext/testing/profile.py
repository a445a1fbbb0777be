"""What the checks must know about a loss, and how most of it is found out by trying."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu

from pml_proxyext.utils.checks import check_choice

__all__ = ["LossFactory", "LossProfile", "describe_loss"]

#: Builds a loss from PML's keyword arguments (``reducer``, ``embedding_regularizer``, ``weight_regularizer``).
LossFactory = Callable[..., BaseMetricLossFunction]


@dataclass(frozen=True)
class LossProfile:
    """What a loss takes and promises.

    Args:
        embedding_size: width of the embeddings it is given.
        num_classes: labels must lie in ``[0, num_classes)``; None if any integers are labels.
        labels: whether it takes labels.
        ref_emb: whether a second set of embeddings is ``"refused"``, ``"optional"`` or ``"required"``.
        tuples: whether it takes a miner's tuples.
        random: whether it draws random numbers, so that two evaluations agree only after equal seeding. Say so of a
            loss that owns its generator; drawing from torch's is found out.
        fullgraph: whether it must compile into one graph; no loss that lists pairs by their labels can.
        exempt: from the name of a check to the reason why it does not apply.
    """

    embedding_size: int = 8
    num_classes: int | None = None
    labels: bool = True
    ref_emb: Literal["refused", "optional", "required"] = "optional"
    tuples: bool = True
    random: bool = False
    fullgraph: bool = False
    exempt: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choice("ref_emb", self.ref_emb, ["refused", "optional", "required"])


def describe_loss(factory: LossFactory, **known: Any) -> LossProfile:
    """Return the profile of the losses that ``factory`` builds: what is ``known``, and the rest found out by trying.

    Sizes are read from the loss's attributes, and what it refuses ("not supported", as all of PML says it) from its
    ValueErrors. A loss with ``num_classes`` is expected to compile into one graph.

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
    from pml_proxyext.testing.subject import Subject  # the subject needs a profile, and this one needs the subject

    for name in known:
        check_choice("known", name, [item.name for item in fields(LossProfile)])
    loss = factory()
    sizes = {name: getattr(loss, name, None) or None for name in ("num_classes", "embedding_size")}
    known = {name: size for name, size in sizes.items() if size is not None} | known
    known.setdefault("fullgraph", known.get("num_classes") is not None)
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
