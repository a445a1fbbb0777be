"""Time and memory of binary codes: search against PML's FaissKNN on floats, losses against PML's SupConLoss.

``python -m benchmarks`` runs this and writes the figures; see ``measuring`` for how. Codes of 64 bits are the signs of
random projections of the 128 floats that they are compared with. A call without ``kept`` builds the index and searches
it, as PML's calculators do; with ``kept`` there is an index already.
"""

from __future__ import annotations

from collections.abc import Callable

import faiss
import torch
from pytorch_metric_learning.losses import SupConLoss
from pytorch_metric_learning.utils.inference import FaissKNN
from torch import Tensor

from benchmarks import measuring
from benchmarks.measuring import Step, measure
from pml_proxyext.distances import SoftHammingDistance
from pml_proxyext.losses import HammingAlignmentLoss, JointCrossEntropyLoss
from pml_proxyext.testers import HammingKNN

FLOATS, BITS, NEIGHBOURS, NUM_CLASSES = 128, 64, 10, 24
SEARCHES = ["faiss_knn_floats", "hamming_knn_codes"]
LOSSES = ["supcon_pml", "supcon_soft_hamming", "hamming_alignment", "hamming_alignment_ids", "joint_cross_entropy"]


def make_search(method: str, items: int, queries: int, kept: bool) -> Step:
    faiss.omp_set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(items, FLOATS, generator=generator)
    knn: FaissKNN | HammingKNN = FaissKNN(reset_before=not kept, reset_after=not kept)
    if method == "hamming_knn_codes":
        reference = reference @ torch.randn(FLOATS, BITS, generator=generator)
        knn = HammingKNN(threshold=0.0)
    query = reference[:queries].clone()
    if kept:
        knn.train(reference)

    def step() -> None:
        knn(query, min(NEIGHBOURS, items), None if kept else reference)

    return step


def make_loss(method: str, batch: int, dim: int) -> Step:
    torch.manual_seed(0)
    pairs = batch // 2
    codes = torch.rand(batch, dim).requires_grad_()
    ids = torch.arange(pairs)
    targets = (torch.rand(batch, NUM_CLASSES) < 0.1).long()
    alignment, supcon = HammingAlignmentLoss(), SupConLoss()
    hamming_supcon, joint = SupConLoss(distance=SoftHammingDistance()), JointCrossEntropyLoss(NUM_CLASSES, dim)
    losses: dict[str, Callable[[], Tensor]] = {
        "supcon_pml": lambda: supcon(codes, ids.repeat(2)),
        "supcon_soft_hamming": lambda: hamming_supcon(codes, ids.repeat(2)),
        "hamming_alignment": lambda: alignment(codes[:pairs], ref_emb=codes[pairs:]),
        "hamming_alignment_ids": lambda: alignment(codes[:pairs], ids, ref_emb=codes[pairs:]),
        "joint_cross_entropy": lambda: joint(codes, targets),
    }

    def step() -> None:
        codes.grad = None
        losses[method]().backward()

    return step


def run(repeats: int = 15) -> dict[str, dict[str, dict[str, float]]]:
    """Return milliseconds and megabytes by case and method; the baseline comes first."""
    million = 1_000_000
    return {
        "1,000,000 items, 200 queries": measure(make_search, SEARCHES, (million, 200, False), (10, 2, False), 2),
        "1,000,000 items kept, 1 query": measure(make_search, SEARCHES, (million, 1, True), (10, 1, True), repeats),
        "loss, 1024 x 256": measure(make_loss, LOSSES, (1024, 256), (4, 256), repeats),
    }


def markdown(cases: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the table of the documentation."""
    return measuring.markdown(cases, "case")
