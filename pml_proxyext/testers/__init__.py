"""Testers: PML's evaluation for two modalities, cameras, codes and ensembles, and of what embeddings know of errors."""

from pml_proxyext.testers.cross_camera_accuracy import CrossCameraAccuracyCalculator, camera_labels
from pml_proxyext.testers.cross_modal_tester import CrossModalTester
from pml_proxyext.testers.hamming_knn import HammingKNN
from pml_proxyext.testers.multi_label_accuracy import MultiLabelAccuracyCalculator
from pml_proxyext.testers.per_learner_tester import PerLearnerTester
from pml_proxyext.testers.rank_calculator import RankCalculator
from pml_proxyext.testers.rejection import Rejection, auroc
from pml_proxyext.testers.uncertainty_tester import UncertaintyTester, embedding_norm

__all__ = [
    "CrossCameraAccuracyCalculator",
    "CrossModalTester",
    "HammingKNN",
    "MultiLabelAccuracyCalculator",
    "PerLearnerTester",
    "RankCalculator",
    "Rejection",
    "UncertaintyTester",
    "auroc",
    "camera_labels",
    "embedding_norm",
]
