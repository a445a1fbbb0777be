r"""The hardest-contrastive loss of fully convolutional geometric features, by which the student of SGP learns."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning.distances import BaseDistance, LpDistance
from torch import Tensor
from torch.nn.functional import normalize

from pml_proxyext.losses.pair_candidates import candidates_of_batch
from pml_proxyext.losses.pair_loss import PairLoss
from pml_proxyext.utils.checks import check_integer, check_number

__all__ = ["HardestContrastiveLoss"]


class HardestContrastiveLoss(PairLoss):
    r"""Pull positive pairs together, and push the one nearest negative of either point away.

    With :math:`P` the positive pairs (i, j), f the embeddings, g those of the second view, and :math:`N(i)` the
    negatives of :math:`f_i` among g, :math:`N(j)` those of :math:`g_j` among f:

    .. math::
        L = \operatorname{mean}_{(i, j) \in P} \big[|f_i - g_j| - m_+\big]_+^2 + \frac w2 \Big(
            \operatorname{mean}_{(i, j) \in P} \big[m_- - \min_{k \in N(i)} |f_i - g_k|\big]_+^2
          + \operatorname{mean}_{(i, j) \in P} \big[m_- - \min_{k \in N(j)} |g_j - f_k|\big]_+^2 \Big)

    Row i of ``ref_emb`` is the positive of row i of ``embeddings``, and all other rows are negatives. Labels, or the
    tuples of a miner such as :class:`~pml_proxyext.miners.GeometricPseudoLabelMiner`, say otherwise; with them one
    batch will do, too. A point without a negative is left out of its mean.

    Args:
        pos_thresh: :math:`m_+ \ge 0`, 0.1 as released.
        neg_thresh: :math:`m_- \ge 0`, 1.4 as released; nearly the distance of orthogonal unit vectors.
        neg_weight: :math:`w \ge 0`, 1 as released.
        squared_positive: whether the threshold is taken off the squared distance, :math:`[|f_i - g_j|^2 - m_+]_+`
            without a square outside, as the release does. It is zero up to a distance of :math:`\sqrt{m_+}`, 0.316.
        drop_positive_neighbors: whether a point whose nearest candidate is one of its own positives is left out, as the
            release does, instead of being pushed from the nearest one that is not.
        num_positives: the most positive pairs that count, drawn anew in each call; default: all.
        num_candidates: the most rows of the other view among which negatives are sought, drawn anew; default: all.
        generator: of these draws; torch's own if None.
        **kwargs: ``reducer``, ``embedding_regularizer`` and its weight, and ``distance``, which must be ``LpDistance``
            with p = 2 and power = 1 (default: of normalised embeddings).

    Shapes:
        embeddings ``(N, D)`` floating point, ref_emb ``(M, D)``, M = N without labels and tuples; labels ``(N,)`` and
        ref_labels ``(M,)`` integers -> a scalar, in float32 for half precision. Memory: a few times :math:`N M`
        numbers.

    Raises:
        ValueError: for invalid hyper-parameters, embeddings, labels or distances, and if nothing says which pairs are
            positive.

    Reducer input:
        **pos_loss**: one value per positive pair, type ``"pos_pair"``. **neg_loss**: one per positive pair whose row of
        embeddings has a negative, times w / 2, type ``"neg_pair"``. **ref_neg_loss**: the same for rows of ref_emb.
        Default reducer: mean, of each; PML adds the three.

    Relations:
        - Where both pull, the positive term of the paper less that of the release is :math:`m_+ (1 + m_+ - 2 d)`: the
          paper's is larger at distances d below :math:`(1 + m_+) / 2`, the release's beyond.
        - PML's ``ContrastiveLoss`` with a miner of hardest negatives is another loss: its hinges are not squared.

    Departs from the paper or the release:
        the squared hinge is that of the paper (Choy, Park, Koltun), as far as we know it; the released one, subsets and
        all, is :meth:`as_released`. The release adds :math:`10^{-7}` to squared distances before their root when it
        looks for negatives; here equal points have the gradient zero without it.

    Reference:
        Choy, Park, Koltun, "Fully Convolutional Geometric Features", ICCV 2019. As the student of: Yang, Dong,
        Carlone, Koltun, "Self-supervised Geometric Perception", CVPR 2021, arXiv:2103.03114.

    Example:
        >>> f = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> loss_func = HardestContrastiveLoss()
        >>> loss_func(f, ref_emb=f.clone())  # partners coincide, and the others are at a distance of 1.414
        tensor(0.)
        >>> loss_func(f, ref_emb=f.flip(0)).round(decimals=3)  # (1.414 - 0.1)^2 + 1.4^2
        tensor(3.6870)
    """

    supports_ref_emb = True

    def __init__(
        self,
        pos_thresh: float = 0.1,
        neg_thresh: float = 1.4,
        neg_weight: float = 1.0,
        squared_positive: bool = False,
        *,
        drop_positive_neighbors: bool = False,
        num_positives: int | None = None,
        num_candidates: int | None = None,
        generator: torch.Generator | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(self.distance, LpDistance) or (self.distance.p, self.distance.power) != (2, 1):
            raise ValueError(f"distance must be LpDistance with p=2 and power=1, got {self.distance!r}: not supported")
        self.pos_thresh = check_number("pos_thresh", pos_thresh, low=0.0)
        self.neg_thresh = check_number("neg_thresh", neg_thresh, low=0.0)
        self.neg_weight = check_number("neg_weight", neg_weight, low=0.0)
        self.squared_positive = squared_positive
        self.drop_positive_neighbors = drop_positive_neighbors
        self.num_positives = None if num_positives is None else check_integer("num_positives", num_positives)
        self.num_candidates = None if num_candidates is None else check_integer("num_candidates", num_candidates)
        self.generator = generator
        self.add_to_recordable_attributes(list_of_names=["pos_thresh", "neg_thresh", "neg_weight"])

    @classmethod
    def as_released(cls, batch_size: int = 4, **kwargs: Any) -> HardestContrastiveLoss:
        """Return the loss as released, for batches of ``batch_size`` scene pairs.

        It counts 1024 positive pairs and 256 candidates for each scene pair of a batch, whichever pair they are from.
        """
        check_integer("batch_size", batch_size)
        released = {"num_positives": 1024 * batch_size, "num_candidates": 256 * batch_size}
        return cls(squared_positive=True, drop_positive_neighbors=True, **{**released, **kwargs})

    def pair_losses(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: Any,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> dict[str, dict[str, Any]]:
        one_batch = ref_emb is embeddings
        if self.distance.normalize_embeddings:
            embeddings, ref_emb = normalize(embeddings), normalize(ref_emb)
        with torch.no_grad():  # only to see which is nearest; distances that count are taken of differences
            mat = embeddings.square().sum(1)[:, None] + ref_emb.square().sum(1) - 2 * (embeddings @ ref_emb.T)
        rows, columns, counts = candidates_of_batch(mat, labels, ref_labels, indices_tuple, one_batch)
        if len(rows) == 0:
            return self.zero_losses()
        listed = torch.zeros_like(counts, dtype=torch.bool)
        listed[rows, columns] = True
        candidates = (counts > 0) & ~listed
        if self.drop_positive_neighbors:
            candidates |= listed
        chosen = self._draw(len(rows), self.num_positives, rows.device)
        rows, columns = rows[chosen], columns[chosen]
        found = self._nearest(mat, candidates, listed, rows)
        ref_found = self._nearest(mat.T, candidates.T, listed.T, columns)
        return {
            "pos_loss": self._sub_loss(embeddings, ref_emb, (rows, columns), "pos_pair"),
            "neg_loss": self._sub_loss(embeddings, ref_emb, found, "neg_pair"),
            "ref_neg_loss": self._sub_loss(embeddings, ref_emb, ref_found[::-1], "neg_pair"),
        }

    def _draw(self, size: int, most: int | None, device: torch.device) -> Tensor:
        """Return ``most`` of ``size`` indices by chance, and all of them in order if there are no more than these."""
        if most is None or size <= most:
            return torch.arange(size, device=device)
        source = device if self.generator is None else self.generator.device
        return torch.randperm(size, generator=self.generator, device=source)[:most].to(device)

    def _nearest(self, mat: Tensor, candidates: Tensor, listed: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Return anchors and the nearest candidate of each, without anchors that have none or lose theirs."""
        drawn = self._draw(mat.shape[1], self.num_candidates, mat.device)
        allowed = candidates[anchors][:, drawn]
        nearest = drawn[mat[anchors][:, drawn].masked_fill(~allowed, torch.inf).argmin(1)]
        kept = allowed.any(1) & ~listed[anchors, nearest]
        return anchors[kept], nearest[kept]

    def _sub_loss(
        self, embeddings: Tensor, ref_emb: Tensor, pairs: tuple[Tensor, Tensor], reduction_type: str
    ) -> dict[str, Any]:
        rows, columns = pairs
        if len(rows) == 0:
            return self.zero_loss()
        difference = embeddings[rows] - ref_emb[columns]
        if reduction_type == "neg_pair":
            hinge = torch.relu(self.neg_thresh - torch.linalg.vector_norm(difference, dim=1))
            losses = self.neg_weight / 2 * hinge.square()
        elif self.squared_positive:
            losses = torch.relu(difference.square().sum(1) - self.pos_thresh)
        else:
            losses = torch.relu(torch.linalg.vector_norm(difference, dim=1) - self.pos_thresh).square()
        return {"losses": losses, "indices": (rows, columns), "reduction_type": reduction_type, "divisor": len(rows)}

    def _sub_loss_names(self) -> list[str]:
        return ["pos_loss", "neg_loss", "ref_neg_loss"]

    def get_default_distance(self) -> BaseDistance:
        return LpDistance(normalize_embeddings=True, p=2, power=1)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, squared_positive={self.squared_positive}"
