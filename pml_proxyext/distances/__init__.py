"""Distances and similarities for any pair loss or miner of pytorch-metric-learning."""

from pml_proxyext.distances.vmf_distances import VMFBhattacharyya, VMFDistance, VMFExpectedLikelihood, VMFKLDivergence

__all__ = ["VMFBhattacharyya", "VMFDistance", "VMFExpectedLikelihood", "VMFKLDivergence"]
