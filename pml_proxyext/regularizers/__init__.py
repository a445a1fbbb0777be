"""Regularizers: for the ``embedding_regularizer`` and ``weight_regularizer`` of any PML loss."""

from pml_proxyext.regularizers.learner_divergence_regularizer import LearnerDivergenceRegularizer

__all__ = ["LearnerDivergenceRegularizer"]
