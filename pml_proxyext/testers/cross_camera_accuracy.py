r"""Retrieval between cameras: what the query's own camera saw of the same identity does not count."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pml_proxyext.testers.rank_calculator import RankCalculator
from pml_proxyext.utils.checks import check_integer, check_labels, check_rows

__all__ = ["CrossCameraAccuracyCalculator", "camera_labels"]


def camera_labels(ids: Tensor, cameras: Tensor, num_cameras: int) -> Tensor:
    """Return one integer for identity and camera, ``id * num_cameras + camera``: PML's testers hand on one column.

    Args:
        ids: ``(N,)`` integers.
        cameras: ``(N,)`` integers in ``[0, num_cameras)``.
        num_cameras: number of cameras.

    Raises:
        ValueError: for labels that are no integers or out of range, and unequal lengths.

    Example:
        >>> import torch
        >>> camera_labels(torch.tensor([7, 7, 8]), torch.tensor([0, 1, 1]), num_cameras=2)
        tensor([14, 15, 17])
    """
    check_integer("num_cameras", num_cameras)
    check_rows(cameras, ids, "cameras", "ids")
    return check_labels(ids, name="ids") * num_cameras + check_labels(cameras, num_cameras, name="cameras")


class CrossCameraAccuracyCalculator(RankCalculator):
    r"""The scores of person re-identification: CMC and mAP without what the query's own camera saw of the identity.

    A gallery item is relevant if it has the identity of the query. One that has its camera, too, is taken out of the
    gallery for this query, for it may be the next frame of the same film. Other identities stay, whatever their
    camera. A query with no relevant item left does not count.

    ``recall_at_k``, the share of queries with a relevant item among their first :math:`k`, is the point :math:`k` of
    the cumulative matching characteristic (CMC), or "rank-k". ``mean_average_precision`` and ``median_rank``, ties and
    memory are those of :class:`~pml_proxyext.testers.RankCalculator`: items at the same distance are in random order,
    and scores are expectations over it.

    Args:
        num_cameras: how many cameras the labels tell apart; see :func:`camera_labels`.
        **kwargs: ``recall_at``, ``distance``, ``pairs_at_once`` and ``device`` of
            :class:`~pml_proxyext.testers.RankCalculator`.

    Shapes:
        ``get_accuracy`` takes embeddings ``(N, D)`` and ``(M, D)`` and labels ``(N,)`` and ``(M,)`` as
        :func:`camera_labels` makes them. Without a gallery every item looks among the others. In PML's testers, data
        sets give such labels, and whether queries are part of the gallery makes no difference.

    Raises:
        ValueError: for invalid arguments, and for embeddings and labels that do not fit.

    Example:
        >>> import torch
        >>> ids, cameras = torch.tensor([0, 0, 1, 0]), torch.tensor([0, 0, 1, 1])
        >>> seen = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.9, 0.3], [0.8, 0.5]])
        >>> calculator = CrossCameraAccuracyCalculator(num_cameras=2, recall_at=(1, 2), device=torch.device("cpu"))
        >>> scores = calculator.get_accuracy(seen, camera_labels(ids, cameras, num_cameras=2))
        >>> scores["recall_at_1"], scores["recall_at_2"]  # item 2 has no partner and does not count; it comes between
        (0.0, 1.0)
    """

    def __init__(self, num_cameras: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_cameras = check_integer("num_cameras", num_cameras)

    def compare_labels(self, labels: Tensor, reference_labels: Tensor) -> tuple[Tensor, Tensor]:
        if labels.ndim != 1:
            raise ValueError(f"labels must be of shape (N,), see camera_labels, got {tuple(labels.shape)}")
        both = [check_labels(part) for part in (labels, reference_labels)]
        ids, reference_ids = (part.div(self.num_cameras, rounding_mode="floor") for part in both)
        cameras, reference_cameras = (part % self.num_cameras for part in both)
        is_same = ids[:, None] == reference_ids
        return is_same, is_same & (cameras[:, None] == reference_cameras)
