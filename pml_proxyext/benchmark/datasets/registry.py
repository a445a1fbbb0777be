"""The data sets by name."""

from __future__ import annotations

from collections.abc import Callable

from pml_proxyext.benchmark.datasets.glyphs import load_glyphs
from pml_proxyext.benchmark.datasets.image_set import RetrievalData, Split
from pml_proxyext.utils.checks import check_choice

__all__ = ["DATASETS", "load_data"]

DATASETS: dict[str, Callable[[Split], RetrievalData]] = {"glyphs": load_glyphs}


def load_data(name: str, split: Split = "test") -> RetrievalData:
    """Return the images to train on and those to evaluate on.

    Args:
        name: one of :data:`DATASETS`.
        split: ``"test"`` evaluates on the test classes. ``"validation"`` holds out the last quarter of the training
            classes, trains on the rest and leaves the test classes alone: for choosing hyper-parameters.

    Raises:
        ValueError: for an unknown name or split; it suggests the nearest ones.
    """
    check_choice("data", name, DATASETS)
    check_choice("split", split, ["test", "validation"])
    return DATASETS[name](split)
