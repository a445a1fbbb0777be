"""Every example runs to its end in its smoke mode."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

WITH_TORCHVISION = Path(__file__).parent / "with_torchvision.py"
EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path: Path, tmp_path: Path) -> None:
    command = [sys.executable, path, "--smoke"]
    if path.stem.startswith("table_"):
        if importlib.util.find_spec("torchvision") is None:
            pytest.skip("torchvision is not installed")
        command.insert(1, WITH_TORCHVISION)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert any(shown in done.stdout for shown in ("%", "MAP@R", "R@1"))
    assert list(tmp_path.iterdir()) == []
