"""Time and memory of the losses on two views against PML's SupConLoss on the same embeddings.

``python -m benchmarks`` runs this and writes the figures; see ``measuring`` for how. All methods get the same
embeddings: rows of the first view, then their partners.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from pytorch_metric_learning.losses import SupConLoss
from torch import Tensor

from benchmarks import measuring
from benchmarks.measuring import Step, measure
from pml_proxyext.losses import CrossCLRLoss
from pml_proxyext.wrappers import CrossModalMemory

FEATURES, INPUT_SIZES = ("input_emb", "ref_input_emb"), (512, 768)
METHODS = ["supcon_pml", "crossclr", "crossclr_with_features", "crossclr_released", "crossclr_memory"]


def make(method: str, batch: int, dim: int) -> Step:
    torch.manual_seed(0)
    pairs = batch // 2
    embeddings = torch.randn(batch, dim).requires_grad_()
    ids = torch.arange(pairs)
    features = {name: torch.rand(pairs, size) for name, size in zip(FEATURES, INPUT_SIZES, strict=True)}
    arguments = {} if method in ("crossclr", "crossclr_released") else features
    losses: dict[str, Callable[..., Tensor]] = {
        "crossclr": CrossCLRLoss(),
        "crossclr_with_features": CrossCLRLoss(),
        "crossclr_released": CrossCLRLoss.as_released(),
        "crossclr_memory": CrossModalMemory(CrossCLRLoss(), dim, *INPUT_SIZES),
    }
    supcon = SupConLoss()

    def step() -> None:
        embeddings.grad = None
        if method == "supcon_pml":
            loss = supcon(embeddings, ids.repeat(2))
        else:
            loss = losses[method](embeddings[:pairs], ids, ref_emb=embeddings[pairs:], **arguments)
        loss.backward()

    return step


def run(repeats: int = 15) -> dict[str, dict[str, dict[str, float]]]:
    """Return milliseconds and megabytes by case (embeddings x dimensions) and method; the baseline comes first."""
    return {"1024 x 256": measure(make, METHODS, (1024, 256), (4, 256), repeats)}


def markdown(cases: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the table of the documentation."""
    return measuring.markdown(cases, "embeddings x D")
