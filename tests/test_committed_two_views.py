"""What the page of CrossCLR shows of emoji in pictures and in words is rendered from committed result files."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pml_proxyext.benchmark.comparison import paired_differences
from pml_proxyext.benchmark.experiments import Experiment
from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.summaries import summarise
from pml_proxyext.benchmark.two_views.methods import METHODS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "crossclr.md"
RESULTS = ROOT / "docs" / "results"
BLOCK = re.compile(r"<!-- experiment:(\w+) -->\n(.*?)<!-- /experiment:\1 -->", re.DOTALL)
SHARED = {"lr", "dropout"}


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("two_views", ROOT / "examples" / "emoji_image_to_text.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = script()
EXPERIMENTS: list[Experiment] = [SCRIPT.SEARCH, SCRIPT.EXPERIMENT]


def records(name: str) -> list[dict[str, Any]]:
    return read_results(RESULTS / name)


def test_the_page_shows_every_table_once_and_both_figures() -> None:
    text = PAGE.read_text()
    shown = [name for name, _ in BLOCK.findall(text)]
    assert sorted(shown) == sorted(name for experiment in EXPERIMENTS for name in experiment.tables)
    assert f"](figures/{SCRIPT.EXPERIMENT.name}.png)" in text
    assert all((ROOT / "docs" / "figures" / f"{experiment.name}.png").is_file() for experiment in EXPERIMENTS)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_tables_are_rendered_from_the_committed_file(experiment: Experiment, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(BLOCK.sub(r"<!-- experiment:\1 -->\nold\n<!-- /experiment:\1 -->", PAGE.read_text()))
    experiment.main("What.", ["--table", "--results", str(RESULTS / experiment.name), "--into", str(page)])
    rendered = dict(BLOCK.findall(page.read_text()))
    committed = dict(BLOCK.findall(PAGE.read_text()))
    assert {name: rendered[name] for name in experiment.tables} == {name: committed[name] for name in experiment.tables}


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_every_run_is_there_once_from_one_environment_and_one_commit(experiment: Experiment) -> None:
    found = records(experiment.name)
    assert len(found) == len(experiment.settings)
    assert len({str(record["environment"]) for record in found}) == 1
    (commit,) = {record["commit"] for record in found}
    assert not commit.endswith("+")
    assert {record["steps"] for record in found} == {300}


def test_every_method_had_the_same_budget_and_tests_use_the_best_of_the_search() -> None:
    searched, tested = records("search_emoji_text"), records("emoji_text")
    assert {(record["split"], record["seed"]) for record in searched} == {("validation", 0)}
    assert {record["split"] for record in tested} == {"test"}
    for name in METHODS:
        trials = [record for record in searched if record["recipe"] == name]
        assert [trial["overrides"] for trial in trials] == METHODS[name].trials(12)
        best = max(trials, key=lambda trial: trial["metrics"]["mean_average_precision"])
        runs = [record for record in tested if record["recipe"] == name]
        assert [run["seed"] for run in runs] == list(range(10))
        assert all(run["tuned"] == best["overrides"] for run in runs)


def test_scores_are_numbers_within_their_ranges() -> None:
    for record in [*records("search_emoji_text"), *records("emoji_text")]:
        for name, value in record["metrics"].items():
            assert np.isfinite(value)
            assert (value >= 1) if "median_rank" in name else (0 <= value <= 1)


def test_the_page_reads_the_differences_as_they_are() -> None:
    differences = paired_differences(
        summarise(records("emoji_text")), {name: method.compared_with for name, method in METHODS.items()}
    )
    found = {difference.method.recipe: difference for difference in differences}
    intra = found["crossclr_intra"]
    assert intra.gain.low < 0 < intra.gain.high < 0.0025
    plain = np.mean([run["metrics"]["recall_at_1"] for run in intra.base.runs])
    assert intra.changes["recall_at_1"].high < (18.7 / 17.9 - 1) * plain  # the smaller of the paper's two rises
    assert found["crossclr_pruning"].gain.low < 0 < found["crossclr_pruning"].gain.high
    for name in ("crossclr_weights", "crossclr"):
        assert found[name].gain.mean < -0.005
        assert found[name].adjusted_p < 0.05
    for name, sign in (("ntxent", 1), ("dcl", 1), ("max_margin", -1)):
        assert sign * found[name].gain.mean > 0
        assert found[name].adjusted_p < 0.05
    assert found["clip"].gain.low < 0 < found["clip"].gain.high
    means = {summary.recipe: summary.score.mean for summary in summarise(records("emoji_text"))}
    level = [means[name] for name in ("ntxent", "crossclr_plain", "crossclr_pruning", "crossclr_intra")]
    assert max(level) == max(means.values())
    assert max(level) - min(level) < 0.001
