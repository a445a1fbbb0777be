"""Mutual information: estimators over the scores of a critic, bounds and others, and critics."""

from pml_proxyext.information.conditional import CNCE, CNCEBoosted, CNCEImportance, CNCEVariational
from pml_proxyext.information.contrastive import InfoNCE, cap
from pml_proxyext.information.donsker_varadhan import DonskerVaradhan, RowDonskerVaradhan
from pml_proxyext.information.estimator import MutualInformationEstimator
from pml_proxyext.information.importance import effective_sample_size, log_importance_weights
from pml_proxyext.information.scores import Scores

__all__ = [
    "CNCE",
    "CNCEBoosted",
    "CNCEImportance",
    "CNCEVariational",
    "DonskerVaradhan",
    "InfoNCE",
    "MutualInformationEstimator",
    "RowDonskerVaradhan",
    "Scores",
    "cap",
    "effective_sample_size",
    "log_importance_weights",
]
