from pathlib import Path

import numpy as np
import pytest

from pml_proxyext.benchmark.datasets.cache import cache_directory, read_arrays, write_arrays

ARRAYS = {"numbers": np.arange(5000).reshape(50, 100) ** 3, "words": np.array(["a", "bc"])}


def test_cache_directory_is_that_of_the_environment_or_in_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.setenv("PML_PROXYEXT_CACHE", "")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert cache_directory() == tmp_path / "home" / ".cache" / "pml_proxyext"


def test_read_arrays_gets_what_was_written(tmp_path):
    path = tmp_path / "new" / "a.npz"
    assert read_arrays(path, ["words"]) is None
    write_arrays(path, ARRAYS)
    arrays = read_arrays(path, ["words", "numbers"])
    assert list(arrays) == ["words", "numbers"]
    assert all((arrays[name] == ARRAYS[name]).all() for name in arrays)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["empty", "cut", "middle", "text", "other"])
def test_read_arrays_of_a_damaged_file_warns_and_gives_none(tmp_path, damage):
    path = tmp_path / "a.npz"
    write_arrays(path, ARRAYS)
    whole = path.read_bytes()
    middle = len(whole) // 3
    other = {"empty": b"", "cut": whole[: len(whole) // 2], "text": b"no numbers here"}
    if damage == "other":
        write_arrays(path, {"words": ARRAYS["words"]})
    else:
        path.write_bytes(other.get(damage, whole[:middle] + b"\xff" * 200 + whole[middle + 200 :]))
    with pytest.warns(UserWarning, match=r"a\.npz is unreadable"):
        assert read_arrays(path, ARRAYS) is None
