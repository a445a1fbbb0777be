"""Distances and similarities for any pair loss or miner of pytorch-metric-learning."""

from pml_proxyext.distances.soft_hamming_distance import SoftHammingDistance
from pml_proxyext.distances.vmf_distances import VMFBhattacharyya, VMFDistance, VMFExpectedLikelihood, VMFKLDivergence

__all__ = ["SoftHammingDistance", "VMFBhattacharyya", "VMFDistance", "VMFExpectedLikelihood", "VMFKLDivergence"]
