r"""The regular simplex: K directions of which any two are equally, and as far as possible, apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pml_proxyext.utils.checks import check_integer

__all__ = ["regular_simplex"]


def regular_simplex(num_vertices: int, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    r"""Return the vertices of a regular simplex on the unit sphere, one per row.

    .. math::
        v_i \cdot v_j = \begin{cases} 1 & i = j \\ -1 / (K - 1) & i \ne j \end{cases}, \qquad \sum_i v_i = 0

    They are the columns of the centred identity, scaled to length one, in Helmert's basis of the hyperplane in which
    they lie. So all coordinates from the K-th on are zero. The Gram matrix determines the rows up to a rotation.

    Args:
        num_vertices: :math:`K \ge 2`.
        dim: :math:`D \ge K - 1`, the number of coordinates.
        dtype: of the result; torch's default dtype if None. It is computed in float64.

    Shapes:
        -> ``(K, D)``.

    Raises:
        ValueError: if ``num_vertices`` is below 2, or ``dim`` below ``num_vertices - 1``, where no such simplex exists.

    Example:
        >>> regular_simplex(3, 2)
        tensor([[ 0.8660,  0.5000],
                [-0.8660,  0.5000],
                [ 0.0000, -1.0000]])
    """
    check_integer("num_vertices", num_vertices, low=2)
    check_integer("dim", dim, low=num_vertices - 1)
    vertex = torch.arange(num_vertices, dtype=torch.float64)[:, None]
    axis = torch.arange(1, num_vertices, dtype=torch.float64)
    # Axis j of Helmert's basis weighs the first j coordinates against the next one.
    coordinates = ((vertex < axis).double() - axis * (vertex == axis)) / torch.sqrt(axis * (axis + 1))
    simplex = coordinates.new_zeros(num_vertices, dim)
    simplex[:, : num_vertices - 1] = coordinates * math.sqrt(num_vertices / (num_vertices - 1))
    return simplex.to(dtype or torch.get_default_dtype())
