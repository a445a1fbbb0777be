"""Linear pieces of an encoder between images of one class, and between images of two."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pml_proxyext.geometry import line_regions
from pml_proxyext.utils.checks import check_integer

__all__ = ["pieces_between", "segment_ends"]


def segment_ends(labels: Tensor, count: int, same_class: bool, generator: torch.Generator | None = None) -> Tensor:
    """Draw pairs of different samples of one class, or of two, ``(count, 2)``; every such pair is equally likely.

    Raises:
        ValueError: if no two samples are of one class, or of two.

    Example:
        >>> segment_ends(torch.tensor([0, 1, 0]), 2, same_class=True).sort(dim=1).values
        tensor([[0, 2],
                [0, 2]])
    """
    check_integer("count", count)
    sizes = labels.bincount()[labels]
    partners = sizes - 1 if same_class else len(labels) - sizes
    if not partners.any():
        raise ValueError(
            f"labels must have two samples of {'one class' if same_class else 'two classes'}, got {labels}"
        )
    first = torch.multinomial(partners.double(), count, replacement=True, generator=generator)
    allowed = (labels[first, None] == labels) == same_class
    allowed &= torch.arange(len(labels)) != first[:, None]
    second = torch.multinomial(allowed.double(), 1, generator=generator)
    return torch.cat([first[:, None], second], dim=1)


def pieces_between(encoder: nn.Module, images: Tensor, ends: Tensor) -> dict[str, float]:
    """Return how many linear pieces there are on segments between images, exactly.

    Args:
        encoder: piecewise linear and in evaluation mode, see :func:`~pml_proxyext.geometry.line_regions`.
        images: ``(N, ...)``.
        ends: the indices of the two ends of each segment, ``(M, 2)``.

    Returns:
        ``pieces``, the mean over segments; ``length``, their mean length; ``breaks_per_length``, the ends of pieces on
        all segments over the length of all.

    Example:
        >>> absolute = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> with torch.no_grad():
        ...     _ = absolute[0].weight.copy_(torch.tensor([[1.0], [-1.0]])), absolute[0].bias.zero_()
        >>> pieces_between(absolute, torch.tensor([[-1.0], [3.0]]), torch.tensor([[0, 1]]))
        {'pieces': 2.0, 'length': 4.0, 'breaks_per_length': 0.25}
    """
    found = [line_regions(encoder, images[start], images[end]) for start, end in ends.tolist()]
    pieces = sum(segment.n_pieces for segment in found) / len(found)
    length = sum(segment.length for segment in found) / len(found)
    return {"pieces": pieces, "length": length, "breaks_per_length": (pieces - 1) / length}
