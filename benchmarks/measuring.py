"""Time and memory of one training step: minima over interleaved repeats, and the peak of a fresh process."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import torch

Step = Callable[[], None]
Make = Callable[..., Step]  # from the name of a method and a shape
Shape = tuple[int, ...]


def measure(
    make: Make, methods: list[str], shape: Shape, tiny_shape: Shape, repeats: int
) -> dict[str, dict[str, float]]:
    """Return milliseconds and megabytes by method; ``make`` must be importable, and warms up on the tiny shape."""
    steps = {method: make(method, *shape) for method in methods}
    seconds = {method: float("inf") for method in methods}
    for repeat in range(repeats + 1):
        for method, step in steps.items():
            start = time.perf_counter()
            step()
            if repeat:  # the first round warms up
                seconds[method] = min(seconds[method], time.perf_counter() - start)
    result = {}
    context = multiprocessing.get_context("spawn")
    for method in methods:
        with context.Pool(1) as pool:
            megabytes = pool.starmap(peak_growth, [(make, method, shape, tiny_shape)])[0]
        result[method] = {"milliseconds": round(1000 * seconds[method], 2), "megabytes": round(megabytes, 1)}
    return result


def peak_growth(make: Make, method: str, shape: Shape, tiny_shape: Shape) -> float:
    """Run one case in this fresh process and return the growth of its peak resident size in MB (Linux)."""
    torch.set_num_threads(1)
    make(method, *tiny_shape)()
    step = make(method, *shape)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far, the parent's included
    before = resident_kilobytes("VmRSS")
    step()
    return (resident_kilobytes("VmHWM") - before) / 1024


def resident_kilobytes(field: str) -> int:
    """Return the resident size of this process now (VmRSS) or at its peak (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0])


def markdown(cases: dict[str, dict[str, dict[str, float]]], shape_title: str) -> str:
    """Return a table of the documentation; ratios are to the first method of each case."""
    lines = [f"| {shape_title} | method | ms | MB | time | memory |", "|---|---|---|---|---|---|"]
    for title, methods in cases.items():
        baseline = next(iter(methods.values()))
        for method, figures in methods.items():
            ratios = [f"x{figures[key] / max(baseline[key], 0.1):.3g}" for key in ("milliseconds", "megabytes")]
            cells = [title, f"`{method}`", f"{figures['milliseconds']:.1f}", f"{figures['megabytes']:.0f}", *ratios]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
