import json
import multiprocessing

import pytest

from pml_proxyext.benchmark.results import RESULTS_FILE, append_result, read_results


def record(key, **more):
    common = {
        "recipe": "supcon",
        "seed": 0,
        "data": "glyphs",
        "split": "test",
        "steps": 4,
        "metrics": {"r_precision": 0.5},
    }
    return {"key": key, **common, **more}


def test_results_come_back_as_written(tmp_path):
    written = [record("a"), record("b", overrides={"lr": 0.1}, title="Ünïcode")]
    for line in written:
        append_result(tmp_path / "new", line)
    assert read_results(tmp_path / "new") == written


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "Expecting"),
        (b'{"key": "x"}', "recipe must be of type str"),
        (b"[1, 2]", "must be a JSON object, got list"),
        (b"\xff{", "decode"),
        (json.dumps(record("x", metrics={"r_precision": "high"})).encode(), "metrics must be numbers"),
    ],
)
def test_read_results_names_a_broken_line_and_skips_it(tmp_path, line, reason):
    append_result(tmp_path, record("a"))
    path = tmp_path / RESULTS_FILE
    path.write_bytes(path.read_bytes() + line + b"\n")
    append_result(tmp_path, record("b"))
    before = path.read_bytes()
    with pytest.warns(UserWarning, match=rf"{RESULTS_FILE}, line 2 .*{reason}"):
        runs = read_results(tmp_path)
    assert [run["key"] for run in runs] == ["a", "b"]
    assert path.read_bytes() == before


def test_append_result_after_a_line_cut_short_starts_a_new_one(tmp_path):
    (tmp_path / RESULTS_FILE).write_bytes(b'{"key": "cut sho')
    append_result(tmp_path, record("a"))
    assert (tmp_path / RESULTS_FILE).read_bytes().startswith(b'{"key": "cut sho\n')
    with pytest.warns(UserWarning, match="line 1"):
        assert [run["key"] for run in read_results(tmp_path)] == ["a"]


def test_read_results_of_a_run_twice_there_keeps_the_last(tmp_path):
    for score in (0.1, 0.2):
        append_result(tmp_path, record("a", metrics={"r_precision": score}))
    assert [run["metrics"]["r_precision"] for run in read_results(tmp_path)] == [0.2]


def test_read_results_gathers_all_files_of_a_directory(tmp_path):
    append_result(tmp_path, record("a"))
    (tmp_path / "older.jsonl").write_text(json.dumps(record("b")) + "\n\n")
    assert {run["key"] for run in read_results(tmp_path)} == {"a", "b"}
    assert [run["key"] for run in read_results(tmp_path / RESULTS_FILE)] == ["a"]


def _append_many(directory, name, start):
    start.wait()
    for number in range(50):
        append_result(directory, record(f"{name}-{number}", padding="x" * 5000))


def test_append_result_from_processes_at_once_loses_nothing(tmp_path):
    context = multiprocessing.get_context("fork")  # no torch call has started threads of its own in these functions
    start = context.Barrier(4)
    workers = [context.Process(target=_append_many, args=(tmp_path, name, start)) for name in "abcd"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert {run["key"] for run in read_results(tmp_path)} == {
        f"{name}-{number}" for name in "abcd" for number in range(50)
    }
