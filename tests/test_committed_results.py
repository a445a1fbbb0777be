"""The tables in README and docs are rendered from committed result files: nobody typed a number."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pml_proxyext.benchmark.comparison import differences_table, paired_differences
from pml_proxyext.benchmark.recipes import RECIPES
from pml_proxyext.benchmark.report import results_table
from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.search_report import search_table
from pml_proxyext.benchmark.summaries import summarise
from pml_proxyext.benchmark.tables import TextTable
from pml_proxyext.benchmark.tuning import SETTINGS_FILE, read_settings, shipped_settings
from pml_proxyext.benchmark.uncertainty_report import TABLES, uncertainty_summaries

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
BLOCK = re.compile(r"<!-- (results|differences|search|uncertainty\w*):([\w-]+) -->\n(.*?)<!-- /\1:\2 -->", re.DOTALL)
BLOCKS = [
    pytest.param(kind, name, table, id=f"{page.name}-{kind}-{name}")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for kind, name, table in BLOCK.findall(page.read_text())
]


def rendered(kind: str, name: str) -> TextTable:
    if kind in TABLES:
        return TABLES[kind](uncertainty_summaries(RESULTS / name))
    records = read_results(RESULTS / name)
    if kind == "search":
        (data,) = {record["data"] for record in records}
        return search_table(records, read_settings(RESULTS / name / SETTINGS_FILE, data))
    summaries = summarise(records)
    if kind == "results":
        return results_table(summaries)
    bases = {recipe.name: recipe.compared_with for recipe in RECIPES.values()}
    return differences_table(paired_differences(summaries, bases))


def rows(table: str) -> list[dict[str, str]]:
    """Return the cells of each row by column: which columns there are depends on what is shown."""
    lines = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("|")]
    header, _, *body = [[cell.strip() for cell in line] for line in lines]
    return [dict(zip(header, cells, strict=True)) for cells in body]


def test_readme_and_method_pages_show_results() -> None:
    shown = {"README.md-results-glyphs", "nir.md-results-glyphs", "nir.md-results-nir", "nivmf.md-results-glyphs"}
    assert shown <= {block.id for block in BLOCKS}


@pytest.mark.parametrize(("kind", "name", "table"), BLOCKS)
def test_every_row_is_rendered_from_the_committed_file(kind: str, name: str, table: str) -> None:
    committed = rows(rendered(kind, name).markdown())
    assert rows(table)
    for row in rows(table):
        assert any(row.items() <= whole.items() for whole in committed), row


@pytest.mark.parametrize(("data", "seeds"), [("glyphs", 5), ("emoji", 10)])
def test_every_method_has_all_seeds_in_one_environment_with_the_settings_of_the_search(data: str, seeds: int) -> None:
    records = read_results(RESULTS / data)
    settings = read_settings(RESULTS / f"search_{data}" / SETTINGS_FILE, data)
    assert shipped_settings(data) == settings
    assert len({str(record["environment"]) for record in records}) == 1
    assert {name: {r["seed"] for r in records if r["recipe"] == name} for name in RECIPES} == {
        name: set(range(seeds)) if recipe.loss else {0} for name, recipe in RECIPES.items()
    }
    assert all(record["tuned"] == settings[record["recipe"]] for record in records if record["recipe"] != "untrained")


@pytest.mark.parametrize(("data", "trials"), [("glyphs", 8), ("emoji", 12)])
def test_every_method_had_the_same_number_of_trials(data: str, trials: int) -> None:
    records = read_results(RESULTS / f"search_{data}")
    counts = {name: sum(record["recipe"] == name for record in records) for name in RECIPES}
    assert counts == {name: trials if recipe.loss else 1 for name, recipe in RECIPES.items()}
    assert {(record["split"], record["seed"]) for record in records} == {("validation", 0)}
    settings = read_settings(RESULTS / f"search_{data}" / SETTINGS_FILE, data)

    def score(record: dict[str, Any]) -> float:
        return float(np.nan_to_num(record["metrics"]["mean_average_precision_at_r"], nan=-1.0))

    best = {name: max((r for r in records if r["recipe"] == name), key=score) for name in RECIPES}
    assert settings == {name: record["overrides"] for name, record in best.items()}
