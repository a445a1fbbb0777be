"""Geometry behind the losses: the simplex, floors, virtual points, and the linear regions of encoders."""

from pml_proxyext.geometry.cross_entropy_floors import (
    cross_entropy_floor,
    cross_entropy_floor_row_norm,
    cross_entropy_floor_weight_decay,
    normalized_softmax_floor,
)
from pml_proxyext.geometry.linear_regions import RectifiedLinearComplexity, chao1, rectified_linear_complexity
from pml_proxyext.geometry.region_bounds import ReLUBounds, hyperplane_regions, relu_bounds
from pml_proxyext.geometry.region_lines import LineRegions, line_regions
from pml_proxyext.geometry.region_planes import PlaneRegions, plane_regions
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
    "LineRegions",
    "PlaneRegions",
    "ReLUBounds",
    "RectifiedLinearComplexity",
    "SimplexDistance",
    "SupConMinimum",
    "angles",
    "chao1",
    "classifier_alignment",
    "cross_entropy_floor",
    "cross_entropy_floor_row_norm",
    "cross_entropy_floor_weight_decay",
    "hyperplane_regions",
    "line_regions",
    "nearest_other_angles",
    "normalized_softmax_floor",
    "plane_regions",
    "rectified_linear_complexity",
    "regular_simplex",
    "relu_bounds",
    "simplex_distance",
    "supcon_antipodal_floor",
    "supcon_batch_minimum",
    "supcon_simplex_floor",
    "supcon_statistics_floor",
    "supcon_total_floor",
    "virtual_points",
    "virtual_similarities",
]
