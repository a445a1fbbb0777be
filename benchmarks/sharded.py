"""Memory of each process where a million proxies lie on several, against PML's loss on one.

``python -m benchmarks`` runs this and writes the figures. The memory is the growth of the peak resident size of a fresh
process that makes the loss and takes two training steps with it, float32, one thread: parameters, gradients and all
that comes between. Of several processes the largest counts. Times are not measured: what processes take that share
cores and memory with one another says nothing of several machines.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pytorch_metric_learning.losses import NormalizedSoftmaxLoss
from torch import nn

from benchmarks.measuring import resident_kilobytes
from pml_proxyext.wrappers import ShardedProxies

SHAPE = (256, 1_000_000, 128)
TINY_SHAPE = (8, 16, 4)
STEPS = 2

#: Number of processes and arguments, by method; the baseline comes first.
METHODS: dict[str, tuple[int, dict[str, Any]]] = {
    "normalized_softmax_pml": (1, {}),
    "sharded": (1, {}),
    "sharded on two": (2, {}),
    "sharded on two, in chunks of 1024": (2, {"chunk_size": 1024}),
    "sharded on two, a tenth of the classes": (2, {"sample_rate": 0.1}),
}


def train(method: str, batch: int, num_classes: int, dim: int) -> None:
    """Make a loss and take steps with this process's rows of the batch."""
    world_size, arguments = METHODS[method]
    torch.manual_seed(0)
    loss_func: nn.Module
    if method == "normalized_softmax_pml":
        loss_func = NormalizedSoftmaxLoss(num_classes, dim)
    else:
        loss_func = ShardedProxies(lambda count: NormalizedSoftmaxLoss(count, dim), num_classes, **arguments)
    rows = batch // world_size
    embeddings, labels = torch.randn(rows, dim, requires_grad=True), torch.randint(num_classes, (rows,))
    for _ in range(STEPS):
        loss_func.zero_grad()
        loss_func(embeddings, labels).backward()


def one_process(
    method: str, shape: tuple[int, int, int], tiny_shape: tuple[int, int, int], rank: int, store: str
) -> float:
    """Return the megabytes of this fresh process, one of those of the method."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=METHODS[method][0])
    train(method, *tiny_shape)  # what libraries load at first use is not the loss's
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident_kilobytes("VmRSS")
    train(method, *shape)
    megabytes = (resident_kilobytes("VmHWM") - before) / 1024
    dist.barrier()
    dist.destroy_process_group()
    return megabytes


def run(
    shape: tuple[int, int, int] = SHAPE, tiny_shape: tuple[int, int, int] = TINY_SHAPE
) -> dict[str, dict[str, float]]:
    """Return megabytes by method."""
    context = multiprocessing.get_context("spawn")
    figures = {}
    for method, (world_size, _) in METHODS.items():
        with tempfile.TemporaryDirectory() as folder, context.Pool(world_size) as pool:
            tasks = [(method, shape, tiny_shape, rank, f"{folder}/store") for rank in range(world_size)]
            megabytes = pool.starmap(one_process, tasks, chunksize=1)
        figures[method] = {"megabytes": round(max(megabytes), 1)}
    return figures


def markdown(figures: dict[str, dict[str, float]]) -> str:
    """Return the table of the documentation; ratios are to the first method."""
    lines = ["| method | processes | MB per process | memory |", "|---|---|---|---|"]
    baseline = figures[next(iter(METHODS))]["megabytes"]
    for method, found in figures.items():
        megabytes = found["megabytes"]
        lines.append(f"| {method} | {METHODS[method][0]} | {megabytes:.0f} | x{megabytes / baseline:.3g} |")
    return "\n".join(lines) + "\n"
