"""Mutual information: estimators over the scores of a critic, bounds and others, and critics."""

from pml_proxyext.information.chain import Chain
from pml_proxyext.information.conditional import CNCE, CNCEBoosted, CNCEImportance, CNCEVariational
from pml_proxyext.information.conditional_gaussian import ConditionalGaussian
from pml_proxyext.information.contrastive import InfoNCE, cap
from pml_proxyext.information.critics import BilinearCritic, CosineCritic, Critic, DotCritic
from pml_proxyext.information.donsker_varadhan import DonskerVaradhan, RowDonskerVaradhan
from pml_proxyext.information.estimator import MutualInformationEstimator
from pml_proxyext.information.importance import effective_sample_size, log_importance_weights
from pml_proxyext.information.interpolated import Interpolated
from pml_proxyext.information.jensen_shannon import JS, SMILE
from pml_proxyext.information.mlp_critics import ConcatenatedCritic, SeparableCritic
from pml_proxyext.information.scores import Scores
from pml_proxyext.information.upper import CLUB, L1Out
from pml_proxyext.information.variational import NWJ, TUBA

__all__ = [
    "CLUB",
    "CNCE",
    "JS",
    "NWJ",
    "SMILE",
    "TUBA",
    "BilinearCritic",
    "CNCEBoosted",
    "CNCEImportance",
    "CNCEVariational",
    "Chain",
    "ConcatenatedCritic",
    "ConditionalGaussian",
    "CosineCritic",
    "Critic",
    "DonskerVaradhan",
    "DotCritic",
    "InfoNCE",
    "Interpolated",
    "L1Out",
    "MutualInformationEstimator",
    "RowDonskerVaradhan",
    "Scores",
    "SeparableCritic",
    "cap",
    "effective_sample_size",
    "log_importance_weights",
]
