"""Testers: PML's evaluation, for two modalities, and with a look at how well embeddings know when they are wrong."""

from pml_proxyext.testers.cross_modal_tester import CrossModalTester
from pml_proxyext.testers.rank_calculator import RankCalculator
from pml_proxyext.testers.rejection import Rejection, auroc
from pml_proxyext.testers.uncertainty_tester import UncertaintyTester, embedding_norm

__all__ = ["CrossModalTester", "RankCalculator", "Rejection", "UncertaintyTester", "auroc", "embedding_norm"]
