"""Miners: they choose pairs or triplets for the losses of pytorch-metric-learning."""

from pml_proxyext.miners.geometric_pseudo_label_miner import BatchGeometry, GeometricPseudoLabelMiner
from pml_proxyext.miners.influential_negative_miner import InfluentialNegativeMiner

__all__ = ["BatchGeometry", "GeometricPseudoLabelMiner", "InfluentialNegativeMiner"]
