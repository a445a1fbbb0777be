"""What a loss tells about itself: records, repr, logits and optimizer groups."""

from __future__ import annotations

import torch

from pml_proxyext.testing.subject import NotApplicable, Subject, require, seeded

__all__ = ["check_logits", "check_param_groups", "check_recorded_sizes", "check_repr"]


def check_recorded_sizes(subject: Subject) -> None:
    """PML creates a recorded attribute that is missing, as 0: the log then holds a size that never was."""
    loss = subject.build()
    recorded = [name for name in ("num_classes", "embedding_size") if name in getattr(loss, "_record_these", ())]
    if not recorded:
        raise NotApplicable("no sizes are recorded")
    for name in recorded:
        size, expected = getattr(loss, name), getattr(subject.profile, name)
        require(size == expected, f"the recorded {name} is {size}, not {expected}")


def check_repr(subject: Subject) -> None:
    """``repr`` shows the recorded hyper-parameters: a printed loss says what it is."""
    loss = subject.build()
    own = loss.extra_repr()
    missing = [name for name in getattr(loss, "_record_these", ()) if name not in own]
    require(not missing, f"repr does not show {', '.join(missing)}")


def check_logits(subject: Subject) -> None:
    """After a fit to well separated classes, the largest logit is that of the own class."""
    loss = subject.build()
    if not hasattr(loss, "get_logits") or subject.profile.num_classes is None:
        raise NotApplicable("the loss has no get_logits")
    num_classes, size = subject.profile.num_classes, subject.profile.embedding_size
    labels = torch.arange(num_classes).repeat_interleave(2)
    generator = torch.Generator().manual_seed(0)
    centers = torch.linalg.qr(torch.randn(max(num_classes, size), max(num_classes, size), generator=generator))[0]
    noise = torch.randn(len(labels), size, generator=generator)
    embeddings = 10 * centers[:num_classes, :size][labels] + noise
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.02)
    with seeded(0):
        for _ in range(100):
            optimizer.zero_grad()
            loss(embeddings, labels).backward()
            optimizer.step()
        logits = loss.get_logits(embeddings)
    shape = (len(labels), num_classes)
    require(tuple(logits.shape) == shape, f"get_logits has shape {tuple(logits.shape)}, not {shape}")
    accuracy = (logits.argmax(1) == labels).double().mean().item()
    needed = 0.5 if subject.profile.random else 1.0  # random logits err at times; those of the wrong sign, always
    require(accuracy >= needed, f"after a fit the largest logit is the own class's for {accuracy:.0%} of the samples")


def check_param_groups(subject: Subject) -> None:
    """``param_groups(lr)`` has every parameter once, and an optimizer takes it."""
    loss = subject.build()
    if not hasattr(loss, "param_groups"):
        raise NotApplicable("the loss has no param_groups")
    if not list(loss.parameters()):
        raise NotApplicable("the loss has no parameters")
    groups = loss.param_groups(0.1)
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    expected = {id(parameter): name for name, parameter in loss.named_parameters()}
    forgotten = [name for key, name in expected.items() if key not in listed]
    require(not forgotten, f"param_groups forgets {', '.join(forgotten)}")
    require(len(listed) == len(set(listed)) == len(expected), "param_groups lists a parameter twice, or a foreign one")
    torch.optim.SGD(groups, lr=0.1)
