"""Time and memory of losses with proxies on a GPU, against PML's.

    python -m benchmarks.cuda [--repeats N] [--json FILE]

Times are medians of CUDA events around forward and backward in float32; memory is the peak that torch allocates beyond
embeddings and parameters, gradients included. What does not fit into the device says so. On a machine without a GPU the
same code runs with the clock of the processor and no memory, which proves no more than that it runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning.losses import BaseMetricLossFunction
from torch import Tensor, nn
from torch.nn.functional import normalize

from pml_proxyext.losses import CrossEntropyDMLLoss, NIRLoss, NivMFLoss, ProxyAnchorLoss
from pml_proxyext.wrappers import ChunkedProxies

Make = Callable[[int, int], BaseMetricLossFunction]

SHAPES = [(112, 11_318, 512), (1024, 1_000_000, 128)]
CHUNK_SIZE = 16_384  # a GPU wants larger products than a CPU
CLOSED_FORM = {"estimator": "closed_form", "warp_samples": False}

#: Those that can be had in chunks, and are measured both ways.
SLICED: dict[str, Make] = {
    "proxy_anchor": ProxyAnchorLoss,
    "normalized_softmax_pml": pml.NormalizedSoftmaxLoss,
    "arcface_pml": pml.ArcFaceLoss,
    "cosface_pml": pml.CosFaceLoss,
    "proxy_nca_pml": pml.ProxyNCALoss,
    "el_nivmf": NivMFLoss,
    "el_nivmf_closed_form": lambda classes, dim: NivMFLoss(classes, dim, "el_nivmf", **CLOSED_FORM),
    **{
        name: lambda classes, dim, name=name: NivMFLoss(classes, dim, name)  # type: ignore[misc]
        for name in ("nivmf", "el_vmf", "b_vmf", "kl_vmf", "l2", "cosine")
    },
}
LOSSES: dict[str, Make] = {
    "proxy_anchor_pml": pml.ProxyAnchorLoss,
    **SLICED,
    "cross_entropy": CrossEntropyDMLLoss,
    "nir_proxy_anchor": NIRLoss,
    **{
        f"{name}, chunked": lambda classes, dim, make=make: ChunkedProxies(make(classes, dim), CHUNK_SIZE)  # type: ignore[misc]
        for name, make in SLICED.items()
    },
}


def measure(name: str, shape: tuple[int, int, int], device: torch.device, repeats: int) -> dict[str, float | str]:
    """Return the median milliseconds and the peak megabytes of a step, or what went wrong with the memory."""
    batch, classes, dim = shape
    torch.manual_seed(0)
    try:
        loss_func = LOSSES[name](classes, dim).to(device)
        embeddings = (10 * normalize(torch.randn(batch, dim))).to(device).requires_grad_()
        labels = torch.randint(classes, (batch,)).to(device)
        return _measure_step(lambda: _step(loss_func, embeddings, labels), device, repeats)
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        return {"error": "out of memory"}


def _step(loss_func: nn.Module, embeddings: Tensor, labels: Tensor) -> None:
    embeddings.grad = None
    loss_func.zero_grad()
    loss_func(embeddings, labels).backward()


def _measure_step(step: Callable[[], None], device: torch.device, repeats: int) -> dict[str, float | str]:
    if device.type != "cuda":
        step()
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            step()
            times.append(1000 * (time.perf_counter() - start))
        return {"milliseconds": round(statistics.median(times), 3)}
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(2):  # to load kernels, and fill the caches of the allocator
        step()
    torch.cuda.synchronize(device)
    megabytes = (torch.cuda.max_memory_allocated(device) - before) / 1e6
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for start_event, end_event in events:
        start_event.record()
        step()
        end_event.record()
    torch.cuda.synchronize(device)
    milliseconds = statistics.median(start_event.elapsed_time(end_event) for start_event, end_event in events)
    return {"milliseconds": round(milliseconds, 3), "megabytes": round(megabytes, 1)}


def run(
    shapes: list[tuple[int, int, int]], device: torch.device, repeats: int = 20
) -> dict[str, dict[str, dict[str, float | str]]]:
    """Return the figures of all losses by shape (batch x classes x dimensions)."""
    return {
        " x ".join(f"{size:,}" for size in shape): {name: measure(name, shape, device, repeats) for name in LOSSES}
        for shape in shapes
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cuda")
    parser.add_argument("--repeats", type=int, default=20, metavar="N", help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures as well")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no CUDA device here; tests/test_benchmarks_cuda.py runs the same code on small shapes")
    device = torch.device("cuda")
    figures = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device),
        "cases": run(SHAPES, device, options.repeats),
    }
    text = json.dumps(figures, indent=1) + "\n"
    print(text)
    if options.json is not None:
        options.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
