"""Regularizers: for the ``embedding_regularizer`` and ``weight_regularizer`` of any PML loss."""

from pml_proxyext.regularizers.gaussian_kl_regularizer import GaussianKLRegularizer
from pml_proxyext.regularizers.learner_divergence_regularizer import LearnerDivergenceRegularizer
from pml_proxyext.regularizers.optimal_transport_regularizer import OptimalTransportRegularizer

__all__ = ["GaussianKLRegularizer", "LearnerDivergenceRegularizer", "OptimalTransportRegularizer"]
