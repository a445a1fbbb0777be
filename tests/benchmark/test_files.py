import subprocess
import sys

import pytest
import torch

from pml_proxyext.benchmark.files import write_whole
from pml_proxyext.benchmark.results import read_results


def test_write_whole_replaces_the_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for text in ("first", "second"):
        write_whole(path, lambda temporary, text=text: temporary.write_text(text))
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_write_whole_that_fails_midway_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"cannot write .*a\.txt: .*No space left on device.* Is the disk full"):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_whole_under_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write"):
        write_whole(tmp_path / "file" / "a.txt", lambda temporary: torch.save({}, temporary))


FULL = """
import resource, signal, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
from pml_proxyext.benchmark.__main__ import main
sys.exit(main(["run", "--smoke", "--quiet", "--recipes", "supcon", "--results", sys.argv[1]]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_run_says_when_files_cannot_grow_and_goes_on_when_they_can(tmp_path):
    full = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert full.returncode == 1, full.stderr
    assert "error: cannot write" in full.stderr
    assert "Is the disk full" in full.stderr
    assert "Traceback" not in full.stderr
    assert not list(tmp_path.rglob("*.part*"))
    roomy = FULL.replace("(200_000, 200_000)", "(-1, -1)")
    subprocess.run([sys.executable, "-c", roomy, str(tmp_path)], capture_output=True, timeout=120, check=True)
    assert {record["recipe"] for record in read_results(tmp_path)} == {"untrained", "supcon"}
