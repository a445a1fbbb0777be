r"""Samples between the atoms of a transport map, and none across its singularities."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pml_proxyext.geometry.transport_cells import affine_scores
from pml_proxyext.geometry.transport_sources import TransportSource
from pml_proxyext.utils.checks import check_embeddings, check_integer, check_number

__all__ = ["LatentSampler", "TransportedPoints", "dihedral_angles"]


def dihedral_angles(first: Tensor, second: Tensor) -> Tensor:
    r"""Return the angles between the planes over two sets of atoms, row by row, in radians.

    .. math::
        \theta = \arccos \frac{\langle y, y' \rangle + 1}{\sqrt{|y|^2 + 1} \sqrt{|y'|^2 + 1}},

    the angle between the normals :math:`(y, -1)` and :math:`(y', -1)`. It depends on the origin and the scale of the
    atoms.

    Example:
        >>> dihedral_angles(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]]))
        tensor([1.5708])
    """
    one = first.new_ones(len(first), 1)
    first, second = (nn.functional.normalize(torch.cat([y, one], dim=1)) for y in (first, second))
    # From the chord: the arc cosine loses half of the digits of a small angle.
    return 2 * torch.asin(((first - second).norm(dim=1) / 2).clamp_max(1))


@dataclass(frozen=True)
class TransportedPoints:
    """Where points go under :meth:`LatentSampler.transport`.

    Attributes:
        points: ``(N, d)``.
        is_regular: ``(N,)``; False where a point lies at a singularity and its image should not be used.
    """

    points: Tensor
    is_regular: Tensor


class LatentSampler(nn.Module):
    r"""The transport map made continuous inside the modes of the atoms, and broken between them.

    The optimal map jumps from atom to atom. Here a point goes to a mean of atoms. Of the planes
    :math:`\langle x, y_i \rangle + h_i` the highest at x and those next below it are taken. A plane whose angle with
    the highest one exceeds ``theta_max`` is dropped: there the convex function has a sharp edge, the map a singularity,
    and its two sides are different modes. The atoms of the rest are weighted by the inverse distances of x from the
    centroids of their cells. Where all neighbours are dropped, nothing is generated.

    Made by :meth:`~pml_proxyext.geometry.SemiDiscreteOT.sampler`. Its buffers are part of the ``state_dict``.

    Args:
        source: the law that samples are drawn from.
        atoms: ``(n, d)``, n >= 2.
        heights: ``(n,)``.
        centroids: ``(n, d)``, the source's mean in each cell; cells of NaN are empty and never a neighbour.
        theta_max: in (0, pi], in radians; pi drops nothing. Angles are those of :func:`dihedral_angles` of atoms of
            mean zero and unit mean square per coordinate: the origin and the scale of latents do not matter.
        neighbours: how many planes below the highest are looked at, less than n; None for d, or as many as there are.

    Raises:
        ValueError: for fewer than two atoms, and invalid arguments.

    Departs from the paper or the release:
        the paper with the rule (AE-OT) was at hand in its abstract alone, and the rule is from memory. That angles are
        taken of standardised atoms is ours.

    Reference:
        An, Guo, Lei, Luo, Yau, Gu, "AE-OT: A New Generative Model Based on Extended Semi-Discrete Optimal Transport",
        ICLR 2020.

    Example:
        >>> from pml_proxyext.geometry import SemiDiscreteOT
        >>> two_modes = torch.tensor([[0.0, 0.0], [0.1, 0.0], [9.0, 0.0], [9.0, 0.1]])
        >>> sampler = SemiDiscreteOT(two_modes).fit_exact().sampler(theta_max=0.5)
        >>> latents = sampler.sample(100, generator=torch.Generator().manual_seed(0))
        >>> ((latents[:, 0] < 0.2) | (latents[:, 0] > 8.8)).all()
        tensor(True)
    """

    atoms: Tensor
    heights: Tensor
    centroids: Tensor
    standardised: Tensor

    def __init__(
        self,
        source: TransportSource,
        atoms: Tensor,
        heights: Tensor,
        centroids: Tensor,
        theta_max: float,
        neighbours: int | None = None,
    ) -> None:
        super().__init__()
        if len(atoms) < 2:
            raise ValueError(f"atoms must be two or more to lie between, got {len(atoms)}")
        self.source = source
        self.theta_max = check_number("theta_max", theta_max, low=0, high=math.pi, open_low=True)
        most = len(atoms) - 1
        self.neighbours = min(atoms.shape[1], most) if neighbours is None else check_integer("neighbours", neighbours)
        if self.neighbours > most:
            raise ValueError(f"neighbours must be fewer than the {len(atoms)} atoms, got {neighbours}")
        centred = atoms - atoms.mean(0)
        self.register_buffer("atoms", atoms.clone())
        self.register_buffer("heights", heights.clone())
        self.register_buffer("centroids", centroids.clone())
        self.register_buffer("standardised", centred / centred.square().mean().sqrt())

    @torch.no_grad()
    def transport(self, points: Tensor) -> TransportedPoints:
        """Return where points go, ``(N, d)``, and whether their images are to be used."""
        check_embeddings(points, self.atoms.shape[1], name="points")
        scores = affine_scores(points.to(self.atoms), self.atoms, self.heights)
        images, regular = zip(*(self._interpolated(*part) for part in scores), strict=True)
        return TransportedPoints(torch.cat(images).to(points), torch.cat(regular).to(points.device))

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Return ``(count, d)`` points between atoms of one mode, in float64.

        Raises:
            RuntimeError: if hardly one in a hundred draws is regular: ``theta_max`` is too small.
        """
        check_integer("count", count)
        kept: list[Tensor] = []
        found, drawn, most = 0, 0, 100 * count + 10_000
        while found < count and drawn < most:
            moved = self.transport(self.source.sample(count, generator).to(self.atoms))
            kept.append(moved.points[moved.is_regular])
            found, drawn = found + len(kept[-1]), drawn + count
        if found < count:
            raise RuntimeError(f"{found} of {drawn} draws were regular; theta_max {self.theta_max:g} is too small")
        return torch.cat(kept)[:count]

    def extra_repr(self) -> str:
        return f"theta_max={self.theta_max:g}, neighbours={self.neighbours}, source={self.source!r}"

    def _interpolated(self, points: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        chosen = scores.topk(self.neighbours + 1, dim=1).indices  # (N, K + 1), the highest plane first
        others = chosen[:, 1:].flatten()
        highest = chosen[:, :1].expand(-1, self.neighbours).flatten()
        angles = dihedral_angles(self.standardised[highest], self.standardised[others])
        near = (angles <= self.theta_max) & self.centroids[others, 0].isfinite()
        kept = torch.cat([torch.ones_like(near[: len(points), None]), near.unflatten(0, (len(points), -1))], dim=1)
        distances = (points[:, None] - self.centroids[chosen]).norm(dim=2)  # (N, K + 1)
        # A highest plane whose cell had no sample has no centroid, and the point itself is in that cell.
        distances = distances.where(self.centroids[chosen, 0].isfinite(), 0.0)
        closeness = 1 / distances.clamp_min(1e-12)
        shares = closeness.where(kept, 0.0)
        shares = shares / shares.sum(1, keepdim=True)
        return (shares[:, :, None] * self.atoms[chosen]).sum(1), kept[:, 1:].any(1) & points.isfinite().all(1)
