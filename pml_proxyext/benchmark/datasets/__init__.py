"""Data sets of the benchmark, all class-disjoint between training and evaluation."""

from pml_proxyext.benchmark.datasets.image_set import ImageSet, RetrievalData, Split, split_classes
from pml_proxyext.benchmark.datasets.registry import DATASETS, load_data

__all__ = ["DATASETS", "ImageSet", "RetrievalData", "Split", "load_data", "split_classes"]
