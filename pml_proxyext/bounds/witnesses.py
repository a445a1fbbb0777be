"""Batches on which relations are tight: simplices, poles, collapsed classes."""

from __future__ import annotations

import torch
from torch import Tensor

from pml_proxyext.bounds.batch import BoundBatch

__all__ = ["axes", "collapsed", "poles", "simplex"]


def axes(counts: list[int], **hyper: float) -> BoundBatch:
    """Return each class collapsed on an axis of its own: all negatives have cosine 0."""
    return collapsed(torch.eye(len(counts)), counts, **hyper)


def collapsed(vertices: Tensor, counts: list[int], **hyper: float) -> BoundBatch:
    """Return ``counts[k]`` samples on row k of ``vertices``, which are the proxies as well."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    vertices = vertices.double()
    return BoundBatch(vertices[labels], labels, vertices, hyper, "witness")


def poles(counts: list[int], **hyper: float) -> BoundBatch:
    """Return the first class at one pole of the sphere and all others at the other pole."""
    signs = torch.ones(len(counts), 1, dtype=torch.float64)
    signs[1:] = -1
    return collapsed(torch.cat([signs, torch.zeros_like(signs)], dim=1), counts, **hyper)


def simplex(num_classes: int, per_class: int, **hyper: float) -> BoundBatch:
    """Return each class collapsed on a vertex of a regular simplex around the origin, with the proxies there too."""
    vertices = torch.eye(num_classes, dtype=torch.float64) - 1 / num_classes
    vertices = vertices / vertices.norm(dim=1, keepdim=True)
    return collapsed(vertices, [per_class] * num_classes, **hyper)
