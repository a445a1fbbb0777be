r"""The heights of a semi-discrete optimal transport map in any dimension, by stochastic descent on samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pml_proxyext.geometry.transport_cells import best_atoms
from pml_proxyext.geometry.transport_sources import TransportSource

__all__ = ["start_heights", "stochastic_heights"]

# Adam's usual decay rates of the mean and, shorter than usual, of the square of the gradient.
_MEAN_DECAY, _SQUARE_DECAY = 0.9, 0.99
# The heights are averaged over this last share of the steps. A larger one leaves less noise in many dimensions, but in
# two takes in heights that are still on their way: 0.5 leaves cells empty.
_AVERAGED_SHARE = 0.2


def start_heights(atoms: Tensor, source: TransportSource) -> Tensor:
    r"""Return :math:`-\frac s2 |y_i - m|^2 - \langle c, y_i \rangle`: Voronoi cells of atoms as wide as the source.

    With :math:`m` the mean of the atoms, :math:`c` that of the source and :math:`s` the ratio of their spreads, x is in
    the cell of the nearest :math:`c + s (y_i - m)`. At heights of 0 only atoms on the convex hull have cells.
    """
    centred = atoms - atoms.mean(0)
    return -_ratio(atoms, source) / 2 * centred.square().sum(1) - atoms @ source.mean.to(atoms)


def stochastic_heights(
    atoms: Tensor,
    weights: Tensor,
    source: TransportSource,
    steps: int,
    samples_per_step: int,
    step_size: float,
    generator: torch.Generator | None,
) -> Tensor:
    r"""Return heights whose cells have about the measures ``weights``.

    A descent on the convex energy of :class:`~pml_proxyext.geometry.SemiDiscreteOT`, whose gradient is the error of the
    cells' measures, counted on fresh samples in every step. As in Adam the steps are measured in root mean square
    gradients, but in one for all heights: their errors are alike. The step size falls to zero as a cosine does, and
    what is returned is the mean over the last fifth of the steps, which takes most of the noise out.
    """
    ratio, centre = _ratio(atoms, source), source.mean.to(atoms)
    # Atoms of the source's centre and spread; the scores of float32 lose nothing that 1e4 samples could tell.
    scaled = (ratio * (atoms - atoms.mean(0))).float()
    heights = -scaled.square().sum(1) / 2
    targets = weights.float()
    mean, square, average, averaged = torch.zeros_like(heights), 0.0, torch.zeros_like(heights), 0
    for step in range(steps):
        points = (source.sample(samples_per_step, generator).to(atoms) - centre).float()
        winners = best_atoms(points, scaled, heights)
        gradient = torch.bincount(winners, minlength=len(atoms)) / samples_per_step - targets
        mean = _MEAN_DECAY * mean + (1 - _MEAN_DECAY) * gradient
        square = _SQUARE_DECAY * square + (1 - _SQUARE_DECAY) * gradient.square().mean().item()
        size = math.sqrt(square / (1 - _SQUARE_DECAY ** (step + 1))) * (1 - _MEAN_DECAY ** (step + 1))
        rate = step_size * source.spread**2 * (1 + math.cos(math.pi * step / steps)) / 2
        heights = heights - rate / max(size, 1e-30) * mean
        if step >= (1 - _AVERAGED_SHARE) * steps:
            average, averaged = average + heights, averaged + 1
    found = (average / averaged if averaged else heights).to(atoms) / ratio - atoms @ centre
    return found - found.mean()


def _ratio(atoms: Tensor, source: TransportSource) -> float:
    spread = (atoms - atoms.mean(0)).square().mean().sqrt().item()
    return source.spread / spread if spread else 1.0
