r"""Optimal transport from a simple law to points: the generator of an autoencoder's latents, without an adversary."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pml_proxyext.geometry.latent_sampler import LatentSampler
from pml_proxyext.geometry.transport_cells import (
    CellError,
    TransportCells,
    best_atoms,
    cell_error,
    line_cells,
    plane_cells,
    sampled_cells,
)
from pml_proxyext.geometry.transport_newton import newton_heights
from pml_proxyext.geometry.transport_sources import TransportSource, UniformBox
from pml_proxyext.geometry.transport_stochastic import start_heights, stochastic_heights
from pml_proxyext.utils.checks import check_embeddings, check_integer, check_number

__all__ = ["SemiDiscreteOT"]


class SemiDiscreteOT(nn.Module):
    r"""The optimal map, for squared Euclidean cost, from a law :math:`\zeta` with a density to weighted atoms.

    By Brenier's theorem it is the gradient of a convex function. For atoms :math:`y_i` of weights :math:`\nu_i` that
    function is a maximum of planes,

    .. math::
        u_h(x) = \max_i \langle x, y_i \rangle + h_i, \qquad T(x) = \nabla u_h(x) = y_i \text{ on the cell } W_i(h),

    with the heights at which every cell has the probability :math:`\zeta(W_i) = \nu_i`. They are the minimum of the
    convex energy :math:`E(h) = \int u_h d\zeta - \sum_i \nu_i h_i`, whose gradient is :math:`\zeta(W_i) - \nu_i` (its
    negative is what some texts maximise), and are unique up to a constant; here their mean is 0. One convex function
    holds both the map and, as :math:`|x|^2 / 2 - u(x)`, the critic of a Wasserstein GAN.

    Args:
        atoms: ``(n, d)`` different points, the latents of a data set for example.
        weights: ``(n,)`` positive, of sum 1; None for equal ones.
        source: the law :math:`\zeta`, :class:`~pml_proxyext.geometry.UniformBox` or
            :class:`~pml_proxyext.geometry.StandardNormal` of d dimensions; None for the uniform law on the unit cube.

    Attributes:
        heights: ``(n,)``. Before a fit they are the start of the stochastic one: the Voronoi cells of the atoms, moved
            and scaled to the source. Atoms, weights and heights are buffers in float64 and part of the ``state_dict``.

    Shapes:
        points ``(N, d)`` -> the atoms that they go to, ``(N, d)``, without a graph.

    Raises:
        ValueError: for atoms that are not a finite matrix, or occur twice, weights of another number, that are not
            positive or do not sum to 1, and a source of another dimension.

    Departs from the paper:
        of which the theory is here, Section 5; that of the solvers is the standard one of semi-discrete transport. The
        paper's text maps the latents to the source where it defines the model and the source to the latents where it
        generates; this is the latter.

    Reference:
        Lei, Luo, Yau, Gu, "Geometric Understanding of Deep Learning", arXiv:1805.10451, Section 5. Gu, Luo, Sun, Yau,
        "Variational Principles for Minkowski Type Problems, Discrete Optimal Transport, and Discrete Monge-Ampere
        Equations", Asian Journal of Mathematics, 2016. Kitagawa, Merigot, Thibert, "Convergence of a Newton algorithm
        for semi-discrete optimal transport", Journal of the EMS, 2019.

    Example:
        >>> atoms = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]])
        >>> transport = SemiDiscreteOT(atoms, torch.tensor([0.5, 0.25, 0.25])).fit_exact()
        >>> transport.cell_measures()
        tensor([0.5000, 0.2500, 0.2500], dtype=torch.float64)
        >>> transport(torch.tensor([[0.1, 0.3], [0.9, 0.9]]))
        tensor([[0., 0.],
                [1., 2.]])
    """

    atoms: Tensor
    weights: Tensor
    heights: Tensor

    def __init__(self, atoms: Tensor, weights: Tensor | None = None, source: TransportSource | None = None) -> None:
        super().__init__()
        atoms = _checked_atoms(atoms)
        self.source = UniformBox.unit(atoms.shape[1]) if source is None else source
        if self.source.dim != atoms.shape[1]:
            raise ValueError(f"source must have the atoms' dimension {atoms.shape[1]}, got {self.source.dim}")
        self.register_buffer("atoms", atoms)
        self.register_buffer("weights", _checked_weights(weights, atoms))
        start = start_heights(atoms, self.source)
        self.register_buffer("heights", start - start.mean())

    def fit_exact(self, tolerance: float = 1e-10, max_steps: int = 100) -> SemiDiscreteOT:
        """Find the heights exactly: on the line in closed form, in a rectangle by Newton's method.

        Args:
            tolerance: the largest error of a cell's measure that Newton's method ends with.
            max_steps: how many steps it may take; ten are usual, for a thousand atoms too.

        Raises:
            ValueError: where there is no exact solver: three dimensions or more, and sources without a rectangle.
            RuntimeError: if the tolerance is not reached.
        """
        check_number("tolerance", tolerance, low=0, open_low=True)
        check_integer("max_steps", max_steps)
        if self.atoms.shape[1] == 1:
            heights = self._line_heights()
        elif self.atoms.shape[1] == 2 and isinstance(self.source, UniformBox):
            atoms, weights = self.atoms.cpu().numpy(), self.weights.cpu().numpy()
            low, high = self.source.low.numpy(), self.source.high.numpy()
            heights = torch.from_numpy(newton_heights(atoms, weights, low, high, tolerance, max_steps))
        else:
            raise ValueError(
                f"exact cells need one dimension, or two and a UniformBox, got {self.source!r}; use fit_stochastic"
            )
        self.heights.copy_(heights)
        return self

    def fit_stochastic(
        self,
        steps: int = 400,
        samples_per_step: int = 16384,
        step_size: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> SemiDiscreteOT:
        """Find the heights by samples of the source, in any dimension; :meth:`cell_error` says how well.

        The errors fall with the root of all samples, ``steps * samples_per_step``. The defaults bring a thousand atoms
        of equal weight in 4 to 16 dimensions to an l2 error of about 0.001.

        Args:
            steps: number of steps.
            samples_per_step: samples of the source for each.
            step_size: in variances of the source's coordinates.
            generator: draws the samples; None for torch's default generator.
        """
        check_integer("steps", steps)
        check_integer("samples_per_step", samples_per_step)
        check_number("step_size", step_size, low=0, open_low=True)
        self.heights.copy_(
            stochastic_heights(self.atoms, self.weights, self.source, steps, samples_per_step, step_size, generator)
        )
        return self

    def forward(self, points: Tensor) -> Tensor:
        """Return the atom that each point goes to, in the dtype and on the device of the points; NaN for NaN."""
        images = self.atoms.to(points)[self.assign(points)]
        return images.where(points.isfinite().all(1, keepdim=True), torch.nan)

    @torch.no_grad()
    def assign(self, points: Tensor) -> Tensor:
        """Return the index of the atom that each point goes to, ``(N, d)`` -> ``(N,)``."""
        check_embeddings(points, self.atoms.shape[1], name="points")
        return best_atoms(points.to(self.atoms), self.atoms, self.heights).to(points.device)

    def cells(self, n_samples: int = 100_000, generator: torch.Generator | None = None) -> TransportCells:
        """Return measures and centroids of the cells: exact where :meth:`fit_exact` is, else counted on samples."""
        if self.atoms.shape[1] == 1:
            return line_cells(self.source, self.atoms, self.heights)
        if self.atoms.shape[1] == 2 and isinstance(self.source, UniformBox):
            return plane_cells(self.source, self.atoms, self.heights)
        check_integer("n_samples", n_samples, low=2)
        return sampled_cells(self.source, self.atoms, self.heights, n_samples, generator)

    def cell_measures(self, n_samples: int = 100_000, generator: torch.Generator | None = None) -> Tensor:
        """Return the probability of each cell, ``(n,)``; after a perfect fit, the weights."""
        return self.cells(n_samples, generator).measures

    def cell_error(self, n_samples: int = 1_000_000, generator: torch.Generator | None = None) -> CellError:
        """Return how far the cells' measures are from the weights; the noise of counting is taken off ``l2``."""
        return cell_error(self.cells(n_samples, generator), self.weights)

    def w2(self, n_samples: int = 100_000, generator: torch.Generator | None = None) -> float:
        r"""Return the Wasserstein distance of order 2 between source and atoms.

        .. math::
            W_2^2 = E|x|^2 + \sum_i \nu_i |y_i|^2 - 2 E(h)

        at the optimal heights, exact where the cells are; at other heights the right side is smaller.
        """
        cells = self.cells(n_samples, generator)
        scores = (cells.centroids * self.atoms).sum(1) + self.heights
        energy = (cells.measures * scores).nansum() - (self.weights * self.heights).sum()
        square = cells.mean_square + (self.weights * self.atoms.square().sum(1)).sum() - 2 * energy
        return math.sqrt(max(0.0, square.item()))

    def sampler(
        self,
        theta_max: float,
        neighbours: int | None = None,
        n_samples: int = 100_000,
        generator: torch.Generator | None = None,
    ) -> LatentSampler:
        """Return the map made continuous, and a sampler with it; see :class:`~pml_proxyext.geometry.LatentSampler`.

        Args:
            theta_max: the largest angle between two planes that a sample may lie between, in radians.
            neighbours: how many planes below the largest are looked at; None for as many as there are dimensions.
            n_samples, generator: for the centroids of the cells; see :meth:`cells`.
        """
        centroids = self.cells(n_samples, generator).centroids
        return LatentSampler(self.source, self.atoms, self.heights, centroids, theta_max, neighbours)

    def extra_repr(self) -> str:
        return f"{len(self.atoms)} atoms in {self.atoms.shape[1]} dimensions, source={self.source!r}"

    def _line_heights(self) -> Tensor:
        """Return heights at which neighbours on the line tie where the source has the weights below."""
        order = self.atoms[:, 0].argsort()
        places, below = self.atoms[order, 0], self.weights[order].cumsum(0)[:-1]
        ties = self.source.quantile(below.cpu()).to(places)
        heights = torch.zeros_like(places)
        heights[1:] = -(ties * places.diff()).cumsum(0)
        return (heights - heights.mean())[order.argsort()]


def _checked_atoms(atoms: Tensor) -> Tensor:
    check_embeddings(atoms, name="atoms")
    if not atoms.numel() or not atoms.isfinite().all():
        raise ValueError(f"atoms must hold finite numbers, one row at least, got shape {tuple(atoms.shape)}")
    atoms = atoms.detach().double().clone()
    different = len(torch.unique(atoms, dim=0))
    if different < len(atoms):
        raise ValueError(f"atoms must differ from one another, got {different} different ones among {len(atoms)}")
    return atoms


def _checked_weights(weights: Tensor | None, atoms: Tensor) -> Tensor:
    if weights is None:
        return atoms.new_full((len(atoms),), 1 / len(atoms))
    if weights.shape != (len(atoms),):
        raise ValueError(f"weights must have one number for each of {len(atoms)} atoms, got {tuple(weights.shape)}")
    weights = weights.detach().to(atoms)
    # Sums of float32 are that far from 1 at most.
    if not (weights > 0).all() or not abs(weights.sum().item() - 1) < 1e-5:
        raise ValueError(
            f"weights must be positive and sum to 1, got {weights.min():g} at least, sum {weights.sum():g}"
        )
    return weights / weights.sum()
