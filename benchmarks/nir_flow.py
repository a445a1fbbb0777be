"""Time NIR's conditional flow against the same flow in FrEIA, forward and backward on one thread.

``python -m benchmarks`` runs this and writes the figures; it needs FrEIA (the extra ``bench``). The two flows get the
same weights, and their latents are compared before anything is timed. Rounds of both are interleaved, so that a slow
moment of the machine meets both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import FrEIA.framework
import FrEIA.modules
import torch
from torch import Tensor, nn

from pml_proxyext.flows import ConditionalFlow


def freia_flow(dim: int, n_blocks: int, n_layers: int, hidden_size: int) -> nn.Module:
    def subnet(in_features: int, out_features: int) -> nn.Sequential:
        widths = [in_features, *[hidden_size] * (n_layers - 1), out_features]
        layers = [m for i in range(n_layers) for m in (nn.Linear(widths[i], widths[i + 1]), nn.ReLU())]
        return nn.Sequential(*layers[:-1])

    flow = FrEIA.framework.SequenceINN(dim)
    for k in range(n_blocks):
        flow.append(FrEIA.modules.PermuteRandom, seed=k)
        flow.append(FrEIA.modules.GLOWCouplingBlock, cond=0, cond_shape=(dim,), subnet_constructor=subnet, clamp=2.0)
    return flow


def copy_weights(ours: ConditionalFlow, theirs: nn.Module) -> None:
    couplings = [m for m in theirs.module_list if isinstance(m, FrEIA.modules.GLOWCouplingBlock)]
    for block, coupling in zip(ours.blocks, couplings, strict=True):
        block.second_moves_first.load_state_dict(coupling.subnet2.state_dict())
        block.first_moves_second.load_state_dict(coupling.subnet1.state_dict())


def seconds(step: Callable[[], None], repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        step()
    return (time.process_time() - start) / repeats


def compare(dim: int, batch_size: int, rounds: int, repeats: int) -> dict[str, float]:
    """Return the fastest milliseconds of both flows and the median ratio of paired rounds."""
    torch.manual_seed(0)
    ours, theirs = ConditionalFlow(dim, dim), freia_flow(dim, n_blocks=5, n_layers=8, hidden_size=128)
    copy_weights(ours, theirs)
    inputs = nn.functional.normalize(torch.randn(batch_size, dim)).requires_grad_()
    context = nn.functional.normalize(torch.randn(batch_size, dim)).requires_grad_()

    def backward(outputs: tuple[Tensor, Tensor]) -> None:
        latents, log_det = outputs
        (latents.square().sum(1) / 2 - log_det).mean().backward()

    def step_ours() -> None:
        backward(ours(inputs, context))

    def step_theirs() -> None:
        backward(theirs(inputs, c=[context]))

    torch.testing.assert_close(ours(inputs, context)[0], theirs(inputs, c=[context])[0], rtol=1e-4, atol=1e-5)
    seconds(step_ours, repeats), seconds(step_theirs, repeats)  # warm up
    pairs = [(seconds(step_ours, repeats), seconds(step_theirs, repeats)) for _ in range(rounds)]
    fastest_ours, fastest_theirs = (min(times) for times in zip(*pairs, strict=True))
    median = statistics.median(a / b for a, b in pairs)
    return {
        "ours_ms": round(1e3 * fastest_ours, 2),
        "freia_ms": round(1e3 * fastest_theirs, 2),
        "median_ratio": round(median, 3),
    }


def run(rounds: int = 15, repeats: int = 5) -> dict[str, dict[str, float]]:
    """Return the figures by batch and width."""
    return {f"112 x {dim}": compare(dim, 112, rounds, repeats) for dim in (64, 128, 512)}


def markdown(cases: dict[str, dict[str, float]]) -> str:
    """Return the table of the documentation."""
    lines = ["| batch x D | ours, ms | FrEIA, ms | time | median of paired rounds |", "|---|---|---|---|---|"]
    for title, figures in cases.items():
        ours, freia = figures["ours_ms"], figures["freia_ms"]
        lines.append(f"| {title} | {ours} | {freia} | x{ours / freia:.2f} | x{figures['median_ratio']:.2f} |")
    return "\n".join(lines) + "\n"
