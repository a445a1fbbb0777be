import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pml_proxyext.benchmark.jobs import run_all
from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.run import Run

RUNS = [Run("supcon", seed, smoke=True) for seed in range(4)]

INTERRUPTED = """
import signal, sys
from pathlib import Path
from pml_proxyext.benchmark.__main__ import main
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell started in the background
    command = ["run", "--recipes", "supcon", "--seeds", "0", "1", "2", "3", "--steps", "300"]
    sys.exit(main([*command, "--jobs", sys.argv[2], "--results", sys.argv[1], "--quiet"]))
"""


def checkpoints(results):
    return [path for path in (results / "checkpoints").glob("supcon*.pt") if ".part" not in path.name]


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_ends_at_once_and_leaves_checkpoints(tmp_path, jobs):
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    results = tmp_path / "results"
    process = subprocess.Popen(
        [sys.executable, str(script), str(results), str(jobs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: len(checkpoints(results)) >= jobs)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, error = process.communicate(timeout=20)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, error
    assert "interrupted: the same command goes on" in error
    assert "Traceback" not in error
    assert len(checkpoints(results)) >= jobs
    assert {record["recipe"] for record in read_results(results)} <= {"untrained"}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_killed_parent_leaves_no_process_behind(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    results = tmp_path / "results"
    process = subprocess.Popen([sys.executable, str(script), str(results), "2"], start_new_session=True)
    wait_for(lambda: checkpoints(results))
    process.kill()
    process.wait()

    def session():
        stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
        fields = [stat.rpartition(")")[2].split() for stat in stats]
        return [state for state, _, _, session, *_ in fields if int(session) == process.pid and state != "Z"]

    wait_for(lambda: not session(), seconds=20)


def test_two_processes_on_one_directory_do_each_run_once(tmp_path):
    code = """
import sys
from pathlib import Path
from pml_proxyext.benchmark.jobs import run_all
from pml_proxyext.benchmark.run import Run
print(run_all([Run("supcon", seed, smoke=True) for seed in range(4)], Path(sys.argv[1]), progress=False))
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    done = [int(process.communicate(timeout=120)[0]) for process in processes]
    assert sum(done) >= 3  # both may pass over the run that the other is at
    run_all(RUNS, tmp_path, progress=False)
    lines = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert len(lines) == len(RUNS)
    assert {record["seed"] for record in read_results(tmp_path)} == set(range(4))


def test_run_all_passes_on_the_error_of_a_run(tmp_path):
    runs = [Run("supcon", smoke=True, data="glyphs", overrides={"images_per_class": 7}), *RUNS]
    with pytest.raises(ValueError, match="batch_size must be a multiple of images_per_class"):
        run_all(runs, tmp_path, jobs=2, progress=False)
