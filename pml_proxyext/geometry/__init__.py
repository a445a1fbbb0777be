"""Geometry behind the losses: the regular simplex, how low losses can go, and points turned from their anchors."""

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
from pml_proxyext.geometry.virtual_points import (
    angles,
    nearest_other_angles,
    virtual_points,
    virtual_similarities,
)

__all__ = [
    "SimplexDistance",
    "SupConMinimum",
    "angles",
    "classifier_alignment",
    "cross_entropy_floor",
    "cross_entropy_floor_row_norm",
    "cross_entropy_floor_weight_decay",
    "nearest_other_angles",
    "normalized_softmax_floor",
    "regular_simplex",
    "simplex_distance",
    "supcon_antipodal_floor",
    "supcon_batch_minimum",
    "supcon_simplex_floor",
    "supcon_statistics_floor",
    "supcon_total_floor",
    "virtual_points",
    "virtual_similarities",
]
