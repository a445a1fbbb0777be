"""What a result depends on besides its settings: versions, machine, and the commit of the code."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

import pml_proxyext

__all__ = ["commit", "environment"]

_PACKAGES = ("torch", "pytorch-metric-learning", "numpy", "matplotlib", "pillow")  # the last two draw the glyphs


@cache
def environment() -> dict[str, str]:
    """Return versions and machine: results from different ones are equal in the mean at best, and never mixed."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{name: version(name) for name in _PACKAGES},
        "pml-proxyext": pml_proxyext.__version__,
        "machine": ", ".join([f"{platform.system()} {platform.machine()}", _processor(), *_gpu()]),
    }


def _processor() -> str:
    """Return the processor's name, as well as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown processor")


def _gpu() -> list[str]:
    return [torch.cuda.get_device_name()] if torch.cuda.is_available() else []


def commit() -> str | None:
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
