"""The tables in README and docs are rendered from committed result files: nobody typed a number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pml_proxyext.benchmark.comparison import differences_table, paired_differences
from pml_proxyext.benchmark.recipes import RECIPES
from pml_proxyext.benchmark.report import results_table
from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.search_report import search_table
from pml_proxyext.benchmark.summaries import summarise
from pml_proxyext.benchmark.tables import TextTable
from pml_proxyext.benchmark.tuning import SETTINGS_FILE, read_settings

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
BLOCK = re.compile(r"<!-- (results|differences|search):([\w-]+) -->\n(.*?)<!-- /\1:\2 -->", re.DOTALL)
BLOCKS = [
    pytest.param(kind, name, table, id=f"{page.name}-{kind}-{name}")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for kind, name, table in BLOCK.findall(page.read_text())
]


def rendered(kind: str, name: str) -> TextTable:
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
    header, _, *body = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
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


def test_glyphs_have_three_seeds_and_the_untrained_line() -> None:
    summaries = summarise(read_results(ROOT / "docs" / "results" / "glyphs"))
    assert all(summary.score.count >= 3 for summary in summaries if summary.steps)
    assert [summary.steps for summary in summaries].count(0) == 1


@pytest.mark.parametrize(("base", "is_better"), [("proxy_anchor", True), ("proxy_nca", True), ("soft_triple", False)])
def test_what_the_pages_say_of_nir_seed_by_seed_holds(base: str, is_better: bool) -> None:
    scores = {
        (record["recipe"], record["seed"]): record["metrics"]["mean_average_precision_at_r"]
        for record in read_results(ROOT / "docs" / "results" / "glyphs")
    }
    gains = [score - scores[base, seed] for (recipe, seed), score in scores.items() if recipe == f"nir_{base}"]
    if is_better:
        assert min(gains) > 0
    else:
        assert sum(gain < 0 for gain in gains) > len(gains) / 2
