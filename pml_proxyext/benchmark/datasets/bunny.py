"""The Stanford bunny: the surface of a clay rabbit, as triangles."""

from __future__ import annotations

import json
import re
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pml_proxyext.benchmark.datasets.cache import cache_directory, read_arrays, write_arrays
from pml_proxyext.benchmark.datasets.emoji_sources import fetch_packages

__all__ = ["load_bunny", "parse_mesh", "prepare_bunny", "stand_in_mesh"]

_PACKAGE = "bunny@1.0.1"  # 47 kB; public domain, from the Stanford 3D Scanning Repository
_VERSION = 1  # part of the cache's name: raise it when the mesh changes

Mesh = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]


def prepare_bunny() -> str:
    """Fetch the bunny by npm, and keep it; nothing is done if it is kept already.

    Returns:
        how large it is, and where.

    Raises:
        OSError: if npm is missing or cannot fetch it, or the cache cannot be written.
    """
    if read_arrays(_path(), ["vertices", "faces"]) is None:
        with tempfile.TemporaryDirectory() as folder:
            fetch_packages([_PACKAGE], Path(folder))
            (path,) = Path(folder).glob("*.tgz")
            with tarfile.open(path) as archive, archive.extractfile("package/index.js") as file:  # type: ignore[union-attr]
                vertices, faces = parse_mesh(file.read().decode())
        write_arrays(_path(), {"vertices": vertices, "faces": faces})
    vertices, faces = load_bunny()
    return f"a bunny of {len(vertices)} vertices and {len(faces)} triangles in {_path()}"


def parse_mesh(script: str) -> Mesh:
    """Return vertices ``(V, 3)`` and triangles ``(F, 3)`` of a script that exports ``positions`` and ``cells``.

    Example:
        >>> parse_mesh("exports.positions=[[0,0,1],[1,0,0],[0,2,0]];exports.cells=[[0,1,2]]")[1].tolist()
        [[0, 1, 2]]
    """
    found = {
        name: json.loads(rows) for name, rows in re.findall(r"exports\.(\w+)\s*=\s*(\[\[.*?\]\])", script, re.DOTALL)
    }
    return np.array(found["positions"], dtype=np.float64), np.array(found["cells"], dtype=np.int64)


def load_bunny() -> Mesh:
    """Return vertices ``(V, 3)`` and triangles ``(F, 3)`` of the bunny, y pointing up.

    Raises:
        ValueError: if :func:`prepare_bunny` has not been run.
    """
    arrays = read_arrays(_path(), ["vertices", "faces"])
    if arrays is None:
        raise ValueError(
            f"the bunny is not prepared, there is no intact {_path()}; run: "
            "python -m pml_proxyext.benchmark prepare bunny"
        )
    return arrays["vertices"], arrays["faces"]


def stand_in_mesh() -> Mesh:
    """Return a sphere with bumps in the place of the bunny, for a trial.

    Example:
        >>> [part.shape for part in stand_in_mesh()]
        [(288, 3), (528, 3)]
    """
    rows, columns = 12, 24
    polar, around = np.meshgrid(
        np.linspace(0.1, np.pi - 0.1, rows), np.arange(columns) * 2 * np.pi / columns, indexing="ij"
    )
    radius = 1 + 0.2 * np.sin(3 * polar) * np.cos(2 * around) + 0.1 * np.cos(5 * around + polar)
    shell = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=-1)
    here = np.arange(rows * columns).reshape(rows, columns)
    right, below = np.roll(here, -1, axis=1)[:-1], here[1:]
    diagonal = np.roll(here, -1, axis=1)[1:]
    faces = np.concatenate(
        [np.stack(three, -1).reshape(-1, 3) for three in ((here[:-1], below, right), (right, below, diagonal))]
    )
    return (radius[..., None] * shell).reshape(-1, 3), faces


def _path() -> Path:
    return cache_directory() / f"bunny-v{_VERSION}.npz"
