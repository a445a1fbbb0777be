r"""What a training step of a loss with proxies costs: measured, and as a model of matrix products and memory traffic.

For :math:`N` samples, :math:`C` classes and :math:`D` dimensions a step takes the time

.. math:: t = t_0 + \frac{q\,NCD}{e F} + \frac{4 (a\,NC + b\,CD)}{B}

with :math:`F` the matrix products (flop/s) and :math:`B` the bytes per second that the machine was seen to do. A step
has three products, or :math:`q = 6`, and a fourth where they are computed again in chunks, :math:`q = 8`. What is
fitted is :math:`t_0`, the share :math:`e` of :math:`F`, and how often each entry of :math:`N \times C` and
:math:`C \times D` matrices is read or written. The memory is :math:`4 (m\,NC + n\,CD)` bytes beyond the parameters,
with the size of a chunk in the place of :math:`C` in the first term where there are chunks.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_metric_learning.losses import BaseMetricLossFunction, NormalizedSoftmaxLoss
from scipy.optimize import lsq_linear
from torch import Tensor, nn
from torch.nn.functional import normalize

from pml_proxyext.benchmark.trainer import seeded
from pml_proxyext.losses import NivMFLoss, ProxyAnchorLoss
from pml_proxyext.testing.processes import run_processes
from pml_proxyext.utils.ranks import world
from pml_proxyext.wrappers import ChunkedProxies, ShardedProxies
from pml_proxyext.wrappers.rank_slices import class_range

__all__ = ["CHUNK_SIZE", "LOSSES", "CostModel", "fit_costs", "machine_speed", "measure_step"]

CHUNK_SIZE = 1024
_REPEATS = 2  # after one to warm up

LOSSES: dict[str, Callable[[int, int], BaseMetricLossFunction]] = {
    "normalized_softmax": NormalizedSoftmaxLoss,
    "proxy_anchor": ProxyAnchorLoss,
    "el_vmf": lambda num_classes, dim: NivMFLoss(num_classes, dim, "el_vmf"),
}


def measure_step(name: str, mode: str, batch: int, classes: int, dim: int, ranks: int, seed: int) -> dict[str, float]:
    """Return CPU seconds, megabytes and the value of a training step in fresh processes; of several, the largest.

    Args:
        name: of the loss.
        mode: ``"whole"``, ``"chunked"`` or, on any number of ranks, ``"sharded"``.
        batch: samples on all ranks together.
        classes: number of classes.
        dim: width of the embeddings.
        ranks: number of processes.
        seed: of embeddings, labels and parameters, which do not depend on mode and ranks.
    """
    found = run_processes(lambda rank: _one_process(name, mode, batch, classes, dim, seed), ranks, timeout=600.0)
    return {key: max(one[key] for one in found) for key in found[0]}


def _one_process(name: str, mode: str, batch: int, classes: int, dim: int, seed: int) -> dict[str, float]:
    _step(name, mode, 4 * world()[1], 8 * world()[1], dim, seed)()  # what is made once is no part of a step
    step = _step(name, mode, batch, classes, dim, seed)
    # A fork has what its parent's allocator kept, too; used again, that would be no growth. As /proc, glibc is Linux's.
    ctypes.CDLL(None).malloc_trim(0)
    before = _resident("VmRSS", forget_peak=True)
    value = step()
    megabytes = 1.024e-3 * (_resident("VmHWM") - before)
    seconds = []
    for _ in range(_REPEATS):
        start = time.process_time()
        step()
        seconds.append(time.process_time() - start)
    return {"seconds": min(seconds), "megabytes": megabytes, "value": value}


def _step(name: str, mode: str, batch: int, classes: int, dim: int, seed: int) -> Callable[[], float]:
    rank, world_size = world()
    with seeded(seed, part=1):
        embeddings = 10 * normalize(torch.randn(batch, dim))
        labels = torch.randint(classes, (batch,))
        loss: nn.Module = LOSSES[name](classes, dim)
    if mode == "chunked":
        loss = ChunkedProxies(loss, CHUNK_SIZE)
    elif mode == "sharded":
        loss = _slice_of(loss, name, classes, dim)
    rows = batch // world_size
    own = embeddings[rank * rows : (rank + 1) * rows].requires_grad_()
    own_labels = labels[rank * rows : (rank + 1) * rows]

    def step() -> float:
        own.grad = None
        loss.zero_grad()
        value: Tensor = loss(own, own_labels)
        value.backward()
        return value.item()

    return step


def _slice_of(whole: nn.Module, name: str, classes: int, dim: int) -> ShardedProxies:
    """Return this rank's slice of a loss, with its parameters."""
    sharded = ShardedProxies(lambda count: LOSSES[name](count, dim), classes)
    first, last = class_range(classes, *world())
    parameters = dict(whole.named_parameters())
    with torch.no_grad():
        for key, parameter in sharded.loss.named_parameters():
            axis, source = sharded.slice.class_axes.get(key), parameters[key]
            parameter.copy_(source if axis is None else source.narrow(axis, first, last - first))
    return sharded


def _resident(field: str, forget_peak: bool = False) -> int:
    """Return the resident kilobytes of this process now (VmRSS) or at its peak (VmHWM), as Linux tells them."""
    if forget_peak:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return int(Path("/proc/self/status").read_text(encoding="ascii").split(f"{field}:")[1].split()[0])


def machine_speed(size: int, seed: int) -> dict[str, float]:
    """Return floating point operations per second of a matrix product and bytes per second of a copy, on one thread."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(size, size, generator=generator)
    large = torch.randn(16 * size * size, generator=generator)
    copy = torch.empty_like(large)

    def fastest(step: Callable[[], Any]) -> float:
        seconds = []
        for _ in range(4):
            start = time.process_time()
            step()
            seconds.append(time.process_time() - start)
        return min(seconds[1:])

    return {
        "flops": 2 * size**3 / fastest(lambda: matrix @ matrix),
        "bandwidth": 2 * large.nbytes / fastest(lambda: copy.copy_(large)),
    }


@dataclass(frozen=True)
class CostModel:
    """The fitted numbers of one loss in one mode.

    Attributes:
        products: :math:`q`.
        overhead: :math:`t_0`, in seconds.
        efficiency: :math:`e`, at most 1.
        pair_passes: :math:`a`.
        class_passes: :math:`b`.
        pair_floats: :math:`m`.
        class_floats: :math:`n`.
        time_error: median over the measurements of the relative error of the time.
        memory_error: likewise of the memory.
    """

    products: int
    overhead: float
    efficiency: float
    pair_passes: float
    class_passes: float
    pair_floats: float
    class_floats: float
    time_error: float
    memory_error: float

    def product_seconds(self, batch: float, classes: float, dim: float, flops: float) -> float:
        """Return the seconds of the matrix products."""
        return self.products * batch * classes * dim / (self.efficiency * flops)

    def traffic_seconds(self, batch: float, classes: float, dim: float, bandwidth: float) -> float:
        """Return the seconds of reading and writing."""
        return 4 * (self.pair_passes * batch * classes + self.class_passes * classes * dim) / bandwidth

    def gigabytes(self, batch: float, kept: float, classes: float, dim: float) -> float:
        """Return the memory beyond the parameters, for so many classes of which ``kept`` are compared at a time."""
        return 4e-9 * (self.pair_floats * batch * kept + self.class_floats * classes * dim)


def fit_costs(records: Sequence[Mapping[str, Any]], flops: float, bandwidth: float) -> CostModel:
    """Fit the model to the measurements of one loss in one mode, in relative error; no number comes out negative.

    Args:
        records: each with ``mode``, ``batch``, ``classes``, ``dim`` and ``metrics``, as :func:`measure_step` has them.
        flops: :math:`F`.
        bandwidth: :math:`B`.
    """
    is_chunked = records[0]["mode"] == "chunked"
    products = 8 if is_chunked else 6
    shapes = np.array([(one["batch"], one["classes"], one["dim"]) for one in records], dtype=np.float64)
    batch, classes, dim = shapes.T
    pairs, parameters = batch * classes, classes * dim
    seconds = np.array([one["metrics"]["seconds"] for one in records])
    terms = [np.ones_like(batch), products * pairs * dim / flops, 4 * pairs / bandwidth, 4 * parameters / bandwidth]
    (overhead, slowness, pair_passes, class_passes), time_error = _relative_fit(terms, seconds, [0, 1, 0, 0])
    megabytes = np.array([one["metrics"]["megabytes"] for one in records])
    kept = batch * np.minimum(classes, CHUNK_SIZE) if is_chunked else pairs
    floats, memory_error = _relative_fit([4e-6 * kept, 4e-6 * parameters], np.maximum(megabytes, 0.1), [0, 0])
    return CostModel(
        products, overhead, 1 / slowness, pair_passes, class_passes, floats[0], floats[1], time_error, memory_error
    )


def _relative_fit(terms: Sequence[Any], measured: Any, lowest: Sequence[float]) -> tuple[list[float], float]:
    matrix = np.stack(terms, axis=1) / measured[:, None]
    solution = lsq_linear(matrix, np.ones(len(measured)), bounds=(lowest, np.inf)).x
    return [float(number) for number in solution], float(np.median(np.abs(matrix @ solution - 1)))
