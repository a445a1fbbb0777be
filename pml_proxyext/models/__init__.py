"""Networks that a paper's method needs besides its loss."""

from pml_proxyext.models.attention_ensemble import AttentionEnsemble
from pml_proxyext.models.attention_ensemble_builders import googlenet_attention_ensemble, small_attention_ensemble
from pml_proxyext.models.dbe_layer import DBELayer, binarize

__all__ = ["AttentionEnsemble", "DBELayer", "binarize", "googlenet_attention_ensemble", "small_attention_ensemble"]
