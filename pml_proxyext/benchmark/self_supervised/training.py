"""One run: a small network that learns from crops of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from pml_proxyext.benchmark.self_supervised.augmentation import random_colours, random_crops
from pml_proxyext.benchmark.self_supervised.evaluation import renew_batch_norm
from pml_proxyext.benchmark.self_supervised.methods import WIDTH, Encoded, Method, small_encoder

__all__ = ["random_view", "train"]

_VIEW, _PART, _BATCH, _PROJECTION, _WEIGHT_DECAY = 32, 16, 128, 128, 1e-2
_VIEW_AREA, _PART_AREA = (0.5, 1.0), (0.1, 0.4)  # of the picture, and of the view
_COLOUR_STRENGTH, _GREY_SHARE = 0.4, 0.1
_LAST = 20  # steps whose losses are reported


def random_view(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return one random view of each drawing: a crop ``(N, 3, 32, 32)`` of other colours.

    Args:
        images: ``(N, 3, 64, 64)`` unsigned bytes.
        generator: of the draws.
    """
    crops = random_crops(images.float() / 255, _VIEW, _VIEW_AREA, generator)
    return random_colours(crops, _COLOUR_STRENGTH, _GREY_SHARE, generator)


def train(method: Method, settings: Mapping[str, float], images: Tensor, steps: int) -> tuple[nn.Module, float]:
    """Return the trained network without heads, and the mean loss of the last 20 steps.

    Initial weights, batches, views and crops depend on torch's generator, and not on the method.

    Args:
        method: what to train by.
        settings: ``lr``, the largest value of a rate that goes up and down once, and ``temperature``.
        images: ``(N, 3, 64, 64)`` unsigned bytes, the drawings to train on.
        steps: batches of 128.
    """
    encoder, head, head_of_part = small_encoder(), _head(), _head()
    generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    loss_func = method.make(settings["temperature"])
    weights = [*encoder.parameters(), *head.parameters(), *head_of_part.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=settings["lr"], weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings["lr"], total_steps=steps + 1)
    losses = []
    for rows in _batches(len(images), min(_BATCH, len(images)), steps, generator):
        view, other = (random_view(images[rows], generator) for _ in range(2))
        part = random_crops(view, _PART, _PART_AREA, generator)
        if method.needs_view:
            encoded_view, encoded = encoder(torch.cat([view, other])).chunk(2)
        else:
            encoded_view, encoded = None, encoder(other)
        loss = loss_func(
            Encoded(
                view=None if encoded_view is None else head(encoded_view),
                other=head(encoded),
                part=head_of_part(encoder(part)) if method.needs_part else None,
                other_of_part=head_of_part(encoded),
            )
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
    renew_batch_norm(encoder, images)
    return encoder.eval(), torch.stack(losses[-_LAST:]).mean().item()


def _head() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, _PROJECTION))


def _batches(count: int, size: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield rows: all in random order before any comes again, but for those left over."""
    per_epoch = count // size
    for step in range(steps):
        if step % per_epoch == 0:
            order = torch.randperm(count, generator=generator)
        yield order[step % per_epoch * size :][:size]
