import dataclasses
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from filelock import FileLock

from pml_proxyext.benchmark.recipes import RECIPES
from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.run import Run, execute
from pml_proxyext.losses import NIRLoss

SMOKE = Run("proxy_anchor", seed=1, smoke=True)


def test_execute_writes_one_line_with_all_that_identifies_the_run(tmp_path):
    returned = execute(SMOKE, tmp_path)
    (record,) = read_results(tmp_path)
    assert record == json.loads(json.dumps(returned))
    assert (record["recipe"], record["seed"], record["data"], record["split"]) == ("proxy_anchor", 1, "glyphs", "test")
    assert (record["steps"], record["smoke"], record["overrides"]) == (4, True, {})
    assert set(record["metrics"]) == {"precision_at_1", "r_precision", "mean_average_precision_at_r"}
    assert record["curve"][-1] == [4, record["metrics"]]
    assert len(record["curve"]) <= 10
    assert {"python", "torch", "pytorch-metric-learning", "pml-proxyext"} | {"machine"} <= set(record["environment"])
    assert record["seconds"] > 0
    assert record["time"].endswith("Z")
    assert not list((tmp_path / "checkpoints").glob("*.pt"))


def test_execute_stores_embeddings_that_give_the_score(tmp_path):
    record = execute(SMOKE, tmp_path)
    with np.load(tmp_path / "embeddings" / f"{record['key']}.npz") as stored:
        directions, labels = stored["embeddings"].astype(np.float64), stored["labels"]
        assert stored["norms"].shape == labels.shape
    similarities = directions @ directions.T
    np.fill_diagonal(similarities, -np.inf)
    hits = labels[similarities.argmax(1)] == labels
    assert hits.mean() == pytest.approx(record["metrics"]["precision_at_1"], abs=1e-6)


def test_execute_does_not_repeat_a_finished_run(tmp_path):
    assert execute(SMOKE, tmp_path) is not None
    assert execute(SMOKE, tmp_path) is None
    assert len(read_results(tmp_path)) == 1


def test_execute_leaves_a_run_to_the_process_that_is_at_it(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with FileLock(tmp_path / "checkpoints" / f"{SMOKE.key}.lock"):
        assert execute(SMOKE, tmp_path) is None
    assert execute(SMOKE, tmp_path) is not None


def test_execute_same_seed_same_result(tmp_path):
    first, second = (execute(SMOKE, tmp_path / name) for name in "ab")
    assert first["curve"] == second["curve"]
    other = execute(Run("proxy_anchor", seed=2, smoke=True), tmp_path / "a")
    assert other["curve"] != first["curve"]


def test_execute_with_a_log_writes_losses_and_scores(tmp_path):
    record = execute(SMOKE, tmp_path, log=True)
    (folder,) = (tmp_path / "logs").iterdir()
    scores = (folder / "accuracies_normalized_RetrievalTester_level_0_VAL_vs_self.csv").read_text()
    assert scores.count("\n") == 1 + len(record["curve"])
    assert str(record["metrics"]["precision_at_1"])[:6] in scores
    assert (folder / "loss_histories.csv").exists()
    assert any(path.name.startswith("events.out.tfevents") for path in folder.iterdir())
    assert execute(SMOKE, tmp_path / "plain")["curve"] == record["curve"]


def test_run_identity_tells_variants_apart():
    variants = [
        SMOKE,
        Run("proxy_anchor", seed=1),
        Run("proxy_anchor", seed=2, smoke=True),
        Run("supcon", seed=1, smoke=True),
        Run("proxy_anchor", seed=1, smoke=True, split="validation"),
        Run("proxy_anchor", seed=1, smoke=True, steps=3),
        Run("proxy_anchor", seed=1, smoke=True, overrides={"margin": 0.2}),
        Run("proxy_anchor", seed=1, smoke=True, overrides={"margin": 0.3}),
        Run("proxy_anchor", seed=1, smoke=True, tuned={"margin": 0.3}),
    ]
    assert len({run.key for run in variants}) == len(variants)
    assert (
        Run("supcon", overrides={"lr": 0.1, "batch_size": 8}).key
        == Run("supcon", overrides={"batch_size": 8, "lr": 0.1}).key
    )
    assert Run("supcon").key == Run("supcon", steps=300).key  # 300 is what the data set says


def test_run_of_a_changed_recipe_is_another_run(monkeypatch):
    before = SMOKE.key
    assert SMOKE.key == before
    monkeypatch.setitem(RECIPES, "proxy_anchor", dataclasses.replace(RECIPES["proxy_anchor"], title="Another title"))
    assert SMOKE.key == before
    monkeypatch.setitem(RECIPES, "proxy_anchor", dataclasses.replace(RECIPES["proxy_anchor"], lr=0.123))
    assert SMOKE.key != before


def test_run_overrides_change_the_result(tmp_path):
    plain = execute(SMOKE, tmp_path)
    changed = execute(Run("proxy_anchor", seed=1, smoke=True, overrides={"lr": 0.03}), tmp_path)
    assert changed["overrides"] == {"lr": 0.03}
    assert changed["metrics"] != plain["metrics"]
    assert len(read_results(tmp_path)) == 2


@pytest.mark.parametrize("steps", [0, -1, 2.5])
def test_run_steps_out_of_range_are_an_error(steps):
    with pytest.raises(ValueError, match="steps must be an integer >= 1"):
        Run("supcon", steps=steps).resolved_recipe()


KILLED = """
import os, signal, sys, torch
from pathlib import Path
from pml_proxyext.benchmark import run
from pml_proxyext.benchmark.training import Training

save = Training._save
def save_and_die(self, path):
    save(self, path)
    if self.step == 2:
        os.kill(os.getpid(), signal.SIGKILL)
Training._save = save_and_die
torch.set_num_threads(1)
run.execute(run.Run("proxy_anchor", seed=1, smoke=True), Path(sys.argv[1]))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_execute_goes_on_where_a_killed_process_stopped(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, timeout=120, check=False
    )
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()
    assert [path.name for path in (tmp_path / "checkpoints").glob("*.pt")] == [f"{SMOKE.key}.pt"]
    resumed, whole = execute(SMOKE, tmp_path), execute(SMOKE, tmp_path / "whole")
    assert resumed["curve"] == whole["curve"]


def test_run_identity_changes_with_a_default_of_the_loss(monkeypatch):
    before = Run("nir_proxy_anchor").key
    assert Run("nir_proxy_anchor").key == before
    defaults = list(NIRLoss.__init__.__defaults__)
    monkeypatch.setattr(NIRLoss.__init__, "__defaults__", (*defaults[:-1], "another"))
    assert Run("nir_proxy_anchor").key != before
