"""Geometry behind the losses: the simplex, floors, virtual points, linear regions, transport and motions."""

from pml_proxyext.geometry.cross_entropy_floors import (
    cross_entropy_floor,
    cross_entropy_floor_row_norm,
    cross_entropy_floor_weight_decay,
    normalized_softmax_floor,
)
from pml_proxyext.geometry.epipolar import (
    camera_coordinates,
    epipolar_line_distances,
    essential_matrix,
    fundamental_matrix,
    relative_pose,
)
from pml_proxyext.geometry.essential_teacher import EssentialTeacher
from pml_proxyext.geometry.geometric_label import GeometricLabel, GeometricTeacher, GeometricVerifier
from pml_proxyext.geometry.homography_teacher import HomographyTeacher
from pml_proxyext.geometry.latent_sampler import LatentSampler, TransportedPoints, dihedral_angles
from pml_proxyext.geometry.linear_regions import RectifiedLinearComplexity, chao1, rectified_linear_complexity
from pml_proxyext.geometry.model_residuals import (
    epipolar_residuals,
    homography_residuals,
    rigid_residuals,
    transfer,
)
from pml_proxyext.geometry.point_matching import mutual_nearest_neighbors, nearest_neighbors, ratio_test_matches
from pml_proxyext.geometry.pose_errors import corner_error, direction_error, rotation_error, translation_error
from pml_proxyext.geometry.power_diagram import PowerCells, power_cells
from pml_proxyext.geometry.procrustes import rigid_motion, weighted_procrustes
from pml_proxyext.geometry.region_bounds import ReLUBounds, hyperplane_regions, relu_bounds
from pml_proxyext.geometry.region_lines import LineRegions, line_regions
from pml_proxyext.geometry.region_planes import PlaneRegions, plane_regions
from pml_proxyext.geometry.rigid_refinement import cloud_overlap, iterated_closest_points
from pml_proxyext.geometry.rigid_teacher import RigidTeacher
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
    "EssentialTeacher",
    "GeometricLabel",
    "GeometricTeacher",
    "GeometricVerifier",
    "HomographyTeacher",
    "LatentSampler",
    "LineRegions",
    "PlaneRegions",
    "PowerCells",
    "ReLUBounds",
    "RectifiedLinearComplexity",
    "RigidTeacher",
    "SemiDiscreteOT",
    "SimplexDistance",
    "StandardNormal",
    "SupConMinimum",
    "TransportCells",
    "TransportSource",
    "TransportedPoints",
    "UniformBox",
    "angles",
    "camera_coordinates",
    "chao1",
    "classifier_alignment",
    "cloud_overlap",
    "corner_error",
    "cross_entropy_floor",
    "cross_entropy_floor_row_norm",
    "cross_entropy_floor_weight_decay",
    "dihedral_angles",
    "direction_error",
    "epipolar_line_distances",
    "epipolar_residuals",
    "essential_matrix",
    "fundamental_matrix",
    "homography_residuals",
    "hyperplane_regions",
    "iterated_closest_points",
    "line_regions",
    "mutual_nearest_neighbors",
    "nearest_neighbors",
    "nearest_other_angles",
    "normalized_softmax_floor",
    "plane_regions",
    "power_cells",
    "ratio_test_matches",
    "rectified_linear_complexity",
    "regular_simplex",
    "relative_pose",
    "relu_bounds",
    "rigid_motion",
    "rigid_residuals",
    "rotation_error",
    "simplex_distance",
    "supcon_antipodal_floor",
    "supcon_batch_minimum",
    "supcon_simplex_floor",
    "supcon_statistics_floor",
    "supcon_total_floor",
    "transfer",
    "translation_error",
    "virtual_points",
    "virtual_similarities",
    "weighted_procrustes",
]
