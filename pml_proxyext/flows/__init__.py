"""Normalizing flows: invertible maps with a density, on the protocol of nflows."""

from pml_proxyext.flows.conditional_flow import CONDITION_MODES, ConditionalFlow, ConditionMode

__all__ = ["CONDITION_MODES", "ConditionMode", "ConditionalFlow"]
