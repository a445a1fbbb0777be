"""What a teacher of geometry hands out: a model of two views, and what supports it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, overload

import torch
from torch import Tensor

from pml_proxyext.utils.checks import check_integer, check_number

__all__ = ["GeometricLabel", "GeometricTeacher", "GeometricVerifier"]


@dataclass(frozen=True, eq=False)
class GeometricLabel:
    """How points of view a go to points of view b, as far as a teacher could tell.

    A teacher that found no model says so with a model of NaN (:meth:`failure`). Its residuals are NaN, below no
    threshold and above none, so a miner finds no pair by it, and no verifier keeps it.

    Args:
        model: float64; ``(3, 3)`` for a homography, an essential or a fundamental matrix, ``(4, 4)`` for a rigid
            motion.
        inlier_mask: ``(num_matches,)`` bool, the matches that agree with the model.
        fitness: how much of the two views the model explains, from 0 to 1: the share of inliers for pictures, the
            overlap for clouds of points.

    Example:
        >>> label = GeometricLabel(torch.eye(3), torch.tensor([True, True, True, False]), fitness=0.75)
        >>> label.num_inliers, label.num_matches, label.inlier_ratio, label.success
        (3, 4, 0.75, True)
        >>> GeometricLabel.failure(num_matches=7).success
        False
    """

    model: Tensor
    inlier_mask: Tensor
    fitness: float

    def __post_init__(self) -> None:
        if self.model.ndim != 2 or self.model.shape[0] != self.model.shape[1]:
            raise ValueError(f"model must be a square matrix, got shape {tuple(self.model.shape)}")
        if self.inlier_mask.ndim != 1 or self.inlier_mask.dtype != torch.bool:
            mask = self.inlier_mask
            raise ValueError(f"inlier_mask must be bool of shape (M,), got {mask.dtype} of shape {tuple(mask.shape)}")
        check_number("fitness", self.fitness, low=0.0, high=1.0)
        object.__setattr__(self, "model", self.model.to(torch.float64))

    @classmethod
    def failure(cls, num_matches: int, size: int = 3) -> GeometricLabel:
        """Return the label of a pair of views without a model; ``size`` is that of the matrix."""
        model = torch.full((size, size), torch.nan, dtype=torch.float64)
        return cls(model, torch.zeros(num_matches, dtype=torch.bool), 0.0)

    @property
    def num_matches(self) -> int:
        return len(self.inlier_mask)

    @property
    def num_inliers(self) -> int:
        return int(self.inlier_mask.sum())

    @property
    def inlier_ratio(self) -> float:
        """Inliers per match, 0 without matches."""
        return self.num_inliers / max(self.num_matches, 1)

    @property
    def success(self) -> bool:
        return bool(self.model.isfinite().all())


class GeometricTeacher(Protocol):
    """What fits a model to matches; with the same arguments it finds the same one."""

    def fit(self, points_a: Tensor, points_b: Tensor, matches: Tensor) -> GeometricLabel:
        """Return the label of two views from ``matches``, rows ``(i, j)`` of indices into the points."""
        ...

    def residuals(self, model: Tensor, points_a: Tensor, points_b: Tensor) -> Tensor:
        """Return how far each pair of points is from the model, the first point with the first one, and so on."""
        ...


class GeometricVerifier:
    r"""Keep the labels that have enough support. A failed fit is never kept, whatever the thresholds.

    Args:
        min_matches: the fewest matches, 100 as released for pictures.
        min_inlier_ratio: the smallest share of inliers among the matches, 0.3 as released for pictures.
        min_overlap: the smallest :attr:`GeometricLabel.fitness`. Off, for pictures; see :meth:`clouds`.
        min_inliers: the fewest inliers. Not in the release; a model fits any sample of the smallest size that gives
            one, so few matches can have a high share of inliers by chance.

    Raises:
        ValueError: for thresholds out of range.

    Departs from the paper or the release:
        the release writes failed fits as the identity and leaves them to the thresholds; with thresholds of zero it
        would train on them.

    Reference:
        Yang, Dong, Carlone, Koltun, "Self-supervised Geometric Perception", CVPR 2021, arXiv:2103.03114; the
        thresholds are those of its code.

    Example:
        >>> label = GeometricLabel(torch.eye(3), torch.arange(200) < 60, fitness=0.3)
        >>> verify = GeometricVerifier()
        >>> verify(label), verify([label, GeometricLabel.failure(200)])
        (True, tensor([ True, False]))
    """

    def __init__(
        self, min_matches: int = 100, min_inlier_ratio: float = 0.3, min_overlap: float = 0.0, *, min_inliers: int = 0
    ) -> None:
        self.min_matches = check_integer("min_matches", min_matches, low=0)
        self.min_inlier_ratio = check_number("min_inlier_ratio", min_inlier_ratio, low=0.0, high=1.0)
        self.min_overlap = check_number("min_overlap", min_overlap, low=0.0, high=1.0)
        self.min_inliers = check_integer("min_inliers", min_inliers, low=0)

    @classmethod
    def clouds(cls, min_overlap: float = 0.3) -> GeometricVerifier:
        """Return the verifier as released for clouds of points: by their overlap alone."""
        return cls(min_matches=0, min_inlier_ratio=0.0, min_overlap=min_overlap)

    @overload
    def __call__(self, labels: GeometricLabel) -> bool: ...
    @overload
    def __call__(self, labels: Sequence[GeometricLabel]) -> Tensor: ...
    def __call__(self, labels: GeometricLabel | Sequence[GeometricLabel]) -> bool | Tensor:
        """Say whether a label is kept, or which ones of several are: ``(len(labels),)`` bool."""
        if isinstance(labels, GeometricLabel):
            return self._keeps(labels)
        return torch.tensor([self._keeps(label) for label in labels], dtype=torch.bool)

    def _keeps(self, label: GeometricLabel) -> bool:
        return (
            label.success
            and label.num_matches >= self.min_matches
            and label.num_inliers >= self.min_inliers
            and label.inlier_ratio >= self.min_inlier_ratio
            and label.fitness >= self.min_overlap
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(min_matches={self.min_matches}, min_inlier_ratio={self.min_inlier_ratio}, "
            f"min_overlap={self.min_overlap}, min_inliers={self.min_inliers})"
        )
