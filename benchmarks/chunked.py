"""Time and memory of losses with very many proxies, whole and in chunks of the classes by ChunkedProxies.

``python -m benchmarks`` runs this and writes the figures; see ``measuring`` for how. Memory includes the gradients of
the proxies, which no way of computing the loss can do without.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning.losses import BaseMetricLossFunction
from torch.nn.functional import normalize

from benchmarks import measuring
from benchmarks.measuring import Step, measure
from pml_proxyext.losses import NivMFLoss, ProxyAnchorLoss
from pml_proxyext.wrappers import ChunkedProxies

CONCENTRATION, CHUNK_SIZE = 10.0, 1024


def el_nivmf_closed_form(num_classes: int, dim: int) -> NivMFLoss:
    return NivMFLoss(num_classes, dim, "el_nivmf", estimator="closed_form", warp_samples=False)


def el_vmf(num_classes: int, dim: int) -> NivMFLoss:
    return NivMFLoss(num_classes, dim, "el_vmf")


LOSSES: dict[str, Callable[[int, int], BaseMetricLossFunction]] = {
    "el_nivmf_closed_form": el_nivmf_closed_form,
    "el_vmf": el_vmf,
    "proxy_anchor": ProxyAnchorLoss,
    "normalized_softmax": pml.NormalizedSoftmaxLoss,
}


def make(method: str, batch: int, num_classes: int, dim: int) -> Step:
    torch.manual_seed(0)
    name, _, is_chunked = method.partition(", ")
    embeddings = (CONCENTRATION * normalize(torch.randn(batch, dim))).requires_grad_()
    labels = torch.randint(num_classes, (batch,))
    loss = LOSSES[name](num_classes, dim)
    loss_func = ChunkedProxies(loss, CHUNK_SIZE) if is_chunked else loss

    def step() -> None:
        embeddings.grad = None
        loss_func.zero_grad()
        loss_func(embeddings, labels).backward()

    return step


def run(repeats: int = 2) -> dict[str, dict[str, dict[str, float]]]:
    """Return milliseconds and megabytes by case (batch x classes x dimensions) and method, the whole loss first."""
    return {
        f"{name}, 256 x 100,000 x 256": measure(
            make, [name, f"{name}, chunked"], (256, 100_000, 256), (2, 10, 256), repeats
        )
        for name in LOSSES
    }


def markdown(cases: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the table of the documentation."""
    return measuring.markdown(cases, "batch x classes x D")
