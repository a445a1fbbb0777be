"""Homographies between two pictures, by OpenCV."""

from __future__ import annotations

import torch
from torch import Tensor

from pml_proxyext.geometry.geometric_label import GeometricLabel
from pml_proxyext.geometry.model_residuals import homography_residuals
from pml_proxyext.geometry.teacher_inputs import check_matches, check_points, distance_from_line, num_distinct
from pml_proxyext.utils.checks import check_integer, check_number, import_optional

__all__ = ["HomographyTeacher"]


class HomographyTeacher:
    r"""Fit a homography to matches by OpenCV's MAGSAC++, which draws the same samples in each call.

    The model takes points of picture a to points of picture b: planes, or a camera that only turns. The inliers of the
    label are the matches whose :func:`~pml_proxyext.geometry.homography_residuals` are at most the threshold. Its
    fitness is their share.

    A fit fails, with :attr:`GeometricLabel.success` False, if there are fewer than four matches, if OpenCV finds
    nothing, and if the inliers do not determine a homography: if fewer than four of them differ, or if in either
    picture all of them, or all but one, are within the threshold of a straight line in the root mean square.

    Args:
        threshold: the largest residual of an inlier, in the units of the points. 3 pixels is OpenCV's own default.
        max_iterations: the most samples that are tried.
        confidence: the search ends when a better sample is less probable than one minus this.

    Shapes:
        ``fit``: points ``(N, 2)`` and ``(M, 2)``, matches ``(K, 2)`` integers. ``residuals``: model ``(..., 3, 3)``,
        points ``(..., 2)`` -> ``(...)``.

    Raises:
        ValueError: for hyper-parameters out of range, for points that are not finite or of another width, and for
            matches that are no indices into them.
        ImportError: if OpenCV is missing; the extra ``geometry`` brings it.

    Departs from the paper or the release:
        both fit essential matrices to pictures; homographies are this package's, for scenes that are planes.

    Reference:
        Barath, Noskova, Ivashechkin, Matas, "MAGSAC++, a Fast, Reliable and Accurate Robust Estimator", CVPR 2020.

    Example:
        >>> points = torch.tensor([[0.0, 0.0], [90.0, 10.0], [20.0, 80.0], [70.0, 70.0], [40.0, 20.0]])
        >>> label = HomographyTeacher().fit(points, 2 * points, torch.arange(5)[:, None].expand(5, 2))
        >>> label.num_inliers, (label.model - torch.diag(torch.tensor([2.0, 2.0, 1.0]))).abs().max() < 1e-4
        (5, tensor(True))
    """

    def __init__(self, threshold: float = 3.0, *, max_iterations: int = 10_000, confidence: float = 0.9999) -> None:
        self.threshold = check_number("threshold", threshold, low=0.0, open_low=True)
        self.max_iterations = check_integer("max_iterations", max_iterations)
        self.confidence = check_number("confidence", confidence, low=0.0, high=1.0)

    def fit(self, points_a: Tensor, points_b: Tensor, matches: Tensor) -> GeometricLabel:
        a, b = check_matches(matches, check_points(points_a, 2, "points_a"), check_points(points_b, 2, "points_b"))
        cv2 = import_optional("cv2", "geometry")
        failure = GeometricLabel.failure(len(a))
        if len(a) < 4:
            return failure
        found, _ = cv2.findHomography(
            a.numpy(),
            b.numpy(),
            method=cv2.USAC_MAGSAC,
            ransacReprojThreshold=self.threshold,
            maxIters=self.max_iterations,
            confidence=self.confidence,
        )
        if found is None:
            return failure
        model = torch.from_numpy(found)
        mask = self.residuals(model, a, b) <= self.threshold
        if not self._is_determined(a[mask], b[mask]):
            return failure
        return GeometricLabel(model, mask, float(mask.double().mean()))

    def residuals(self, model: Tensor, points_a: Tensor, points_b: Tensor) -> Tensor:
        return homography_residuals(model, points_a, points_b)

    def _is_determined(self, a: Tensor, b: Tensor) -> bool:
        # Of four points no three may be on a line, so it is not enough if a single one is off it.
        spread = min(distance_from_line(points, leave_one_out=True) for points in (a, b))
        return num_distinct(a, b) >= 4 and spread > self.threshold

    def __repr__(self) -> str:
        return f"{type(self).__name__}(threshold={self.threshold})"
