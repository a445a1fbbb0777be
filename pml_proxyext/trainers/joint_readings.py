r"""Which pairs of latents an adversarial layer tells apart: three readings of "their joint distribution"."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["JointReading", "Pair", "joint_pairs"]

JointReading = Literal["mapped", "shuffled", "prior"]

Pair = tuple[Tensor, Tensor]


def joint_pairs(
    reading: JointReading, z: Tensor, ref_z: Tensor, mapped: Tensor, generator: torch.Generator | None = None
) -> tuple[Pair, Pair]:
    r"""Return true pairs and generated ones.

    ==============  =======================  ======================================================================
    reading         true                     generated
    ==============  =======================  ======================================================================
    ``"mapped"``    :math:`(z_a, z_b)`       :math:`(z_a, W z_a)`: what the aligner makes of the first view
    ``"shuffled"``  :math:`(z_a, z_b)`       :math:`(z_a, z_b')`: the second view of another pair
    ``"prior"``     :math:`(n, n)`           :math:`(W z_a, z_b)`, where :math:`n` is standard normal
    ==============  =======================  ======================================================================

    Args:
        reading: one of the three.
        z: ``(N, Z)``, first view.
        ref_z: ``(N, Z)``, second view.
        mapped: ``(N, Z)``, the first view in the space of the second.
        generator: draws the order of ``"shuffled"`` and the normal numbers of ``"prior"``; None for torch's default.

    Example:
        >>> a, b = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]])
        >>> joint_pairs("shuffled", a, b, a)[1][1]  # of two rows, the other
        tensor([[4.],
                [3.]])
    """
    if reading == "mapped":
        return (z, ref_z), (z, mapped)
    device = z.device if generator is None else generator.device
    if reading == "shuffled":
        # Moving all rows around by the same number leaves none with its own partner.
        distance = int(torch.randint(1, len(z), (), generator=generator, device=device))
        return (z, ref_z), (z, ref_z.roll(distance, 0))
    prior = torch.randn(z.shape, generator=generator, dtype=z.dtype, device=device).to(z)
    return (prior, prior), (mapped, ref_z)
