"""Where the time of a training step goes: the operators of torch that take most of it, by torch's profiler.

``python -m benchmarks`` runs this and writes the figures. Shares are of the processor time of one step forward and
backward, float32, one thread, after one step to warm up; an operator counts what it does itself.
"""

from __future__ import annotations

from torch.profiler import ProfilerActivity, profile

from benchmarks.chunked import make as make_chunked
from benchmarks.nivmf_speed import make as make_nivmf

SHOWN, SHAPE = 5, (112, 11_318, 512)
METHODS = ["proxy_anchor_pml", "cosine", "el_vmf", "el_nivmf_closed_form", "el_nivmf"]
CHUNKED = ["proxy_anchor, chunked", "el_vmf, chunked", "el_nivmf_closed_form, chunked"]


def shares(method: str) -> dict[str, float]:
    """Return the operators with the largest shares of the time, largest first."""
    step = (make_nivmf if method in METHODS else make_chunked)(method, *SHAPE)
    step()
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        step()
    times = {event.key: event.self_cpu_time_total for event in recorded.key_averages()}
    total = sum(times.values())
    largest = sorted(times, key=lambda key: -times[key])[:SHOWN]
    return {key.removeprefix("aten::"): round(times[key] / total, 3) for key in largest}


def run() -> dict[str, dict[str, float]]:
    """Return the shares by method."""
    return {method: shares(method) for method in [*METHODS, *CHUNKED]}


def markdown(cases: dict[str, dict[str, float]]) -> str:
    """Return the table of the documentation."""
    lines = ["| method | operators and their shares of the time |", "|---|---|"]
    for method, operators in cases.items():
        said = ", ".join(f"`{name}` {100 * share:.0f}%" for name, share in operators.items())
        lines.append(f"| `{method}` | {said} |")
    return "\n".join(lines) + "\n"
