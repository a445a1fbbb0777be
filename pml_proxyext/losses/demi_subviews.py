"""The subviews that DEMILoss compares: a part of both sides, or what the caller embedded apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from pml_proxyext.losses.cross_modal_samples import check_same_ids
from pml_proxyext.utils.checks import check_embeddings, check_rows
from pml_proxyext.utils.precision import upcast

__all__ = ["Subview", "TuplesAndSubviews", "both_subviews", "check_second_view", "check_widths", "take_subview"]

#: A slice of coordinates, a function of ``(N, D)``, or None for the first half of the coordinates.
Subview = slice | Callable[[Tensor], Tensor] | None


class TuplesAndSubviews(NamedTuple):
    """What PML hands on to ``compute_loss`` where it takes it for tuples: these, and subviews embedded apart."""

    indices_tuple: Any
    sub_emb: Tensor | None
    sub_ref_emb: Tensor | None


def take_subview(subview: Subview, rows: Tensor) -> Tensor:
    """Return the subview of rows ``(N, D)``, ``(N, E)``.

    Raises:
        ValueError: if no coordinate is left.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
        >>> take_subview(None, rows), take_subview(slice(1, 4, 2), rows)
        (tensor([[1., 2.]]), tensor([[2., 4.]]))
    """
    if callable(subview):
        return check_embeddings(subview(rows), name="the subview")
    part = rows[:, slice(rows.shape[1] // 2) if subview is None else subview]
    if part.shape[1] == 0:
        taken = "the first half" if subview is None else subview
        raise ValueError(f"subview must take at least one coordinate, got {taken} of width {rows.shape[1]}")
    return part


def both_subviews(
    subview: Subview, embeddings: Tensor, ref_emb: Tensor, sub_emb: Tensor | None, sub_ref_emb: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the subviews of both sides: those given, or else the same function of each.

    Args:
        subview: see :func:`take_subview`.
        embeddings: ``(N, D)``.
        ref_emb: ``(M, D)``.
        sub_emb: ``(N, E)``, used in place of the function.
        sub_ref_emb: what to compare it with, ``(M, E)``; None is ``ref_emb``.

    Raises:
        ValueError: for given subviews of other shapes, and for ``sub_ref_emb`` alone.
    """
    if sub_emb is None:
        if sub_ref_emb is not None:
            raise ValueError("sub_emb is required together with sub_ref_emb, got None")
        part = take_subview(subview, embeddings)
        return part, part if ref_emb is embeddings else take_subview(subview, ref_emb)
    check_rows(check_embeddings(sub_emb, name="sub_emb"), embeddings, "sub_emb")
    if sub_ref_emb is None:
        sub_ref_emb = ref_emb
    check_rows(check_embeddings(sub_ref_emb, name="sub_ref_emb"), ref_emb, "sub_ref_emb", "ref_emb")
    return upcast(sub_emb).to(embeddings), upcast(sub_ref_emb).to(embeddings)


def check_widths(subviews: Tensor, ref_subviews: Tensor) -> None:
    """Raise ValueError if the subviews of both sides are not equally wide, as a distance needs them."""
    if subviews.shape[1] != ref_subviews.shape[1]:
        raise ValueError(
            "sub_emb must be as wide as sub_ref_emb (default: ref_emb), "
            f"got widths {subviews.shape[1]} and {ref_subviews.shape[1]}"
        )


def check_second_view(embeddings: Tensor, labels: Tensor | None, ref_emb: Tensor, ref_labels: Tensor | None) -> None:
    """Raise ValueError unless ``ref_emb`` is a second view of the rows, with the same labels, which are the subview."""
    if ref_emb is embeddings:
        raise ValueError("ref_emb must be the second view, whose row i belongs to row i of embeddings, got none")
    if labels is None:
        raise ValueError("labels are required with conditional='label', one class for each row, got None")
    check_rows(ref_emb, embeddings, "ref_emb")
    check_same_ids(labels, ref_labels)
