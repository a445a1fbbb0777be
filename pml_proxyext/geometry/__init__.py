"""Geometry behind the losses: the simplex, floors, virtual points, linear regions and transport."""

from pml_proxyext.geometry.cross_entropy_floors import (
    cross_entropy_floor,
    cross_entropy_floor_row_norm,
    cross_entropy_floor_weight_decay,
    normalized_softmax_floor,
)
from pml_proxyext.geometry.latent_sampler import LatentSampler, TransportedPoints, dihedral_angles
from pml_proxyext.geometry.linear_regions import RectifiedLinearComplexity, chao1, rectified_linear_complexity
from pml_proxyext.geometry.power_diagram import PowerCells, power_cells
from pml_proxyext.geometry.region_bounds import ReLUBounds, hyperplane_regions, relu_bounds
from pml_proxyext.geometry.region_lines import LineRegions, line_regions
from pml_proxyext.geometry.region_planes import PlaneRegions, plane_regions
from pml_proxyext.geometry.semi_discrete_ot import SemiDiscreteOT
from pml_proxyext.geometry.simplex import regular_simplex
from pml_proxyext.geometry.simplex_distance import SimplexDistance, classifier_alignment, simplex_distance
from pml_proxyext.geometry.supcon_floors import (
    supcon_antipodal_floor,
    supcon_simplex_floor,
    supcon_statistics_floor,
    supcon_total_floor,
)
from pml_proxyext.geometry.supcon_minimum import SupConMinimum, supcon_batch_minimum
from pml_proxyext.geometry.transport_cells import CellError, TransportCells
from pml_proxyext.geometry.transport_sources import StandardNormal, TransportSource, UniformBox
from pml_proxyext.geometry.virtual_points import (
    angles,
    nearest_other_angles,
    virtual_points,
    virtual_similarities,
)

__all__ = [
    "CellError",
    "LatentSampler",
    "LineRegions",
    "PlaneRegions",
    "PowerCells",
    "ReLUBounds",
    "RectifiedLinearComplexity",
    "SemiDiscreteOT",
    "SimplexDistance",
    "StandardNormal",
    "SupConMinimum",
    "TransportCells",
    "TransportSource",
    "TransportedPoints",
    "UniformBox",
    "angles",
    "chao1",
    "classifier_alignment",
    "cross_entropy_floor",
    "cross_entropy_floor_row_norm",
    "cross_entropy_floor_weight_decay",
    "dihedral_angles",
    "hyperplane_regions",
    "line_regions",
    "nearest_other_angles",
    "normalized_softmax_floor",
    "plane_regions",
    "power_cells",
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
