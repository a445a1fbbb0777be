"""Networks that a paper's method needs besides its loss."""

from pml_proxyext.models.attention_ensemble import AttentionEnsemble
from pml_proxyext.models.attention_ensemble_builders import googlenet_attention_ensemble, small_attention_ensemble
from pml_proxyext.models.cross_view_builders import conv_decoder, conv_encoder, mlp_decoder, mlp_encoder
from pml_proxyext.models.cross_view_networks import JointDiscriminator, LatentAligner
from pml_proxyext.models.dbe_layer import DBELayer, binarize
from pml_proxyext.models.variational import LatentMean, VariationalEncoder

__all__ = [
    "AttentionEnsemble",
    "DBELayer",
    "JointDiscriminator",
    "LatentAligner",
    "LatentMean",
    "VariationalEncoder",
    "binarize",
    "conv_decoder",
    "conv_encoder",
    "googlenet_attention_ensemble",
    "mlp_decoder",
    "mlp_encoder",
    "small_attention_ensemble",
]
