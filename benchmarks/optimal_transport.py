"""CPU time and error of semi-discrete optimal transport to a thousand clustered atoms of equal weight.

``python -m benchmarks`` runs this and writes the figures. There is no baseline: what is shown is how far a solver comes
in how long. Errors are those of the cells' measures; in four dimensions and more they are counted on two million
samples, whose noise is taken off the l2 error (``SemiDiscreteOT.cell_error``) and is most of the l1 error.
"""

from __future__ import annotations

import time
from dataclasses import asdict

import torch
from torch import Tensor

from pml_proxyext.geometry import SemiDiscreteOT

_COUNT_ON = 2_000_000


def clustered(count: int, dim: int) -> Tensor:
    """Return points of a mixture of ten normal laws."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(10, dim, generator=generator)
    members = torch.randint(10, (count,), generator=generator)
    return centres[members] + 0.2 * torch.randn(count, dim, generator=generator)


def measured(solver: str, dim: int, count: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(1)
    transport = SemiDiscreteOT(clustered(count, dim))
    start = time.process_time()
    transport = transport.fit_exact() if solver == "exact" else transport.fit_stochastic(generator=generator)
    seconds = time.process_time() - start
    return {"seconds": round(seconds, 2), **asdict(transport.cell_error(_COUNT_ON, generator))}


def run() -> dict[str, dict[str, float]]:
    """Return CPU seconds and errors by case."""
    cases = [("exact", 2, 100), ("exact", 2, 1000), *(("stochastic", dim, 1000) for dim in (2, 4, 8, 16))]
    return {f"{solver}, {dim}, {count}": measured(solver, dim, count) for solver, dim, count in cases}


def markdown(cases: dict[str, dict[str, float]]) -> str:
    """Return the table of the documentation."""
    names = ["solver", "d", "atoms", "CPU seconds", "l2 error", "l1 error", "largest error", "empty cells"]
    rows = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    for case, found in cases.items():
        errors = " | ".join(f"{found[name]:.1e}" for name in ("l2", "l1", "largest"))
        rows.append(f"| {' | '.join(case.split(', '))} | {found['seconds']} | {errors} | {found['n_empty']} |")
    return "\n".join(rows) + "\n"
