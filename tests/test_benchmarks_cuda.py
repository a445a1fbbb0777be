"""The benchmark for GPUs runs on a CPU, on small shapes; on a GPU, with events and memory."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def cuda() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        return importlib.import_module("benchmarks.cuda")


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_every_loss_is_measured(cuda: ModuleType, device: str) -> None:
    shapes = [(4, 20, 64), (6, 7, 64)]
    cases = cuda.run(shapes, torch.device(device), repeats=1)
    assert list(cases) == ["4 x 20 x 64", "6 x 7 x 64"]
    for found in cases.values():
        assert list(found) == list(cuda.LOSSES)
        for figures in found.values():
            assert set(figures) == {"milliseconds"} | ({"megabytes"} if device == "cuda" else set())
            assert all(math.isfinite(value) and value > 0 for value in figures.values())


def test_every_loss_in_chunks_stands_beside_itself(cuda: ModuleType) -> None:
    assert {name for name in cuda.LOSSES if name.endswith(", chunked")} == {f"{name}, chunked" for name in cuda.SLICED}
    assert cuda.SHAPES == [(112, 11_318, 512), (1024, 1_000_000, 128)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="would measure for minutes")
def test_without_a_gpu_the_program_says_so() -> None:
    command = [sys.executable, "-m", "benchmarks.cuda"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no CUDA device here" in done.stderr
