r"""SGP's pseudo-labels as a miner: which points of two views are the same one, by a model of the views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_metric_learning.miners import BaseMiner
from torch import Tensor

from pml_proxyext.utils.checks import check_embeddings, check_labels, check_number, check_rows

__all__ = ["BatchGeometry", "GeometricPseudoLabelMiner"]

Indices = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class BatchGeometry:
    """Where the points of a batch are, and which model takes those of view a to view b.

    A batch holds points of several scene pairs. Their models and points are in the units of the teacher that made them.

    Args:
        points_a: ``(N, d)`` points of view a, of all scene pairs.
        points_b: ``(M, d)`` points of view b.
        models: ``(P, k, k)``, one for each scene pair, such as ``torch.stack([label.model for label in labels])``.
        pairs_a: ``(N,)`` integers in [0, P), the scene pair of each point of a.
        pairs_b: ``(M,)`` the same for b.

    Raises:
        ValueError: for points, models and scene pairs that do not fit together.
    """

    points_a: Tensor
    points_b: Tensor
    models: Tensor
    pairs_a: Tensor
    pairs_b: Tensor

    def __post_init__(self) -> None:
        check_embeddings(self.points_a, name="points_a")
        check_embeddings(self.points_b, self.points_a.shape[1], name="points_b")
        if self.models.ndim != 3 or self.models.shape[1] != self.models.shape[2]:
            raise ValueError(f"models must have shape (P, k, k), got shape {tuple(self.models.shape)}")
        for view, points, pairs in (("a", self.points_a, self.pairs_a), ("b", self.points_b, self.pairs_b)):
            name = f"pairs_{view}"
            check_labels(pairs, len(self.models), name)
            check_rows(pairs, points, name, f"points_{view}")


class GeometricPseudoLabelMiner(BaseMiner):
    r"""Choose pairs of points by how well they agree with a geometric model of their two views.

    Let :math:`r(a, b)` be the residual of a point a of one view and a point b of the other under the model of their
    scene pair. The pair is

    - positive if :math:`r(a, b) < \tau_{pos}` and each is the other's nearest by :math:`r` in the batch;
    - negative if :math:`r(a, b) > \tau_{neg}`;
    - neither otherwise: too near for a negative, too far or not mutual for a positive.

    Pairs are formed within scene pairs only. Points of different ones may be the same place, which a model of two views
    cannot tell. This is also why labels are not used: with one label per correspondence, a place that is in two scene
    pairs has two labels and would be its own negative.

    Give the miner the :class:`BatchGeometry` of a batch before its embeddings: ``miner.geometry = ...``. It serves one
    call, so that no batch is mined with the geometry of another. The embeddings themselves are not looked at. They come

    - as two views, ``miner(of_a, labels, ref_emb=of_b, ref_labels=labels_b)``: anchors are rows of a, the others of b;
    - or stacked, those of a before those of b, as PML's trainers give them: ``miner(torch.cat([of_a, of_b]), labels)``.
      Then each pair occurs twice, with either point as the anchor.

    Args:
        residuals: function of models ``(K, k, k)`` and points ``(K, d)``, ``(K, d)`` that returns ``(K,)`` residuals;
            the one of a teacher, or :func:`~pml_proxyext.geometry.homography_residuals` and its like.
        tau_pos: :math:`\tau_{pos} > 0`, in the units of the points: released are 0.1 for rooms in metres.
        tau_neg: :math:`\tau_{neg} \ge \tau_{pos}`.
        **kwargs: of PML's miners.

    Shapes:
        embeddings ``(N, D)``, ref_emb ``(M, D)``, or stacked ``(N + M, D)``; labels, which are not looked at, may be
        missing -> indices of anchors, positives, anchors, negatives. Memory: :math:`N M` numbers, and a model for each
        pair of points of one scene pair.

    Raises:
        ValueError: for thresholds out of range, without geometry, and for embeddings whose rows are not its points.

    A failed fit has a model of NaN, and gives no pairs. An essential or fundamental matrix says where the partner of a
    point is not: everything on one line has the residual zero. Its negatives are right, its positives need not be.

    Departs from the paper or the release:
        of the paper we had the abstract only. For clouds, the release takes all points below the threshold for
        positives, not mutual ones only, and has no dead zone: negatives are whatever is not listed as positive, of
        other scene pairs, too. For pictures it learns by distances from epipolar lines, without pairs.

    Reference:
        Yang, Dong, Carlone, Koltun, "Self-supervised Geometric Perception", CVPR 2021, arXiv:2103.03114.

    Example:
        >>> from pml_proxyext.geometry import rigid_residuals
        >>> miner = GeometricPseudoLabelMiner(rigid_residuals, tau_pos=0.5, tau_neg=2.0)
        >>> a, b = torch.tensor([[0.0], [1.0], [9.0]]), torch.tensor([[0.1], [1.2]])
        >>> scene = torch.zeros(3, dtype=torch.int64)
        >>> miner.geometry = BatchGeometry(a, b, torch.eye(2)[None], scene, scene[:2])
        >>> anchors, positives, others, negatives = miner(torch.randn(3, 8), ref_emb=torch.randn(2, 8))
        >>> list(zip(anchors.tolist(), positives.tolist())), list(zip(others.tolist(), negatives.tolist()))
        ([(0, 0), (1, 1)], [(2, 0), (2, 1)])
    """

    def __init__(
        self, residuals: Callable[[Tensor, Tensor, Tensor], Tensor], tau_pos: float, tau_neg: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.residuals = residuals
        self.tau_pos = check_number("tau_pos", tau_pos, low=0.0, open_low=True)
        self.tau_neg = check_number("tau_neg", tau_neg, low=self.tau_pos)
        self.geometry: BatchGeometry | None = None
        self.add_to_recordable_attributes(list_of_names=["tau_pos", "tau_neg"])

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Indices:
        labels = _rows(embeddings) if labels is None else labels
        if ref_emb is not None and ref_labels is None:
            ref_labels = _rows(ref_emb)
        return super().forward(embeddings, labels, ref_emb, ref_labels)

    def mine(self, embeddings: Tensor, labels: Tensor, ref_emb: Tensor, ref_labels: Tensor) -> Indices:
        geometry, self.geometry = self.geometry, None
        if geometry is None:
            raise ValueError("geometry is required anew for each batch, got none; set the attribute before the call")
        size, ref_size = len(geometry.points_a), len(geometry.points_b)
        stacked = ref_emb is embeddings
        rows = [len(embeddings)] if stacked else [len(embeddings), len(ref_emb)]
        if rows != ([size + ref_size] if stacked else [size, ref_size]):
            came = f"{rows[0]} stacked embeddings" if stacked else f"{rows[0]} embeddings and {rows[1]} of ref_emb"
            raise ValueError(f"geometry must be that of the batch, with {size} and {ref_size} points, got {came}")
        positive, negative = self.point_pairs(geometry, embeddings.device)
        if stacked:
            positive, negative = (_both_ways(a, b + size) for a, b in (positive, negative))
        return *positive, *negative

    def point_pairs(
        self, geometry: BatchGeometry, device: torch.device | str = "cpu"
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return the positive and the negative pairs, each as rows of a and rows of b."""
        pairs_a, pairs_b = geometry.pairs_a.to(device).long(), geometry.pairs_b.to(device).long()
        a, b = (pairs_a[:, None] == pairs_b).nonzero(as_tuple=True)
        models = geometry.models.to(device)
        points_a, points_b = geometry.points_a.to(models), geometry.points_b.to(models)
        residuals = self.residuals(models[pairs_a[a]], points_a[a], points_b[b])
        nearest = residuals.nan_to_num(nan=torch.inf, posinf=torch.inf)
        is_mutual = (nearest == _lowest(nearest, a, len(points_a))[a]) & (
            nearest == _lowest(nearest, b, len(points_b))[b]
        )
        is_positive, is_negative = (residuals < self.tau_pos) & is_mutual, residuals > self.tau_neg
        return (a[is_positive], b[is_positive]), (a[is_negative], b[is_negative])

    def extra_repr(self) -> str:
        return f"tau_pos={self.tau_pos}, tau_neg={self.tau_neg}"


def _rows(embeddings: Tensor) -> Tensor:
    return torch.arange(len(embeddings), device=embeddings.device)


def _both_ways(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cat([first, second]), torch.cat([second, first])


def _lowest(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Return the least of the values of each index, infinity where there is none."""
    return values.new_full((size,), torch.inf).scatter_reduce(0, index, values, "amin")
