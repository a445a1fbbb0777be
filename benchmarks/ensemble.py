"""What further learners cost: a training step of the small attention ensemble against that of one learner.

``python -m benchmarks`` runs this and writes the figures. All learners share everything but their masks, so that M of
them should cost little more than 1 + (M - 1) g times one, with g the share of the global extractor in the cost of one.
Rounds are interleaved, in CPU time, so that a slow moment of the machine meets all. The allocator keeps the memory it
has had: by default it returns large blocks to the system after each step, and the price of asking for them again
depends on the number of learners more than the arithmetic does.
"""

from __future__ import annotations

import ctypes
import multiprocessing
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.nir_flow import seconds
from pml_proxyext.models import small_attention_ensemble

LEARNER_WIDTH, ALLOWANCE = 16, 1.1  # the second: of the bar, 1 + 1.1 (M - 1) g


def step_of(network: nn.Module, inputs: Tensor) -> Callable[[], None]:
    """Return a step forward and backward, gradients of the inputs included if they ask for any."""

    def step() -> None:
        network.zero_grad()
        inputs.grad = None
        network(inputs).sum().backward()

    return step


def compare(num_learners: int, batch_size: int, rounds: int) -> dict[str, float]:
    """Return the fastest milliseconds of all, and by how many times the ensemble may and does cost more than one."""
    torch.manual_seed(0)
    ensemble, one = (
        small_attention_ensemble(count, count * LEARNER_WIDTH, in_channels=3) for count in (num_learners, 1)
    )
    for network in (ensemble, one):
        network.to(memory_format=torch.channels_last)
    images = torch.rand(batch_size, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    features = one.spatial(images).detach().requires_grad_()
    steps = {
        "ensemble": step_of(ensemble, images),
        "one_learner": step_of(one, images),
        "one_without_attention": step_of(nn.Sequential(one.spatial, one.global_extractor), images),
        "global_extractor": step_of(one.global_extractor, features),
    }
    fastest = dict.fromkeys(steps, float("inf"))
    for count in range(rounds + 1):
        for name, step in steps.items():
            spent = seconds(step, repeats=1)
            if count:  # the first round warms up
                fastest[name] = min(fastest[name], spent)
    share = fastest["global_extractor"] / fastest["one_learner"]
    return {
        **{f"{name}_ms": round(1e3 * value, 2) for name, value in fastest.items()},
        "share": round(share, 3),
        "ratio": round(fastest["ensemble"] / fastest["one_learner"], 3),
        "bar": round(1 + ALLOWANCE * (num_learners - 1) * share, 3),
    }


def keep_memory() -> None:
    """Ask glibc not to map large blocks by themselves (M_MMAP_MAX = -4), nor to return any (M_TRIM_THRESHOLD = -1)."""
    torch.set_num_threads(1)
    libc = ctypes.CDLL(None)
    if not (libc.mallopt(-4, 0) and libc.mallopt(-1, 2**31 - 1)):
        raise RuntimeError("the allocator did not take the settings")


def run(rounds: int = 40) -> dict[str, dict[str, float]]:
    """Return the figures by the number of learners and the batch; the maps of a large one outgrow the cache."""
    cases = {
        f"{learners} learners, {images} images": (learners, images, rounds)
        for images in (16, 64)
        for learners in (2, 4, 8)
    }
    with multiprocessing.get_context("spawn").Pool(1, initializer=keep_memory) as fresh:  # nothing else is to have it
        return dict(zip(cases, fresh.starmap(compare, cases.values()), strict=True))


def markdown(cases: dict[str, dict[str, float]]) -> str:
    """Return the table of the documentation."""
    header = ["case", "ensemble, ms", "one learner, ms", "without attention, ms", "share of G", "time", "bar"]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for title, figures in cases.items():
        names = ("ensemble_ms", "one_learner_ms", "one_without_attention_ms")
        cells = [title, *(f"{figures[name]:.1f}" for name in names), f"{figures['share']:.2f}"]
        lines.append(f"| {' | '.join(cells)} | x{figures['ratio']:.2f} | x{figures['bar']:.2f} |")
    return "\n".join(lines) + "\n"
