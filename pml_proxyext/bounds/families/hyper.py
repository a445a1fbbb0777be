"""Hyper-parameters that several families share; defaults are PML's."""

from __future__ import annotations

from pml_proxyext.bounds.assumptions import Hyper

__all__ = ["MARGIN", "TEMPERATURE", "TEMPERATURE_RATIO"]

TEMPERATURE = Hyper(0.1, 0.05, 5.0)
"""Of NT-Xent, SupCon, NCA and normalized softmax. Below 0.05 PML's NT-Xent saturates in float64 too."""

TEMPERATURE_RATIO = Hyper(2.0, 1.0, 10.0)
"""A larger temperature divided by the smaller one."""

MARGIN = Hyper(0.05, 0.0, 2.0)
"""Of triplets on the unit sphere."""
