"""The tables of the experiments are rendered from committed result files, which say what the page says of them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pml_proxyext.benchmark.experiments import Experiment
from pml_proxyext.benchmark.results import read_results

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "theory_experiments.md"
BLOCK = re.compile(r"<!-- experiment:(\w+) -->\n(.*?)<!-- /experiment:\1 -->", re.DOTALL)
LOSSES = ("cross_entropy", "supcon")
SCRIPTS = ["collapse_to_the_simplex", "label_noise", "slack_of_cross_entropy"]


def load(script: str) -> Experiment:
    spec = importlib.util.spec_from_file_location(script, ROOT / "examples" / f"{script}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    experiment: Experiment = module.EXPERIMENT
    return experiment


EXPERIMENTS = {script: load(script) for script in SCRIPTS}


def records(script: str) -> list[dict[str, Any]]:
    return read_results(ROOT / "docs" / "results" / EXPERIMENTS[script].name)


def test_the_page_shows_every_table_once() -> None:
    shown = [name for name, _ in BLOCK.findall(PAGE.read_text())]
    assert sorted(shown) == sorted(name for experiment in EXPERIMENTS.values() for name in experiment.tables)


@pytest.mark.parametrize("script", SCRIPTS)
def test_tables_are_rendered_from_the_committed_file(script: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    results = ROOT / "docs" / "results" / EXPERIMENTS[script].name
    EXPERIMENTS[script].main("What.", ["--table", "--results", str(results), "--into", str(page)])
    assert page.read_text() == PAGE.read_text()


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_run_is_there_once_from_one_environment_and_one_commit(script: str) -> None:
    found = records(script)
    assert len(found) == len(EXPERIMENTS[script].settings)
    assert len({str(record["environment"]) for record in found}) == 1
    (commit,) = {record["commit"] for record in found}
    assert not commit.endswith("+")


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_page_shows_the_figure(script: str) -> None:
    figure = f"figures/{EXPERIMENTS[script].name}.png"
    assert f"]({figure})" in PAGE.read_text()
    assert (ROOT / "docs" / figure).is_file()


def test_all_but_the_flat_and_the_plain_losses_collapsed_in_all_runs() -> None:
    distances: dict[str, list[float]] = {}
    for record in records("collapse_to_the_simplex"):
        distances.setdefault(record["recipe"], []).append(record["metrics"]["gram_distance"])
        assert all(moment["slack"] > -1e-6 for _, moment in record["curve"])  # losses are in float32
    flat = {name: distances.pop(name) for name in ("SupCon, temperature 0.1", "Plain cross-entropy")}
    assert max(max(values) for values in distances.values()) < 1e-3
    assert min(min(values) for values in flat.values()) > 0.1


def test_every_network_fitted_what_was_asked_of_it() -> None:
    for record in records("label_noise"):
        goals = {"all_90", "all_95", "wrong_90"} if record["noise"] else {"all_90", "all_95"}
        assert goals <= set(record["metrics"]), record["key"]


def test_the_lead_of_supcon_shrinks_with_noise_at_the_lower_rates() -> None:
    found = {(r["recipe"], r["lr"], r["noise"], r["seed"]): r["metrics"]["all_95"] for r in records("label_noise")}
    shares, seeds = sorted({noise for _, _, noise, _ in found}), sorted({seed for *_, seed in found})
    for lr in (0.02, 0.05):
        ratios = [
            np.mean([found["supcon", lr, p, s] / found["cross_entropy", lr, p, s] for s in seeds]) for p in shares
        ]
        assert ratios == sorted(ratios)


def test_cross_entropy_fell_below_pce_for_good_but_never_below_what_is_proven() -> None:
    found = records("slack_of_cross_entropy")
    assert sum(record["metrics"]["violations"] for record in found) == 0
    late = [m for r in found if r["recipe"] == "Cross-entropy" for step, m in r["curve"] if step >= 30]
    slacks = np.array([[value for name, value in m.items() if name.startswith("slack_")] for m in late])
    assert slacks.shape[1] == 4
    assert slacks.max() < 0
