"""Networks that a paper's method needs besides its loss."""

from pml_proxyext.models.attention_ensemble import AttentionEnsemble
from pml_proxyext.models.attention_ensemble_builders import googlenet_attention_ensemble, small_attention_ensemble

__all__ = ["AttentionEnsemble", "googlenet_attention_ensemble", "small_attention_ensemble"]
