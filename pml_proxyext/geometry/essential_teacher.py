"""Essential matrices between two pictures of cameras that are known, by OpenCV."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pml_proxyext.geometry.epipolar import camera_coordinates, fundamental_matrix
from pml_proxyext.geometry.geometric_label import GeometricLabel
from pml_proxyext.geometry.model_residuals import epipolar_residuals, transfer
from pml_proxyext.geometry.procrustes import rigid_motion
from pml_proxyext.geometry.teacher_inputs import check_matches, check_points, distance_from_line, num_distinct
from pml_proxyext.utils.checks import check_integer, check_number, import_optional

__all__ = ["EssentialTeacher"]


class EssentialTeacher:
    r"""Fit an essential matrix to matches by OpenCV's five-point USAC, which draws the same samples in each call.

    With intrinsics :math:`K_a, K_b` the points are pixels, and the model is the fundamental matrix
    :math:`F = K_b^{-\top} E K_a^{-1}` of pixels. Without them the points are camera coordinates
    (:func:`~pml_proxyext.geometry.camera_coordinates`), and the model is the essential matrix E. Either has the
    Frobenius norm 1. Pictures of many cameras are best given in camera coordinates.

    The inliers of the label are the matches whose :func:`~pml_proxyext.geometry.epipolar_residuals`, in camera
    coordinates, are at most the threshold. Its fitness is their share.

    A fit fails, with :attr:`GeometricLabel.success` False, if there are fewer than six matches, if OpenCV finds nothing
    or no single matrix, and if the inliers do not determine one: if fewer than six of them differ; if in either picture
    they are within the threshold of a straight line in the root mean square; or if a camera that only turns explains
    them as well, after which every direction of a translation would do.

    Args:
        intrinsics_a: ``(3, 3)`` upper triangular, of camera a.
        intrinsics_b: the same of camera b; that of camera a if not given.
        threshold: the largest residual of an inlier in camera coordinates, 1e-3 as released: a pixel or less for focal
            lengths up to 1000 pixels.
        max_iterations: the most samples that are tried. OpenCV's own default of 1000 is too few where four matches of
            five are wrong: one sample of 3000 is right there.
        confidence: the search ends when a better sample is less probable than one minus this, 0.999 as released.

    Shapes:
        ``fit``: points ``(N, 2)`` and ``(M, 2)``, matches ``(K, 2)`` integers. ``residuals``: model ``(..., 3, 3)``,
        points ``(..., 2)`` -> ``(...)``, in the units of the points.

    Raises:
        ValueError: for hyper-parameters out of range, intrinsics that are no invertible matrices ``(3, 3)``, points
            that are not finite or of another width, and matches that are no indices into them.
        ImportError: if OpenCV is missing; the extra ``geometry`` brings it.

    Departs from the paper or the release:
        the release takes OpenCV's plain RANSAC, which stops at the best sample. This is its graph-cut RANSAC, which
        goes on from there and was several times nearer to the truth in trials. The release scales F to have a one in
        its last corner, which may be near zero, and writes failed fits as the identity.

    Reference:
        Yang, Dong, Carlone, Koltun, "Self-supervised Geometric Perception", CVPR 2021, arXiv:2103.03114. The five
        points: Nister, "An Efficient Solution to the Five-point Relative Pose Problem", IEEE TPAMI 26(6), 2004. The
        search: Barath, Matas, "Graph-Cut RANSAC", CVPR 2018.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> scene = torch.rand(30, 3, generator=generator, dtype=torch.float64) + torch.tensor([0, 0, 3])
        >>> a, b = (cloud[:, :2] / cloud[:, 2:] for cloud in (scene, scene + torch.tensor([1, 0, 0])))
        >>> label = EssentialTeacher().fit(a, b, torch.arange(30)[:, None].expand(30, 2))
        >>> label.num_inliers, (label.model * 2**0.5).abs().round(decimals=4).tolist()
        (30, [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    """

    def __init__(
        self,
        intrinsics_a: Tensor | None = None,
        intrinsics_b: Tensor | None = None,
        *,
        threshold: float = 1e-3,
        max_iterations: int = 10_000,
        confidence: float = 0.999,
    ) -> None:
        self.intrinsics_a = _check_intrinsics(intrinsics_a, "intrinsics_a")
        self.intrinsics_b = self.intrinsics_a
        if intrinsics_b is not None:
            self.intrinsics_b = _check_intrinsics(intrinsics_b, "intrinsics_b")
        self.threshold = check_number("threshold", threshold, low=0.0, open_low=True)
        self.max_iterations = check_integer("max_iterations", max_iterations)
        self.confidence = check_number("confidence", confidence, low=0.0, high=1.0)

    def fit(self, points_a: Tensor, points_b: Tensor, matches: Tensor) -> GeometricLabel:
        a, b = check_matches(matches, check_points(points_a, 2, "points_a"), check_points(points_b, 2, "points_b"))
        a, b = camera_coordinates(a, self.intrinsics_a), camera_coordinates(b, self.intrinsics_b)
        cv2 = import_optional("cv2", "geometry")
        failure = GeometricLabel.failure(len(a))
        if len(a) < 6:
            return failure
        found, _ = cv2.findEssentialMat(
            a.numpy(),
            b.numpy(),
            cameraMatrix=torch.eye(3).double().numpy(),
            method=cv2.USAC_ACCURATE,
            prob=self.confidence,
            threshold=self.threshold,
            maxIters=self.max_iterations,
        )
        if found is None or found.shape != (3, 3):
            return failure
        essential = torch.from_numpy(found)
        mask = self.residuals(essential, a, b) <= self.threshold
        if not self._is_determined(a[mask], b[mask]):
            return failure
        model = fundamental_matrix(essential, self.intrinsics_a, self.intrinsics_b)
        return GeometricLabel(model / torch.linalg.matrix_norm(model), mask, float(mask.double().mean()))

    def residuals(self, model: Tensor, points_a: Tensor, points_b: Tensor) -> Tensor:
        return epipolar_residuals(model, points_a, points_b)

    def _is_determined(self, a: Tensor, b: Tensor) -> bool:
        spread = min(distance_from_line(a), distance_from_line(b))
        return num_distinct(a, b) >= 6 and spread > self.threshold and _parallax(a, b) > self.threshold

    def __repr__(self) -> str:
        return f"{type(self).__name__}(threshold={self.threshold})"


def _check_intrinsics(intrinsics: Tensor | None, name: str) -> Tensor:
    matrix = torch.eye(3) if intrinsics is None else intrinsics
    if matrix.shape != (3, 3) or not matrix.isfinite().all() or torch.linalg.det(matrix.double()) == 0:
        raise ValueError(f"{name} must be an invertible (3, 3) matrix, got {matrix}")
    return matrix.detach().to("cpu", torch.float64)


def _parallax(a: Tensor, b: Tensor) -> float:
    """Return the root mean square distance that remains when the rays of a are turned to those of b."""
    rays_a, rays_b = (normalize(torch.cat([points, torch.ones_like(points[:, :1])], dim=1)) for points in (a, b))
    u, _, vh = torch.linalg.svd(rays_b.mT @ rays_a)
    u[:, -1] *= torch.linalg.det(u @ vh).sign()
    return float((transfer(rigid_motion(u @ vh, a.new_zeros(3)), rays_a) - rays_b).square().sum(1).mean().sqrt())
