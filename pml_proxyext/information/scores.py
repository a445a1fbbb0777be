r"""Scores of candidates, in the two forms in which all estimators take them."""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor

from pml_proxyext.utils.precision import upcast

__all__ = ["Scores", "add_scores", "detach_scores", "split_alike", "split_scores"]

Scores: TypeAlias = Tensor | tuple[Tensor, Tensor]
"""A square matrix with the positives on its diagonal, or the pair (positives ``(R,)``, negatives ``(R, n)``)."""


def split_scores(scores: Scores, name: str = "scores", *, min_negatives: int = 1) -> tuple[Tensor, Tensor]:
    r"""Return the positive of each row and its negatives, in float32 for half precision.

    Args:
        scores: a matrix :math:`S` of shape ``(N, N)`` with :math:`S_{ij}` the score of :math:`x_i` and :math:`y_j`,
            whose negatives are what stands off the diagonal, from left to right; or a pair, which comes back as it is.
        name: of the argument, for errors.
        min_negatives: how many negatives a row needs at least.

    Shapes:
        ``(N, N)`` -> ``(N,)`` and ``(N, N - 1)``; a pair ``(R,)`` and ``(R, n)`` -> the same.

    Raises:
        ValueError: if the scores have neither form, are not floating point, or have no rows or too few negatives.

    Example:
        >>> import torch
        >>> split_scores(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        (tensor([1., 4.]), tensor([[2.],
                [3.]]))
    """
    is_pair = isinstance(scores, tuple) and [isinstance(part, Tensor) for part in scores] == [True, True]
    positive, negatives = scores if is_pair else _split_square(scores, name)
    shapes = f"shapes {tuple(positive.shape)} and {tuple(negatives.shape)}"
    if positive.ndim != 1 or negatives.ndim != 2 or len(positive) != len(negatives):
        raise ValueError(f"{name} as a pair must be positives (R,) and negatives (R, n), got {shapes}")
    if not (positive.is_floating_point() and negatives.is_floating_point()):
        raise ValueError(f"{name} must be floating point, got {positive.dtype} and {negatives.dtype}")
    if len(positive) == 0:
        raise ValueError(f"{name} must have at least one row, got positives and negatives of {shapes}")
    if negatives.shape[1] < min_negatives:
        raise ValueError(
            f"{name} must have at least {min_negatives} negative per row for this quantity, "
            f"got positives and negatives of {shapes}"
        )
    return upcast(positive), upcast(negatives)


def _split_square(scores: Scores, name: str) -> tuple[Tensor, Tensor]:
    if not isinstance(scores, Tensor):
        raise ValueError(
            f"{name} must be a square matrix or a pair of tensors (positives, negatives), got {type(scores).__name__}"
        )
    size = len(scores) if scores.ndim else 0
    if scores.shape != (size, size) or size == 0:
        raise ValueError(
            f"{name} must be a square matrix of at least one row, or a pair (positives, negatives), "
            f"got a tensor of shape {tuple(scores.shape)}"
        )
    # Without its first entry, the flat matrix has a diagonal entry at the end of every N + 1 entries.
    off_diagonal = scores.reshape(-1)[1:].view(size - 1, size + 1)[:, :-1].reshape(size, size - 1)
    return scores.diagonal(), off_diagonal


def add_scores(psi: Scores, phi: Scores) -> tuple[Tensor, Tensor]:
    """Return the sum of two critics' scores of the same candidates, as a pair.

    Raises:
        ValueError: as :func:`split_scores`, and if the shapes differ.
    """
    (psi_positive, psi_negatives), (phi_positive, phi_negatives) = split_alike(psi, phi)
    return psi_positive + phi_positive, psi_negatives + phi_negatives


def split_alike(psi: Scores, phi: Scores) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Split the scores that two critics give to the same candidates, with or without negatives."""
    split_psi = split_scores(psi, "psi", min_negatives=0)
    split_phi = split_scores(phi, "phi", min_negatives=0)
    if split_psi[1].shape != split_phi[1].shape:
        raise ValueError(
            f"psi and phi must score the same candidates, got negatives of shapes {tuple(split_psi[1].shape)} "
            f"and {tuple(split_phi[1].shape)}"
        )
    return split_psi, split_phi


def detach_scores(scores: Scores) -> Scores:
    """Return the scores without their graph."""
    return scores.detach() if isinstance(scores, Tensor) else (scores[0].detach(), scores[1].detach())
