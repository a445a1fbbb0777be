"""Testers: PML's evaluation, with a look at how well embeddings know when they are wrong."""

from pml_proxyext.testers.rejection import Rejection, auroc
from pml_proxyext.testers.uncertainty_tester import UncertaintyTester, embedding_norm

__all__ = ["Rejection", "UncertaintyTester", "auroc", "embedding_norm"]
