"""The tables in README and docs are rendered from committed result files: nobody typed a number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pml_proxyext.benchmark.report import markdown_table, summarise
from pml_proxyext.benchmark.results import read_results

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"<!-- results:(\w+) -->\n(.*?)<!-- /results:\1 -->", re.DOTALL)
BLOCKS = [
    pytest.param(name, table, id=f"{page.name}-{name}")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for name, table in BLOCK.findall(page.read_text())
]


def rows(table: str) -> set[str]:
    """Return the rows of a Markdown table without its header, whose columns depend on what is shown."""
    return set([line for line in table.splitlines() if line.startswith("|")][2:])


def test_readme_and_method_pages_show_results() -> None:
    assert {"README.md-glyphs", "nir.md-glyphs", "nir.md-nir", "nivmf.md-glyphs"} <= {block.id for block in BLOCKS}


@pytest.mark.parametrize(("name", "table"), BLOCKS)
def test_every_row_is_rendered_from_the_committed_file(name: str, table: str) -> None:
    records = list(read_results(ROOT / "docs" / "results" / name))
    assert rows(table)
    assert rows(table) <= rows(markdown_table(summarise(records)))


def test_glyphs_have_three_seeds_and_the_untrained_line() -> None:
    summaries = summarise(read_results(ROOT / "docs" / "results" / "glyphs"))
    assert all(summary.score.count >= 3 for summary in summaries if summary.recipe != "pixels")
    assert [summary.recipe for summary in summaries].count("pixels") == 1


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
