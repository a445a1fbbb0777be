"""Testers: PML's evaluation, for two modalities and for codes, and with a look at what embeddings know of errors."""

from pml_proxyext.testers.cross_modal_tester import CrossModalTester
from pml_proxyext.testers.hamming_knn import HammingKNN
from pml_proxyext.testers.multi_label_accuracy import MultiLabelAccuracyCalculator
from pml_proxyext.testers.rank_calculator import RankCalculator
from pml_proxyext.testers.rejection import Rejection, auroc
from pml_proxyext.testers.uncertainty_tester import UncertaintyTester, embedding_norm

__all__ = [
    "CrossModalTester",
    "HammingKNN",
    "MultiLabelAccuracyCalculator",
    "RankCalculator",
    "Rejection",
    "UncertaintyTester",
    "auroc",
    "embedding_norm",
]
