"""The dtype policy: arithmetic follows the embeddings; exponentials and sums never run in half precision."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["accumulation_dtype", "log1p_exp", "upcast"]


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return float32 for bfloat16 and float16, and ``dtype`` itself otherwise.

    Example:
        >>> accumulation_dtype(torch.bfloat16), accumulation_dtype(torch.float64)
        (torch.float32, torch.float64)
    """
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def upcast(tensor: Tensor) -> Tensor:
    """Return ``tensor`` in its accumulation dtype; a tensor of full precision comes back as it is."""
    return tensor.to(accumulation_dtype(tensor.dtype))


def log1p_exp(tensor: Tensor) -> Tensor:
    """Return ``log(1 + exp(tensor))`` to full precision; torch's softplus drops ``exp(-20)`` from 20 on by default."""
    return softplus(tensor, threshold=40.0)
