"""Files of arrays that are kept from one run to the next."""

from __future__ import annotations

import os
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pml_proxyext.benchmark.files import write_whole

__all__ = ["cache_directory", "read_arrays", "write_arrays"]


def cache_directory() -> Path:
    """Return ``$PML_PROXYEXT_CACHE``, or ``~/.cache/pml_proxyext`` without it."""
    return Path(os.environ.get("PML_PROXYEXT_CACHE") or Path.home() / ".cache" / "pml_proxyext")


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, npt.NDArray[Any]] | None:
    """Return the arrays of these names, or None if there is no such file; one that is damaged is warned of."""
    try:
        with np.load(path) as stored:
            return {name: stored[name] for name in names}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        warnings.warn(f"the cache {path} is unreadable: {error}", stacklevel=2)
        return None


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write the arrays, compressed, whole or not at all.

    Raises:
        OSError: if the file cannot be written.
    """
    write_whole(path, lambda temporary: np.savez_compressed(temporary, **arrays))  # type: ignore[arg-type]
