"""Testers: PML's evaluation for two modalities, codes and ensembles, and of what embeddings know of their errors."""

from pml_proxyext.testers.cross_modal_tester import CrossModalTester
from pml_proxyext.testers.hamming_knn import HammingKNN
from pml_proxyext.testers.multi_label_accuracy import MultiLabelAccuracyCalculator
from pml_proxyext.testers.per_learner_tester import PerLearnerTester
from pml_proxyext.testers.rank_calculator import RankCalculator
from pml_proxyext.testers.rejection import Rejection, auroc
from pml_proxyext.testers.uncertainty_tester import UncertaintyTester, embedding_norm

__all__ = [
    "CrossModalTester",
    "HammingKNN",
    "MultiLabelAccuracyCalculator",
    "PerLearnerTester",
    "RankCalculator",
    "Rejection",
    "UncertaintyTester",
    "auroc",
    "embedding_norm",
]
