"""What a result depends on besides its settings: versions, and the commit of the code."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import pml_proxyext

__all__ = ["provenance"]


def provenance() -> dict[str, Any]:
    """Return versions, commit and number of threads as entries of a result."""
    return {
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "pytorch-metric-learning": version("pytorch-metric-learning"),
            "matplotlib": version("matplotlib"),
            "pml-proxyext": pml_proxyext.__version__,
        },
        "commit": _commit(),
        "threads": torch.get_num_threads(),
    }


def _commit() -> str | None:
    """Return the commit of a source checkout, with ``+`` if files differ from it; None for an installed package."""
    root = Path(pml_proxyext.__file__).parent.parent
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "pml_proxyext")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
