"""Distributions of directions: normalisers, densities and samplers on the unit sphere."""

from pml_proxyext.distributions.vmf_normalizer import (
    bessel_ratio,
    log_sphere_area,
    log_vmf_normalizer,
    vmf_log_partition,
)

__all__ = ["bessel_ratio", "log_sphere_area", "log_vmf_normalizer", "vmf_log_partition"]
