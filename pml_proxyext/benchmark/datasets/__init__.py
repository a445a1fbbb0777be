"""Data sets of the benchmark, all class-disjoint between training and evaluation."""

from pml_proxyext.benchmark.datasets.registry import DATASETS, DataSource, load_data, prepare
from pml_proxyext.benchmark.datasets.retrieval_set import MemorySet, RetrievalData, RetrievalSet, Split, split_classes

__all__ = [
    "DATASETS",
    "DataSource",
    "MemorySet",
    "RetrievalData",
    "RetrievalSet",
    "Split",
    "load_data",
    "prepare",
    "split_classes",
]
