"""Time and memory of the losses on two views against PML's SupConLoss and NTXentLoss on the same embeddings.

``python -m benchmarks`` runs this and writes the figures; see ``measuring`` for how. All methods get the same
embeddings: rows of the first view, then their partners.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from pytorch_metric_learning.losses import NTXentLoss, SupConLoss
from torch import Tensor

from benchmarks import measuring
from benchmarks.measuring import Step, measure
from pml_proxyext.losses import CrossCLRLoss, DEMILoss, HardNegNTXentLoss, PairSupConLoss
from pml_proxyext.wrappers import CrossModalMemory

FEATURES, INPUT_SIZES = ("input_emb", "ref_input_emb"), (512, 768)
UNIFORM = "hard_neg_ntxent_uniform"
METHODS = ["supcon_pml", "crossclr", "crossclr_with_features", "crossclr_released", "crossclr_memory"]
METHODS += ["hard_neg_ntxent", UNIFORM, "pairsupcon_without_heads", "pairsupcon"]
METHODS += ["demi", "demi_importance_sampled", "demi_rows", "demi_label"]


def make(method: str, batch: int, dim: int) -> Step:
    torch.manual_seed(0)
    pairs = batch // 2
    embeddings = torch.randn(batch, dim).requires_grad_()
    ids = torch.arange(pairs)
    features = {name: torch.rand(pairs, size) for name, size in zip(FEATURES, INPUT_SIZES, strict=True)}
    arguments = features if method in ("crossclr_with_features", "crossclr_memory") else {}
    one_batch: dict[str, Callable[..., Tensor]] = {
        "supcon_pml": SupConLoss(),
        "ntxent_pml": NTXentLoss(),
        "hard_neg_ntxent": HardNegNTXentLoss(),
        UNIFORM: HardNegNTXentLoss(concentration=0.0),
        "demi": DEMILoss(),
        "demi_importance_sampled": DEMILoss(conditional="is"),
    }
    two_views: dict[str, Callable[..., Tensor]] = {
        "crossclr": CrossCLRLoss(),
        "crossclr_with_features": CrossCLRLoss(),
        "crossclr_released": CrossCLRLoss.as_released(),
        "crossclr_memory": CrossModalMemory(CrossCLRLoss(), dim, *INPUT_SIZES),
        "pairsupcon_without_heads": PairSupConLoss(dim, classifier_weight=0.0, projection=False),
        "pairsupcon": PairSupConLoss(dim),
        "demi_rows": DEMILoss(),
        "demi_label": DEMILoss(conditional="label"),
    }
    # Half of the pairs of sentences are entailments, classes have eight instances; else pairs are instances.
    other_labels = {
        "pairsupcon": ids % 2,
        "pairsupcon_without_heads": ids % 2,
        "demi_label": ids // 8,
        "demi_rows": None,
    }
    labels = other_labels.get(method, ids)

    def step() -> None:
        embeddings.grad = None
        if method in one_batch:
            loss = one_batch[method](embeddings, ids.repeat(2))
        else:
            loss = two_views[method](embeddings[:pairs], labels, ref_emb=embeddings[pairs:], **arguments)
        loss.backward()

    return step


def run(repeats: int = 15) -> dict[str, dict[str, dict[str, float]]]:
    """Return milliseconds and megabytes by case (embeddings x dimensions) and method; the baseline comes first."""
    return {
        "1024 x 256": measure(make, METHODS, (1024, 256), (4, 256), repeats),
        "256 x 256": measure(make, ["ntxent_pml", UNIFORM], (256, 256), (4, 256), repeats),
    }


def markdown(cases: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the table of the documentation."""
    return measuring.markdown(cases, "embeddings x D")
