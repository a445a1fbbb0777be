"""Rigid motions between two clouds of points, by random samples and Procrustes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pml_proxyext.geometry.geometric_label import GeometricLabel
from pml_proxyext.geometry.model_residuals import rigid_residuals
from pml_proxyext.geometry.procrustes import weighted_procrustes
from pml_proxyext.geometry.rigid_refinement import cloud_overlap, iterated_closest_points
from pml_proxyext.geometry.teacher_inputs import check_matches, check_points, distance_from_line, num_distinct
from pml_proxyext.utils.checks import check_integer, check_number

__all__ = ["RigidTeacher"]

#: Samples that are looked at together, and the most residuals that are in memory at a time.
_SAMPLES, _RESIDUALS = 1024, 2**20


class RigidTeacher:
    r"""Fit a rotation and a translation to matches of two clouds: RANSAC, Procrustes on the inliers, then ICP.

    Of the motions of samples of three matches the one with the least truncated cost
    :math:`\sum_i \min(r_i^2, \tau^2)` is taken, with :math:`r` the
    :func:`~pml_proxyext.geometry.rigid_residuals` and :math:`\tau` the threshold. It is fitted to its inliers again, as
    long as that lowers the cost, and then to nearest points of the whole clouds. The inliers of the label are the
    matches with :math:`r \le \tau` in the end; its fitness is the overlap of the clouds, see
    :func:`~pml_proxyext.geometry.cloud_overlap`.

    A fit fails, with :attr:`GeometricLabel.success` False, if there are fewer than three matches, if no sample agrees,
    if fewer than three inliers differ, and if the inliers are within the threshold of a straight line in the root mean
    square, around which the cloud could turn.

    Args:
        threshold: :math:`\tau`, in the units of the points: 0.07 metres as released, 1.4 of its voxels.
        iterations: the most samples that are drawn, 10000 as released.
        confidence: the search ends when a sample of inliers alone has been drawn with this probability, 0.9999 as
            released.
        refine: whether to refine by nearest points of the whole clouds, as released.
        seed: of the samples; each fit starts from it, so labels do not depend on the order of the pairs.

    Shapes:
        ``fit``: points ``(N, 3)`` and ``(M, 3)``, matches ``(K, 2)`` integers. ``residuals``: model ``(..., 4, 4)``,
        points ``(..., 3)`` -> ``(...)``.

    Raises:
        ValueError: for hyper-parameters out of range, for points that are not finite or of another width, and for
            matches that are no indices into them.

    Departs from the paper or the release:
        the release takes the sample with most inliers, by Open3D. Samples whose edges differ by more than
        :math:`2 \tau` between the clouds are skipped: no motion brings all three of them below the threshold.

    Reference:
        Yang, Dong, Carlone, Koltun, "Self-supervised Geometric Perception", CVPR 2021, arXiv:2103.03114. The samples:
        Fischler, Bolles, "Random Sample Consensus", Communications of the ACM 24(6), 1981. The truncated cost: Torr,
        Zisserman, "MLESAC", CVIU 78(1), 2000.

    Example:
        >>> cloud = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
        >>> matches = torch.arange(50)[:, None].repeat(1, 2)
        >>> matches[30:, 1] = matches[30:, 1].flip(0)  # 20 wrong ones
        >>> label = RigidTeacher().fit(cloud, cloud + 5, matches)
        >>> label.num_inliers, label.fitness, label.model[:3, 3].round(decimals=4).tolist()
        (30, 1.0, [5.0, 5.0, 5.0])
    """

    def __init__(
        self,
        threshold: float = 0.07,
        *,
        iterations: int = 10_000,
        confidence: float = 0.9999,
        refine: bool = True,
        seed: int = 0,
    ) -> None:
        self.threshold = check_number("threshold", threshold, low=0.0, open_low=True)
        self.iterations = check_integer("iterations", iterations)
        self.confidence = check_number("confidence", confidence, low=0.0, high=1.0)
        self.refine = refine
        self.seed = check_integer("seed", seed, low=0)

    def fit(self, points_a: Tensor, points_b: Tensor, matches: Tensor) -> GeometricLabel:
        cloud_a, cloud_b = check_points(points_a, 3, "points_a"), check_points(points_b, 3, "points_b")
        a, b = check_matches(matches, cloud_a, cloud_b)
        failure = GeometricLabel.failure(len(a), size=4)
        model = self._best_of_samples(a, b) if len(a) >= 3 else None
        if model is None:
            return failure
        model = self._fitted_to_inliers(model, a, b)
        if self.refine:
            model = iterated_closest_points(cloud_a, cloud_b, model, self.threshold)
        mask = self.residuals(model, a, b) <= self.threshold
        if num_distinct(a[mask], b[mask]) < 3 or distance_from_line(a[mask]) <= self.threshold:
            return failure
        return GeometricLabel(model, mask, cloud_overlap(cloud_a, cloud_b, model, self.threshold))

    def residuals(self, model: Tensor, points_a: Tensor, points_b: Tensor) -> Tensor:
        return rigid_residuals(model, points_a, points_b)

    def _costs(self, models: Tensor, a: Tensor, b: Tensor) -> Tensor:
        residuals = self.residuals(models[..., None, :, :], a, b)
        return residuals.clamp(max=self.threshold).square().sum(-1)

    def _best_of_samples(self, a: Tensor, b: Tensor) -> Tensor | None:
        generator = torch.Generator().manual_seed(self.seed)
        best, lowest, num_drawn, enough = None, math.inf, 0, float(self.iterations)
        while num_drawn < enough:
            samples = _triples(len(a), _SAMPLES, generator)[: self.iterations - num_drawn]
            num_drawn += len(samples)
            samples = samples[_edges_agree(a[samples], b[samples], 2 * self.threshold)]
            models = weighted_procrustes(a[samples], b[samples])
            for part in models.split(max(_RESIDUALS // len(a), 1)):
                costs = self._costs(part, a, b)
                if len(costs) and float(costs.min()) < lowest:
                    best, lowest = part[costs.argmin()], float(costs.min())
            if best is not None:
                enough = min(enough, self._enough(best, a, b))
        return best

    def _enough(self, model: Tensor, a: Tensor, b: Tensor) -> float:
        """Return after how many samples one of three inliers has been among them, with the wished confidence."""
        hit = float((self.residuals(model, a, b) <= self.threshold).double().mean()) ** 3
        if hit == 1 or self.confidence == 0:
            return 0.0
        return math.log1p(-self.confidence) / math.log1p(-hit) if hit > 0 and self.confidence < 1 else math.inf

    def _fitted_to_inliers(self, model: Tensor, a: Tensor, b: Tensor) -> Tensor:
        cost = self._costs(model, a, b)
        for _ in range(20):
            inliers = self.residuals(model, a, b) <= self.threshold
            fitted = weighted_procrustes(a[inliers], b[inliers])
            lower = self._costs(fitted, a, b)
            if int(inliers.sum()) < 3 or not lower < cost:
                break
            model, cost = fitted, lower
        return model

    def __repr__(self) -> str:
        return f"{type(self).__name__}(threshold={self.threshold}, refine={self.refine})"


def _triples(num_matches: int, count: int, generator: torch.Generator) -> Tensor:
    """Return ``(count, 3)`` indices below ``num_matches``, in each row three that differ."""
    first = torch.randint(num_matches, (count,), generator=generator)
    second = torch.randint(num_matches - 1, (count,), generator=generator)
    third = torch.randint(num_matches - 2, (count,), generator=generator)
    second = second + (second >= first)
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    third = third + (third >= low)
    third = third + (third >= high)
    return torch.stack([first, second, third], dim=1)


def _edges_agree(a: Tensor, b: Tensor, tolerance: float) -> Tensor:
    edges_a, edges_b = (torch.linalg.vector_norm(points - points.roll(1, dims=1), dim=-1) for points in (a, b))
    return ((edges_a - edges_b).abs() <= tolerance).all(1)
