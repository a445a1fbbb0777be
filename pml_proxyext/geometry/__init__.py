"""Geometry behind the losses: the regular simplex, and how low cross-entropy and contrastive losses can go."""

from pml_proxyext.geometry.cross_entropy_floors import (
    cross_entropy_floor,
    cross_entropy_floor_row_norm,
    cross_entropy_floor_weight_decay,
    normalized_softmax_floor,
)
from pml_proxyext.geometry.simplex import regular_simplex
from pml_proxyext.geometry.simplex_distance import SimplexDistance, classifier_alignment, simplex_distance
from pml_proxyext.geometry.supcon_floors import (
    supcon_antipodal_floor,
    supcon_simplex_floor,
    supcon_statistics_floor,
    supcon_total_floor,
)
from pml_proxyext.geometry.supcon_minimum import SupConMinimum, supcon_batch_minimum

__all__ = [
    "SimplexDistance",
    "SupConMinimum",
    "classifier_alignment",
    "cross_entropy_floor",
    "cross_entropy_floor_row_norm",
    "cross_entropy_floor_weight_decay",
    "normalized_softmax_floor",
    "regular_simplex",
    "simplex_distance",
    "supcon_antipodal_floor",
    "supcon_batch_minimum",
    "supcon_simplex_floor",
    "supcon_statistics_floor",
    "supcon_total_floor",
]
