"""The bunny: read from its package, kept, and asked for by name."""

import io
import tarfile

import numpy as np
import pytest

from pml_proxyext.benchmark.datasets import bunny
from pml_proxyext.benchmark.datasets.bunny import load_bunny, parse_mesh, prepare_bunny, stand_in_mesh
from pml_proxyext.benchmark.datasets.registry import prepare

SCRIPT = "exports.positions=[[0,0,1.5],[1,0,0],\n[0,-2,0],[1,1,1]];\nexports.cells = [[0,1,2],[1,2,3]];\n"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(tmp_path))
    return tmp_path


def fetch(packages, folder):
    assert list(packages) == ["bunny@1.0.1"]
    with tarfile.open(folder / "bunny-1.0.1.tgz", "w:gz") as archive:
        member = tarfile.TarInfo("package/index.js")
        member.size = len(SCRIPT)
        archive.addfile(member, io.BytesIO(SCRIPT.encode()))


def test_a_script_is_read_as_a_mesh():
    vertices, faces = parse_mesh(SCRIPT)
    assert vertices.tolist() == [[0, 0, 1.5], [1, 0, 0], [0, -2, 0], [1, 1, 1]]
    assert faces.tolist() == [[0, 1, 2], [1, 2, 3]]
    assert (vertices.dtype, faces.dtype) == (np.float64, np.int64)


def test_it_is_fetched_once_and_kept(cache, monkeypatch):
    monkeypatch.setattr(bunny, "fetch_packages", fetch)
    said = prepare("bunny")
    assert "4 vertices and 2 triangles" in said
    monkeypatch.setattr(bunny, "fetch_packages", None)
    assert prepare_bunny() == said
    assert [part.shape for part in load_bunny()] == [(4, 3), (2, 3)]


def test_without_it_the_message_says_what_to_run(cache):
    with pytest.raises(ValueError, match="prepare bunny"):
        load_bunny()


def test_the_stand_in_is_a_surface_without_gaps_but_for_its_poles():
    """Each edge is in two triangles, or on one of two rims; normals of all triangles point outwards."""
    vertices, faces = stand_in_mesh()
    edges, counts = np.unique(
        np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0, return_counts=True
    )
    assert set(counts) == {1, 2}
    assert (counts == 1).sum() == 2 * 24
    assert len(vertices) - len(edges) + len(faces) == 0  # Euler's number of a cylinder
    corners = vertices[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((across * corners.mean(1)).sum(1) > 0).all()
