from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_metric_learning.utils import common_functions as c_f
from scipy import stats

from pml_proxyext.benchmark.experiments import Experiment, draw_seeds, figure_of, interval_text, provenance_text
from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.tables import TextTable

CALLS: list[dict[str, Any]] = []


def measure(recipe: str, seed: int, rate: float) -> dict[str, Any]:
    CALLS.append({"recipe": recipe, "seed": seed, "rate": rate})
    drawn = float(torch.rand(())), float(c_f.NUMPY_RANDOM.rand())
    return {"steps": 3, "metrics": {"torch": drawn[0], "numpy": drawn[1]}, "curve": [[0, 1.0]]}


def table(records: Any) -> TextTable:
    return TextTable(["Seeds"], [[str(len(records))]], f"Recipes: {', '.join(r['recipe'] for r in records)}.", words=())


def experiment(seeds: int = 2, **changes: Any) -> Experiment:
    settings = [{"recipe": name, "seed": seed, "rate": 0.1} for seed in range(seeds) for name in ("a", "b")]
    parts = {"settings": settings, "smoke": settings[:1], "measure": measure, "tables": {"trial": table}}
    return Experiment(name="trial", draw=lambda records: figure_of("title", ["panel"])[0], **{**parts, **changes})


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


def test_run_does_only_what_has_no_line_yet(tmp_path: Path) -> None:
    experiment(seeds=1).run(tmp_path, experiment(seeds=1).settings)
    assert [call["recipe"] for call in CALLS] == ["a", "b"]
    experiment(seeds=2).run(tmp_path, experiment(seeds=2).settings)
    assert [(call["recipe"], call["seed"]) for call in CALLS] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    records = read_results(tmp_path)
    assert [record["key"] for record in records][:1] == ["recipe a, seed 0, rate 0.1"]
    assert len(records) == 4


def test_run_goes_on_after_an_interruption(tmp_path: Path) -> None:
    def interrupted(**setting: Any) -> dict[str, Any]:
        if setting["recipe"] == "b":
            raise KeyboardInterrupt
        return measure(**setting)

    with pytest.raises(KeyboardInterrupt):
        experiment(measure=interrupted).run(tmp_path, experiment().settings)
    experiment().run(tmp_path, experiment().settings)
    assert [(call["recipe"], call["seed"]) for call in CALLS] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_a_line_says_what_it_depends_on(tmp_path: Path) -> None:
    experiment().run(tmp_path, experiment().settings[:1])
    (record,) = read_results(tmp_path)
    assert {"recipe": "a", "seed": 0, "rate": 0.1, "steps": 3, "data": "digits"}.items() <= record.items()
    assert {"torch", "pytorch-metric-learning", "pml-proxyext", "machine"} <= set(record["environment"])
    assert {"commit", "time", "cpu_seconds", "threads", "curve"} <= set(record)


def test_generators_are_seeded_by_the_setting_and_left_as_they_were(tmp_path: Path) -> None:
    state, numpy = torch.get_rng_state(), c_f.NUMPY_RANDOM
    experiment().run(tmp_path, experiment().settings)
    drawn = {(r["recipe"], r["seed"]): r["metrics"] for r in read_results(tmp_path)}
    assert drawn["a", 0] == drawn["b", 0] != drawn["a", 1] == drawn["b", 1]
    assert torch.equal(torch.get_rng_state(), state)
    assert c_f.NUMPY_RANDOM is numpy


def test_main_writes_tables_and_figure_in_the_order_of_the_settings(tmp_path: Path, capsys: Any) -> None:
    page, figures = tmp_path / "page.md", tmp_path / "figures"
    page.write_text("before\n<!-- experiment:trial -->\nold\n<!-- /experiment:trial -->\nafter\n")
    results = ["--results", str(tmp_path / "results")]
    experiment().run(tmp_path / "results", experiment().settings[::-1])
    experiment().main("What.", [*results, "--into", str(page), "--figures", str(figures)])
    assert len(CALLS) == 4
    assert "Seeds" in capsys.readouterr().out
    lines = page.read_text().splitlines()
    assert lines[:2] + lines[-2:] == ["before", "<!-- experiment:trial -->", "<!-- /experiment:trial -->", "after"]
    assert "| 4 |" in lines
    assert "Recipes: a, b, a, b." in lines
    assert "old" not in lines
    assert [path.name for path in figures.iterdir()] == ["trial.png"]


def test_main_shows_nothing_while_runs_are_missing(tmp_path: Path, capsys: Any) -> None:
    experiment().run(tmp_path, experiment().settings[:3])
    with pytest.raises(SystemExit):
        experiment().main("What.", ["--table", "--results", str(tmp_path)])
    assert "1 of 4 runs have no line" in capsys.readouterr().err
    assert len(CALLS) == 3


def test_smoke_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    experiment().main("What.", ["--smoke"])
    assert len(CALLS) == 1
    assert not list(tmp_path.iterdir())


def test_interval_text_is_students_interval() -> None:
    values = [1.0, 4.0, 2.5, 3.0]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert interval_text(values, 3) == f"{(low + high) / 2:.3f} ± {(high - low) / 2:.3f}"
    assert interval_text(values, 1, 100) == f"{50 * (low + high):.1f} ± {50 * (high - low):.1f}"
    assert interval_text([2.0], 1) == "2.0"


def test_provenance_text_names_every_version_and_commit_once() -> None:
    one = {"environment": {"torch": "2.0", "pytorch-metric-learning": "2.9.0", "machine": "M"}, "commit": "abc"}
    other = {**one, "commit": "xyz"}
    assert provenance_text([one, other, one]) == "torch 2.0; PML 2.9.0; M; commit abc; commit xyz."
    assert provenance_text([{**one, "commit": None}]) == "torch 2.0; PML 2.9.0; M."


def test_draw_seeds_draws_mean_and_range() -> None:
    _, (axes, _) = figure_of("title", ["left", "right"])
    draw_seeds(axes, [1, 2], [[0.0, 4.0], [2.0, 8.0]], "loss", 0)
    (line,) = axes.get_lines()
    assert line.get_xydata().tolist() == [[1, 1], [2, 6]]
    assert line.get_label() == "loss"
    band = axes.collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in band.tolist()} == {(1, 0), (2, 4), (1, 2), (2, 8)}
