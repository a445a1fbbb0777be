"""State: what a checkpoint, a copy or another process gets is all there is."""

from __future__ import annotations

import copy
import io
import pickle
import sys

import torch
from torch import Tensor, nn

from pml_proxyext.testing.subject import NotApplicable, Subject, require, require_close

__all__ = [
    "check_deepcopy",
    "check_forward_keeps_state",
    "check_pickle",
    "check_state_dict",
    "check_state_is_registered",
]


def check_state_dict(subject: Subject) -> None:
    """A loss built from another seed gives the same value once it has loaded the state, saved to a file and back."""
    saved = io.BytesIO()
    torch.save(subject.build().state_dict(), saved)
    saved.seek(0)
    other = subject.build(seed=1)
    other.load_state_dict(torch.load(saved, weights_only=True))
    _require_same_value(subject, other, "after load_state_dict")


def check_pickle(subject: Subject) -> None:
    """A loss that has been used can be pickled."""
    loss = subject.build()
    kind = type(loss)
    if getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is not kind:
        raise NotApplicable("no class made inside a function or by exec can be pickled")
    _use(subject, loss)
    _require_same_value(subject, pickle.loads(pickle.dumps(loss)), "after pickle")


def check_deepcopy(subject: Subject) -> None:
    """A loss that has been used can be copied, and the copy is its own."""
    loss = subject.build()
    _use(subject, loss)
    copied = copy.deepcopy(loss)
    _require_same_value(subject, copied, "after deepcopy")
    shared = {p.data_ptr() for p in loss.parameters()} & {p.data_ptr() for p in copied.parameters()}
    require(not shared, "the copy shares its parameters with the original")


def check_state_is_registered(subject: Subject) -> None:
    """No tensor is a plain attribute: such a one neither moves with ``.to()`` nor enters ``state_dict()``."""
    loss = subject.build()
    _use(subject, loss)
    plain = [
        f"{name}.{attribute}".lstrip(".")
        for name, module in loss.named_modules()
        for attribute, value in vars(module).items()
        if isinstance(value, Tensor)
    ]
    require(not plain, f"tensors that are neither parameter nor buffer: {', '.join(plain)}")


def check_forward_keeps_state(subject: Subject) -> None:
    """Forward and backward leave parameters and buffers to the optimizer."""
    loss = subject.build()
    before = copy.deepcopy(loss.state_dict())
    _use(subject, loss)
    after = loss.state_dict()
    changed = [name for name, tensor in before.items() if not torch.equal(tensor, after[name])]
    require(not changed, f"forward changes {', '.join(changed)}")


def _use(subject: Subject, loss: nn.Module) -> None:
    subject.evaluate(subject.batch(), loss)


def _require_same_value(subject: Subject, loss: nn.Module, when: str) -> None:
    if subject.profile.random:
        expected = subject.build()
        # a generator of its own has advanced in one of the two; what remains to compare is the state
        pairs = zip(expected.state_dict().items(), loss.state_dict().items(), strict=True)
        require(all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs), f"the state differs {when}")
        return
    batch = subject.batch()
    require_close(subject.value(loss, batch), subject.value(subject.build(), batch), f"value {when}", rtol=1e-6)
