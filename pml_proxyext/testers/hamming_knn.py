"""Nearest neighbours of binary codes, for PML's calculators."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_metric_learning.utils.inference import return_results
from torch import Tensor

from pml_proxyext.utils.checks import check_embeddings, check_integer, check_number

__all__ = ["HammingKNN"]

_ROWS_AT_ONCE = 2**14  # on the way to bits there are bytes, eight times as many


class _Reference(NamedTuple):
    """Shuffled codes of ``width`` bits, and which row of the reference is in each place."""

    codes: faiss.IndexBinaryFlat
    order: Tensor
    width: int


class HammingKNN:
    """Exact search by Hamming distance, as the ``knn_func`` of PML's ``AccuracyCalculator``.

    Embeddings are cut at a threshold and packed, eight bits to a byte; a code of 64 bits takes 8 bytes, an embedding
    of 128 floats 512. Codes are then compared by ``faiss.IndexBinaryFlat``.

    Codes of K bits have only K + 1 distances, so ties are many, and faiss leaves them in the order of the reference.
    Where that is sorted by class, as data sets are, a tie is won by the own class or lost to it for no merit: 200 equal
    codes of 4 classes score a mean average precision of 0.41, where chance is 0.26. Here the reference is shuffled
    before the search, and indices are mapped back.

    Args:
        threshold: a bit is 1 above it; 1/2 for the codes of :class:`~pml_proxyext.models.DBELayer`, 0 for codes
            around zero.
        seed: of the shuffle. A seed and not a generator: the same evaluation twice gives the same score, and leaves
            random numbers elsewhere as they are.

    Shapes:
        query ``(N, D)``, reference ``(M, D)`` floating point, on any device -> distances ``(N, k)``, the number of
        bits that differ, int32, and indices ``(N, k)`` into the reference, int64, on the device of the query. With
        ``ref_includes_query`` the first N of the reference are the query, and no row finds itself.

    Raises:
        ValueError: for NaN, unequal widths, and more neighbours than there are. PML's ``FaissKNN`` fills up with -1,
            which indexes the last label.

    Recommendations:
        Give PML's testers ``normalize_embeddings=False``: normalised values are seldom above 1/2. This warns if the
        query looks like that.

    Example:
        >>> codes = torch.tensor([[0.9, 0.1, 0.8], [0.8, 0.0, 0.9], [0.1, 0.9, 0.2]])
        >>> distances, indices = HammingKNN()(codes, 2, codes, ref_includes_query=True)
        >>> distances[0].tolist(), indices[0].tolist()
        ([0, 3], [1, 2])
    """

    def __init__(self, threshold: float = 0.5, seed: int = 0) -> None:
        self.threshold = check_number("threshold", threshold)
        self.seed = check_integer("seed", seed, low=0)
        self._trained: _Reference | None = None

    def train(self, embeddings: Tensor) -> None:
        """Keep these as the reference of all calls without one, packed, as PML's ``InferenceModel`` asks for."""
        self._trained = self._shuffled(embeddings)

    def __call__(
        self, query: Tensor, k: int, reference: Tensor | None = None, ref_includes_query: bool = False
    ) -> tuple[Tensor, Tensor]:
        check_integer("k", k, low=0)
        searched = self._trained if reference is None else self._shuffled(reference)
        if searched is None:
            raise ValueError("reference is required unless train was called, got None")
        check_embeddings(query, searched.width, name="query")
        wanted = k + int(ref_includes_query)
        if wanted > len(searched.order):
            available = len(searched.order) - int(ref_includes_query)
            raise ValueError(f"k must be at most {available}, the number of other codes in the reference, got {k}")
        _warn_of_unit_norms(query, self.threshold)
        # faiss refuses 0, which PML asks for at times.
        distances, places = searched.codes.search(self._packed(query, "query"), max(wanted, 1))
        indices = searched.order[torch.from_numpy(places[:, :wanted])]
        found: tuple[Tensor, Tensor] = return_results(
            torch.from_numpy(distances[:, :wanted]).to(query.device), indices.to(query.device), ref_includes_query
        )
        return found

    def _shuffled(self, reference: Tensor) -> _Reference:
        check_embeddings(reference, name="reference")
        codes = self._packed(reference, "reference")
        order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(self.seed))
        codes = codes[order.numpy()]
        index = faiss.IndexBinaryFlat(8 * codes.shape[1])
        index.add(codes)
        return _Reference(index, order, reference.shape[1])

    def _packed(self, embeddings: Tensor, name: str) -> NDArray[np.uint8]:
        """Return the bits of each row as bytes, with zeros at the end of the last one."""
        packed = np.empty((len(embeddings), -(-embeddings.shape[1] // 8)), dtype=np.uint8)
        for start in range(0, len(embeddings), _ROWS_AT_ONCE):
            some = embeddings[start : start + _ROWS_AT_ONCE]
            if some.isnan().any():
                raise ValueError(f"{name} must not have NaN, which has no bit")
            packed[start : start + len(some)] = np.packbits((some > self.threshold).cpu().numpy(), axis=1)
        return packed


def _warn_of_unit_norms(query: Tensor, threshold: float) -> None:
    some = query[:100].float()
    is_binary = ((some == 0) | (some == 1)).all()
    if threshold > 0 and len(some) and not is_binary and ((some.norm(dim=1) - 1).abs() < 1e-3).all():
        warnings.warn(
            f"all embeddings have norm 1 and are cut at {threshold:g}: "
            "give the tester normalize_embeddings=False, or HammingKNN another threshold",
            stacklevel=3,
        )
