"""Pairs of views to train a descriptor on, with the geometry that somebody says they have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pml_proxyext.geometry import GeometricLabel
from pml_proxyext.utils.checks import check_integer, check_number, check_rows

__all__ = ["Correspondences", "GeometricPairs", "PointPair", "correspondences"]

Residuals = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class PointPair:
    """Two views of one scene: their points, and what a network is to describe each point by.

    Args:
        points_a: ``(N, d)`` floating point, finite; N >= 1.
        points_b: ``(M, d)``.
        data_a: ``(N, ...)``, the input of the network for each point, say a patch.
        data_b: ``(M, ...)``.
        truth: the model that takes a to b, if it is known; training never looks at it.

    Raises:
        ValueError: for views without points, points that are not finite, and shapes that do not fit.
    """

    points_a: Tensor
    points_b: Tensor
    data_a: Tensor
    data_b: Tensor
    truth: Tensor | None = None

    def __post_init__(self) -> None:
        for view, points, data in (("a", self.points_a, self.data_a), ("b", self.points_b, self.data_b)):
            if points.ndim != 2 or len(points) == 0 or not points.is_floating_point():
                raise ValueError(
                    f"points_{view} must be a floating-point matrix with a row for each point, at least one, got "
                    f"{points.dtype} of shape {tuple(points.shape)}"
                )
            if not points.isfinite().all():
                raise ValueError(f"points_{view} must be finite, got NaN or infinite ones")
            check_rows(data, points, f"data_{view}", f"points_{view}")
        if self.points_a.shape[1] != self.points_b.shape[1]:
            raise ValueError(
                f"points_b must have as many coordinates as points_a, {self.points_a.shape[1]}, got "
                f"{self.points_b.shape[1]}"
            )


class Correspondences(TypedDict):
    """Some corresponding points of a pair of views, and by which model they do."""

    data_a: Tensor
    data_b: Tensor
    points_a: Tensor
    points_b: Tensor
    model: Tensor
    ids: Tensor


def correspondences(
    model: Tensor, points_a: Tensor, points_b: Tensor, residuals: Residuals, threshold: float
) -> Tensor:
    """Return the pairs of points, each the nearest of the other by a model, with a residual below ``threshold``.

    Shapes:
        points ``(N, d)`` and ``(M, d)`` -> ``(K, 2)`` int64. A model of NaN has none.

    Example:
        >>> from pml_proxyext.geometry import homography_residuals
        >>> a, b = torch.tensor([[0.0, 0.0], [5.0, 5.0]]), torch.tensor([[9.0, 9.0], [5.0, 6.0], [5.0, 5.5]])
        >>> correspondences(torch.eye(3), a, b, homography_residuals, threshold=2.0).tolist()
        [[1, 2]]
    """
    rows, columns = torch.cartesian_prod(torch.arange(len(points_a)), torch.arange(len(points_b))).unbind(1)
    points_a, points_b = points_a.to(model), points_b.to(model)
    matrix = residuals(model, points_a[rows], points_b[columns]).view(len(points_a), len(points_b))
    matrix = matrix.where(matrix < threshold, torch.inf)  # NaN is not below it
    here = torch.arange(len(points_a))
    nearest = matrix.argmin(1)
    is_pair = (matrix.argmin(0)[nearest] == here) & matrix[here, nearest].isfinite()
    return torch.stack([here, nearest], dim=1)[is_pair]


class GeometricPairs(Dataset[Correspondences]):
    """The pairs of views that have a label, each sample being some of the points that correspond by it.

    Without labels there are no samples. :meth:`label` sets them; what was there before is gone.

    Args:
        pairs: all pairs of views, at least one.
        num_correspondences: of a sample; a pair with fewer has some of them several times.
        threshold: of the residual, below which two points correspond if each is the nearest of the other.
        generator: draws the correspondences; torch's default generator when None.

    Raises:
        ValueError: without pairs, and for numbers out of range.

    Example:
        >>> from pml_proxyext.geometry import rigid_residuals
        >>> pair = PointPair(torch.rand(5, 3), torch.rand(6, 3), torch.rand(5, 8), torch.rand(6, 8))
        >>> data = GeometricPairs([pair], num_correspondences=4, threshold=10.0)
        >>> data.label([GeometricLabel(torch.eye(4), torch.ones(3, dtype=torch.bool), fitness=1.0)], rigid_residuals)
        tensor([True])
        >>> data[0]["data_b"].shape
        torch.Size([4, 8])
    """

    def __init__(
        self,
        pairs: Sequence[PointPair],
        num_correspondences: int,
        threshold: float,
        generator: torch.Generator | None = None,
    ) -> None:
        if len(pairs) == 0:
            raise ValueError("pairs must hold at least one pair of views, got none")
        self.pairs = list(pairs)
        self.num_correspondences = check_integer("num_correspondences", num_correspondences)
        self.threshold = check_number("threshold", threshold, low=0.0, open_low=True)
        self.generator = generator
        self._samples: list[tuple[PointPair, Tensor, Tensor]] = []

    def label(self, labels: Sequence[GeometricLabel | None], residuals: Residuals) -> Tensor:
        """Take over a label for each pair, None for those to leave out.

        Args:
            labels: as many as there are pairs.
            residuals: of pairs of points under a model, as those of the teacher that found it.

        Returns:
            which pairs have samples now, ``(len(pairs),)`` bool: those with a label that is no failure and by which at
            least one pair of points corresponds.

        Raises:
            ValueError: for another number of labels.
        """
        if len(labels) != len(self.pairs):
            raise ValueError(f"labels must be one for each of the {len(self.pairs)} pairs, got {len(labels)}")
        self._samples, has_samples = [], []
        for pair, label in zip(self.pairs, labels, strict=True):
            found = torch.empty(0, 2, dtype=torch.int64)
            if label is not None and label.success:
                found = correspondences(label.model, pair.points_a, pair.points_b, residuals, self.threshold)
                if len(found):
                    self._samples.append((pair, label.model, found))
            has_samples.append(len(found) > 0)
        return torch.tensor(has_samples)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Correspondences:
        pair, model, found = self._samples[index]
        order = torch.randperm(len(found), generator=self.generator)
        a, b = found[order.repeat(-(-self.num_correspondences // len(order)))[: self.num_correspondences]].unbind(1)
        return {
            "data_a": pair.data_a[a],
            "data_b": pair.data_b[b],
            "points_a": pair.points_a[a],
            "points_b": pair.points_b[b],
            "model": model,
            "ids": a,
        }
