"""Time and memory of NivMFLoss against a loop over the batch, as the official release evaluates it, and Proxy Anchor.

``python -m benchmarks`` runs this and writes the figures. Times are minima over interleaved repeats in one process,
forward and backward, float32, one thread. Memory is the growth of the peak resident size in a fresh process that runs
the case once after a warm-up on a tiny batch.
"""

from __future__ import annotations

import torch
from pytorch_metric_learning.losses import ProxyAnchorLoss as PMLProxyAnchorLoss
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from benchmarks import measuring
from benchmarks.measuring import Step, measure
from pml_proxyext.losses import NivMFLoss
from pml_proxyext.losses.nivmf_released import released_log_normalizer, released_vmf_samples

N_SAMPLES, TEMPERATURE, CONCENTRATION = 5, 0.01, 10.0


class LoopOverTheBatch(nn.Module):
    """EL-nivMF one image at a time: its samples against expanded copies of all proxies, as the release does it."""

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.proxies = nn.Parameter(torch.randn(num_classes, dim))
        self.concentrations = nn.Parameter(torch.full((num_classes, dim), CONCENTRATION))
        self.temperature = nn.Parameter(torch.tensor(TEMPERATURE))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        directions, k = normalize(self.proxies), self.concentrations.clamp_min(0.1)
        rows = [self.similarities(embedding, directions, k) for embedding in embeddings]
        return cross_entropy(torch.stack(rows), labels)

    def similarities(self, embedding: Tensor, directions: Tensor, k: Tensor) -> Tensor:
        (num_classes, dim), norm = directions.shape, embedding.norm()
        samples = released_vmf_samples((embedding / norm)[None], norm[None], N_SAMPLES)  # (n, 1, D)
        samples = samples.expand(N_SAMPLES, num_classes, dim).reshape(-1, dim)
        means = directions * k
        lengths = means.norm(dim=1)
        repeated = means[None].expand(N_SAMPLES, -1, -1).reshape(-1, dim)
        cosines = cosine_similarity(samples, repeated).reshape(N_SAMPLES, num_classes)
        constants = released_log_normalizer(lengths, dim) + k.log().sum(1) - lengths.log()
        log_likelihoods = (constants + lengths * cosines) / self.temperature
        return log_likelihoods.logsumexp(0) - torch.log(torch.tensor(float(N_SAMPLES)))


def make(method: str, batch: int, num_classes: int, dim: int) -> Step:
    torch.manual_seed(0)
    embeddings = (CONCENTRATION * normalize(torch.randn(batch, dim))).requires_grad_()
    labels = torch.randint(num_classes, (batch,))
    released = {"normalization": "released_determinant", "warp_samples": False}
    loss_func: nn.Module
    if method == "loop":
        loss_func = LoopOverTheBatch(num_classes, dim)
    elif method == "proxy_anchor_pml":
        loss_func = PMLProxyAnchorLoss(num_classes, dim)
    else:
        kwargs = {
            "el_nivmf": {},
            "el_nivmf_released": released,
            "el_nivmf_closed_form": {**released, "estimator": "closed_form"},
            "nivmf": {"similarity": "nivmf"},
            "el_vmf": {"similarity": "el_vmf"},
            "cosine": {"similarity": "cosine"},
        }[method]
        loss_func = NivMFLoss(
            num_classes, dim, n_samples=N_SAMPLES, temperature=TEMPERATURE, concentration=CONCENTRATION, **kwargs
        )

    def step() -> None:
        embeddings.grad = None
        loss_func.zero_grad()
        loss_func(embeddings, labels).backward()

    return step


OURS = ["el_nivmf", "el_nivmf_released", "el_nivmf_closed_form"]
CASES: dict[str, tuple[tuple[int, int, int], list[str]]] = {
    "112 x 100 x 128": ((112, 100, 128), ["loop", *OURS]),
    "112 x 100 x 512": ((112, 100, 512), ["loop", *OURS]),
    "112 x 11318 x 512": ((112, 11318, 512), ["proxy_anchor_pml", "cosine", "nivmf", "el_vmf", *OURS]),
}


def run(repeats: int = 7) -> dict[str, dict[str, dict[str, float]]]:
    """Return milliseconds and megabytes by case (batch x classes x dimensions) and method; the baseline comes first."""
    return {
        title: measure(make, methods, shape, (2, 10, shape[2]), repeats) for title, (shape, methods) in CASES.items()
    }


def markdown(cases: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the table of the documentation."""
    return measuring.markdown(cases, "batch x classes x D")
