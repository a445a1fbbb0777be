"""Hold a loss against the contract of pytorch-metric-learning and beyond it: what check_estimator is to estimators."""

from pml_proxyext.testing.checks import CHECKS
from pml_proxyext.testing.describe import describe_loss
from pml_proxyext.testing.profile import LossProfile
from pml_proxyext.testing.report import Report, Result
from pml_proxyext.testing.runner import check_loss, loss_checks
from pml_proxyext.testing.subject import Batch, NotApplicable, Subject

__all__ = [
    "CHECKS",
    "Batch",
    "LossProfile",
    "NotApplicable",
    "Report",
    "Result",
    "Subject",
    "check_loss",
    "describe_loss",
    "loss_checks",
]
