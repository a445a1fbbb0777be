"""The set of unit vectors, as a constraint of torch.distributions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

__all__ = ["unit_sphere"]


class _UnitSphere(Constraint):
    """Vectors of length one, up to the resolution of their dtype (at least 1e-5)."""

    is_discrete = False
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        tolerance = max(1e-5, 4 * torch.finfo(value.dtype).eps)
        length = torch.linalg.vector_norm(value, dim=-1, dtype=torch.promote_types(value.dtype, torch.float32))
        return (length - 1).abs() <= tolerance


#: Satisfied by vectors ``(..., D)`` of length one.
unit_sphere = _UnitSphere()
