"""Matches between the descriptors of two views, by nearest neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from pml_proxyext.utils.checks import check_embeddings, check_finite, check_integer, check_number
from pml_proxyext.utils.precision import upcast

__all__ = ["mutual_nearest_neighbors", "nearest_neighbors", "ratio_test_matches"]


def nearest_neighbors(descriptors_a: Tensor, descriptors_b: Tensor) -> Tensor:
    """Return every descriptor of a with its nearest one in b, the first one of several that are as near.

    Shapes:
        ``(N, D)`` and ``(M, D)`` -> ``(N, 2)`` int64, or ``(0, 2)`` if b is empty.

    Example:
        >>> nearest_neighbors(torch.tensor([[0.0], [2.0], [3.0]]), torch.tensor([[2.2], [0.1]])).tolist()
        [[0, 1], [1, 0], [2, 0]]
    """
    return _one_way(_squared_distances(descriptors_a, descriptors_b))


def mutual_nearest_neighbors(descriptors_a: Tensor, descriptors_b: Tensor, *, min_matches: int = 0) -> Tensor:
    """Return the pairs in which each is the nearest of the other.

    Args:
        descriptors_a: ``(N, D)`` floating point.
        descriptors_b: ``(M, D)``.
        min_matches: with fewer mutual pairs than this, all of :func:`nearest_neighbors` are returned in their place, as
            the code of SGP does with 10 for the features of clouds. Default: never.

    Shapes:
        -> ``(K, 2)`` int64, in the order of a.

    Raises:
        ValueError: for descriptors that are no matrices of one width, or not finite.

    Example:
        >>> mutual_nearest_neighbors(torch.tensor([[0.0], [2.0], [3.0]]), torch.tensor([[2.2], [0.1]])).tolist()
        [[0, 1], [1, 0]]
    """
    check_integer("min_matches", min_matches, low=0)
    distances = _squared_distances(descriptors_a, descriptors_b)
    forward = _one_way(distances)
    if len(forward) == 0:
        return forward
    back = distances.argmin(0)
    mutual = forward[back[forward[:, 1]] == forward[:, 0]]
    return forward if len(mutual) < min_matches else mutual


def ratio_test_matches(
    descriptors_a: Tensor, descriptors_b: Tensor, ratio: float = 0.75, *, min_matches: int = 0
) -> Tensor:
    """Return the nearest neighbours that are much nearer than the second nearest: by less than ``ratio`` of it.

    Args:
        descriptors_a: ``(N, D)`` floating point.
        descriptors_b: ``(M, D)``. With a single descriptor there is no second one, and every pair passes.
        ratio: 0.75 in the code of SGP.
        min_matches: if fewer pass, the pairs of the ``min_matches`` smallest ratios are returned, as the code of SGP
            does with 50 for pictures. Default: none but those that pass.

    Shapes:
        -> ``(K, 2)`` int64, in the order of a.

    Raises:
        ValueError: for descriptors that are no matrices of one width, or not finite, and a ratio not in (0, 1].

    Example:
        >>> ratio_test_matches(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.1], [2.1], [5.0]])).tolist()
        [[0, 0]]
    """
    check_number("ratio", ratio, low=0.0, high=1.0, open_low=True)
    check_integer("min_matches", min_matches, low=0)
    distances = _squared_distances(descriptors_a, descriptors_b)
    forward = _one_way(distances)
    if len(forward) == 0 or distances.shape[1] == 1:
        return forward
    nearest, second = distances.sqrt().topk(2, dim=1, largest=False).values.unbind(1)
    passes = nearest < ratio * second
    if int(passes.sum()) >= min_matches:
        return forward[passes]
    best = torch.argsort(nearest / second, stable=True)[:min_matches]
    return forward[best.sort().values]


def _one_way(distances: Tensor) -> Tensor:
    if distances.numel() == 0:
        return torch.empty(0, 2, dtype=torch.int64, device=distances.device)
    return torch.stack([torch.arange(len(distances), device=distances.device), distances.argmin(1)], dim=1)


def _squared_distances(descriptors_a: Tensor, descriptors_b: Tensor) -> Tensor:
    a = upcast(check_finite(check_embeddings(descriptors_a, name="descriptors_a"), "descriptors_a"))
    b = upcast(check_finite(check_embeddings(descriptors_b, a.shape[1], name="descriptors_b"), "descriptors_b"))
    squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * (a @ b.T)
    return squares.clamp_(min=0)
