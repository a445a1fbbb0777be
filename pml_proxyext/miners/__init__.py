"""Miners: they choose pairs or triplets for the losses of pytorch-metric-learning."""

from pml_proxyext.miners.influential_negative_miner import InfluentialNegativeMiner

__all__ = ["InfluentialNegativeMiner"]
