"""Distributions of directions, on the unit sphere, and normal ones of diagonal covariance."""

from pml_proxyext.distributions.diagonal_normal import kl_to_standard_normal, sample_normal, split_normal
from pml_proxyext.distributions.estimation import concentration_from_mean_length, pooled_concentration
from pml_proxyext.distributions.non_isotropic_von_mises_fisher import NonIsotropicVonMisesFisher
from pml_proxyext.distributions.unit_sphere import unit_sphere
from pml_proxyext.distributions.vmf_normalizer import (
    bessel_ratio,
    log_sphere_area,
    log_vmf_normalizer,
    vmf_log_partition,
    vmf_mean_factor,
)
from pml_proxyext.distributions.vmf_sampling import sample_polar_angles, sample_vmf
from pml_proxyext.distributions.von_mises_fisher import VonMisesFisher

__all__ = [
    "NonIsotropicVonMisesFisher",
    "VonMisesFisher",
    "bessel_ratio",
    "concentration_from_mean_length",
    "kl_to_standard_normal",
    "log_sphere_area",
    "log_vmf_normalizer",
    "pooled_concentration",
    "sample_normal",
    "sample_polar_angles",
    "sample_vmf",
    "split_normal",
    "unit_sphere",
    "vmf_log_partition",
    "vmf_mean_factor",
]
