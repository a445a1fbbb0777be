r"""Comparisons of embeddings as von Mises-Fisher distributions: the direction is the mean, the norm the certainty."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pytorch_metric_learning.distances import BaseDistance
from torch import Tensor

from pml_proxyext.distributions import log_sphere_area, vmf_log_partition, vmf_mean_factor
from pml_proxyext.utils.checks import check_embeddings
from pml_proxyext.utils.precision import upcast

__all__ = ["VMFBhattacharyya", "VMFDistance", "VMFExpectedLikelihood", "VMFKLDivergence"]


class VMFDistance(BaseDistance):
    r"""Base of the comparisons of two embeddings as the distributions :math:`f_e(z) \propto e^{e \cdot z}`.

    The norm :math:`\|e\|` is the concentration and the direction the mean direction; a zero embedding is the uniform
    distribution. Every comparison is a smooth function of two squared norms and one inner product, so that a matrix
    of them costs one matrix product, and zero embeddings have finite gradients.

    Args:
        normalize_embeddings: must be False: a normalised embedding has lost its concentration.
        **kwargs: ``power`` and the other keywords of PML's distances.

    Shapes:
        ``(N, D)``, ``(M, D)`` -> ``(N, M)``; ``pairwise_distance``: ``(N, D)``, ``(N, D)`` -> ``(N,)``. Half precision
        is computed and returned in float32, with or without autocast, since the values are large.

    Raises:
        ValueError: for ``normalize_embeddings=True`` and for embeddings of unequal width or without floating point.
    """

    #: Whether larger values mean nearer.
    is_similarity: ClassVar[bool] = True

    def __init__(self, normalize_embeddings: bool = False, **kwargs: Any) -> None:
        if normalize_embeddings:
            raise ValueError(
                "normalize_embeddings must be False, got True, which is not supported: "
                "the norm of an embedding is its concentration"
            )
        super().__init__(normalize_embeddings=False, is_inverted=self.is_similarity, **kwargs)

    def compare(self, query_squares: Tensor, ref_squares: Tensor, products: Tensor, dim: int) -> Tensor:
        """Return the comparisons from squared norms and inner products, of shapes that broadcast."""
        raise NotImplementedError

    def compute_mat(self, query_emb: Tensor, ref_emb: Tensor) -> Tensor:
        query, ref = self._prepared(query_emb, ref_emb)
        with torch.autocast(query.device.type, enabled=False):  # it would round the inner products, not the norms
            products = query @ ref.T
        return self.compare(query.square().sum(1)[:, None], ref.square().sum(1)[None, :], products, query.shape[1])

    def pairwise_distance(self, query_emb: Tensor, ref_emb: Tensor) -> Tensor:
        query, ref = self._prepared(query_emb, ref_emb)
        return self.compare(query.square().sum(1), ref.square().sum(1), (query * ref).sum(1), query.shape[1])

    @staticmethod
    def _prepared(query_emb: Tensor, ref_emb: Tensor) -> tuple[Tensor, Tensor]:
        check_embeddings(query_emb, name="query_emb")
        check_embeddings(ref_emb, query_emb.shape[1], name="ref_emb")
        return upcast(query_emb), upcast(ref_emb)


class VMFExpectedLikelihood(VMFDistance):
    r"""Logarithm of the expected likelihood kernel, a similarity.

    .. math:: s(e, r) = \log \int f_e(z) f_r(z)\, dz = \log C_D(\|e\|) + \log C_D(\|r\|) - \log C_D(\|e + r\|)

    The certain and equal are more alike than the uncertain and equal: a self-similarity grows with the norm. Two
    uniform distributions have minus the log-area of the sphere, about 868 for D = 512; with a loss that compares
    values to constants, choose its margins relative to that.

    Departs from the paper or the release:
        exact normaliser for every D; no temperature, which belongs to the loss.

    Reference:
        Kirchhof, Roth, Akata, Kasneci, "A Non-isotropic Probabilistic Take on Proxy-based Deep Metric Learning",
        ECCV 2022, arXiv:2207.03784; Jebara, Kondor, Howard, "Probability Product Kernels", JMLR 2004.

    Example:
        >>> distance = VMFExpectedLikelihood()
        >>> distance(torch.tensor([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0]])).argmax(1)
        tensor([0, 1])
    """

    def compare(self, query_squares: Tensor, ref_squares: Tensor, products: Tensor, dim: int) -> Tensor:
        both = (query_squares + ref_squares + 2 * products).clamp_min(0)
        separate = vmf_log_partition(query_squares, dim) + vmf_log_partition(ref_squares, dim)
        return vmf_log_partition(both, dim) - separate - log_sphere_area(dim)


class VMFBhattacharyya(VMFDistance):
    r"""Logarithm of the Bhattacharyya coefficient, a similarity of at most zero, which it is for equal distributions.

    .. math:: s(e, r) = \log \int \sqrt{f_e(z) f_r(z)}\, dz
        = \tfrac12 \log C_D(\|e\|) + \tfrac12 \log C_D(\|r\|) - \log C_D(\|e + r\| / 2)

    Departs from the paper or the release:
        exact normaliser for every D; no temperature, which belongs to the loss.

    Reference:
        Kirchhof, Roth, Akata, Kasneci, "A Non-isotropic Probabilistic Take on Proxy-based Deep Metric Learning",
        ECCV 2022, arXiv:2207.03784; Jebara, Kondor, Howard, "Probability Product Kernels", JMLR 2004.

    Example:
        >>> distance = VMFBhattacharyya()
        >>> similarities = distance(torch.tensor([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0]]))
        >>> similarities.diagonal().abs() < 1e-6, bool(similarities[0, 1] < -0.5)
        (tensor([True, True]), True)
    """

    def compare(self, query_squares: Tensor, ref_squares: Tensor, products: Tensor, dim: int) -> Tensor:
        both = ((query_squares + ref_squares + 2 * products) / 4).clamp_min(0)
        separate = vmf_log_partition(query_squares, dim) + vmf_log_partition(ref_squares, dim)
        return vmf_log_partition(both, dim) - separate / 2


class VMFKLDivergence(VMFDistance):
    r"""Kullback-Leibler divergence of the reference from the query: a distance that is not symmetric.

    .. math:: d(e, r) = \mathrm{KL}(f_e \,\|\, f_r)
        = \log \frac{C_D(\|e\|)}{C_D(\|r\|)} + A_D(\|e\|) \Big(\|e\| - \frac{e \cdot r}{\|e\|}\Big)

    It is zero for equal distributions and positive otherwise. The rows of the matrix are the queries.

    Departs from the paper or the release:
        the release of nivMF computes it without :math:`A_D` and with the opposite sign.

    Reference:
        Kirchhof, Roth, Akata, Kasneci, "A Non-isotropic Probabilistic Take on Proxy-based Deep Metric Learning",
        ECCV 2022, arXiv:2207.03784.

    Example:
        >>> distance = VMFKLDivergence()
        >>> distances = distance(torch.tensor([[4.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
        >>> distances.diagonal().abs() < 1e-6, bool(distances[0, 1] < distances[1, 0])
        (tensor([True, True]), True)
    """

    is_similarity = False

    def compare(self, query_squares: Tensor, ref_squares: Tensor, products: Tensor, dim: int) -> Tensor:
        partitions = vmf_log_partition(ref_squares, dim) - vmf_log_partition(query_squares, dim)
        return partitions + vmf_mean_factor(query_squares, dim) * (query_squares - products)
