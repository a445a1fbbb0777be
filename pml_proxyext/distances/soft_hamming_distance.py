r"""The Hamming distance of binary codes, smooth between them."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning.distances import BaseDistance
from torch import Tensor

from pml_proxyext.utils.checks import check_embeddings, check_unit_interval
from pml_proxyext.utils.precision import upcast

__all__ = ["SoftHammingDistance", "soft_hamming"]


def soft_hamming(query: Tensor, ref: Tensor) -> Tensor:
    r"""Return the mean over the last axis of :math:`a (1 - b) + (1 - a) b`, row by row.

    Example:
        >>> soft_hamming(torch.tensor([[0.0, 0.5], [1.0, 1.0]]), torch.tensor([[1.0, 0.5], [1.0, 1.0]]))
        tensor([0.7500, 0.0000])
    """
    return (query * (1 - ref) + (1 - query) * ref).mean(-1)


class SoftHammingDistance(BaseDistance):
    r"""Share of the bits that differ, for codes whose bits may lie between 0 and 1.

    .. math::
        d(a, b) = \frac1K \sum_{k=1}^{K} \mathrm{xor}(a_k, b_k)
            = \frac{\|a\|_1 + \|b\|_1 - 2\, a \cdot b}{K}, \qquad
        \mathrm{xor}(x, y) = x + y - 2 x y = x (1 - y) + (1 - x) y

    On binary codes it is the Hamming distance over :math:`K`. In between it is the expected one, of codes whose bits
    are drawn independently with probabilities :math:`a_k` and :math:`b_k`. For that reason a code that is not binary
    has a distance from itself, :math:`\frac2K \sum_k a_k (1 - a_k)`, and a loss that draws codes together also drives
    their bits to 0 or 1.

    Args:
        normalize_embeddings: must be False: the values are bits.
        **kwargs: ``power`` and the other keywords of PML's distances.

    Shapes:
        ``(N, K)``, ``(M, K)`` with values in [0, 1] -> ``(N, M)`` in [0, 1], by one matrix product;
        ``pairwise_distance``: ``(N, K)``, ``(N, K)`` -> ``(N,)``. Half precision is computed and returned in float32,
        with or without autocast.

    Raises:
        ValueError: for ``normalize_embeddings=True``, unequal widths, embeddings without floating point, and values
            outside [0, 1], where it is no distance (a compiled graph does not look). NaN passes and stays.

    Relations:
        - It is symmetric, linear in each argument, and has the triangle inequality.
        - :math:`\mathrm{xor}(x, y) \ge |x - y| \ge (x - y)^2`.
        - Codes cut at 1/2 differ exactly in the bits where the xor is above 1/2. Hence their Hamming distance over
          :math:`K` is at most :math:`2 d(a, b)`.

    Departs from the paper or the release:
        no release is known. That views are aligned by an xor is in the abstract, which is what we have read; that it
        is this polynomial is a reconstruction.

    Reference:
        Liu, Qi, "Discriminative Cross-View Hashing", WACV 2018, arXiv:1804.01233.

    Example:
        >>> distance = SoftHammingDistance()
        >>> distance(torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 0.5, 0.5]]))
        tensor([[0.0000, 0.5000],
                [0.5000, 0.5000]])
    """

    def __init__(self, normalize_embeddings: bool = False, **kwargs: Any) -> None:
        if normalize_embeddings:
            raise ValueError(
                "normalize_embeddings must be False, got True, which is not supported: the values are bits"
            )
        super().__init__(normalize_embeddings=False, is_inverted=False, **kwargs)

    def compute_mat(self, query_emb: Tensor, ref_emb: Tensor) -> Tensor:
        query, ref = self._prepared(query_emb, ref_emb)
        with torch.autocast(query.device.type, enabled=False):
            # Both parts are sums of numbers >= 0: nothing cancels where codes are near, and nothing is negative.
            both = torch.cat([query, 1 - query], dim=1) @ torch.cat([1 - ref, ref], dim=1).T
        return both / query.shape[1]

    def pairwise_distance(self, query_emb: Tensor, ref_emb: Tensor) -> Tensor:
        return soft_hamming(*self._prepared(query_emb, ref_emb))

    @staticmethod
    def _prepared(query_emb: Tensor, ref_emb: Tensor) -> tuple[Tensor, Tensor]:
        check_embeddings(query_emb, name="query_emb")
        check_embeddings(ref_emb, query_emb.shape[1], name="ref_emb")
        query = check_unit_interval(query_emb, "query_emb")
        return upcast(query), upcast(query if ref_emb is query_emb else check_unit_interval(ref_emb, "ref_emb"))
