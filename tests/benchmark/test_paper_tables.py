import os
from pathlib import Path

import pytest

from pml_proxyext.benchmark.datasets.photographs import load_inshop, load_photographs
from pml_proxyext.benchmark.datasets.tiny_trees import TINY_TREES, make_tiny_tree
from pml_proxyext.benchmark.paper_tables import comparison_table, main
from pml_proxyext.benchmark.papers import PAPER_RECIPES
from pml_proxyext.benchmark.published import PUBLISHED, published, published_table


def record(recipe, seed, *recalls):
    """A finished run with two evaluations, of which the first is the better one."""
    last = dict(zip(("recall_at_1", "recall_at_2"), recalls, strict=True), precision_at_1=recalls[0])
    first = {name: value + 0.1 for name, value in last.items()}
    return {
        "recipe": recipe,
        "seed": seed,
        "title": f"title of {recipe}",
        "data": "cub200",
        "metrics": last,
        "curve": [[1, first], [2, last]],
    }


def test_comparison_table_has_published_rows_beside_the_last_and_the_best_epoch():
    records = [record("nir_cub200_512", 0, 0.5, 0.6), record("nir_cub200_512", 1, 0.54, 0.64)]
    table = comparison_table([*records, record("nir_cub200_128", 0, 0.4, 0.5)])
    assert list(table.header) == ["Method", "Row", "R@1", "R@2", "Seeds", "Known from"]
    title, other = "title of nir_cub200_512", "title of nir_cub200_128"
    (known,) = published("nir_cub200_512")
    # The t quantile for two seeds, 12.7, times a standard error of 0.02.
    assert [list(row) for row in table.rows] == [
        [title, "published", "69.1", "79.6", "", known.known_from],
        [title, "last epoch", "52.0 ± 25.4", "62.0 ± 25.4", "2", "measured"],
        [title, "best epoch", "62.0 ± 25.4", "72.0 ± 25.4", "2", "measured"],
        [other, "last epoch", "40.0", "50.0", "1", "measured"],
        [other, "best epoch", "50.0", "60.0", "1", "measured"],
    ]
    assert "optimistic" in table.caption


def test_published_numbers_say_where_they_are_from_and_fit_their_recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("PML_PROXYEXT_DATA", str(tmp_path))
    ks = {}
    for name in TINY_TREES:
        make_tiny_tree(name, tmp_path)
        ks[name] = (load_inshop() if name == "inshop" else load_photographs(name)).recall_at
    for row in PUBLISHED:
        recipe = PAPER_RECIPES[row.recipe]
        assert row.known_from
        assert tuple(row.recall) == ks[recipe.data][: len(row.recall)]
        values = list(row.recall.values())
        assert values == sorted(values)
        assert all(50 < value < 100 for value in values)


def test_main_unknown_recipe_is_an_error(capsys):
    with pytest.raises(SystemExit):
        main("Do this.\n\nAnd that.", ["abe_cub200"], ["--recipes", "abe_cub20"])
    assert "invalid choice: 'abe_cub20'" in capsys.readouterr().err


def test_main_runs_from_a_root_and_does_not_repeat_itself(tmp_path, monkeypatch, capsys, torchvision):
    monkeypatch.setenv("PML_PROXYEXT_DATA", "set by main, and restored after the test")
    make_tiny_tree("cub200", tmp_path / "data")
    make_tiny_tree("inshop", tmp_path / "data")
    calls = []
    monkeypatch.setattr(
        "pml_proxyext.benchmark.paper_tables.run_all", lambda runs, results, threads: calls.append((runs, results))
    )
    monkeypatch.setattr("pml_proxyext.benchmark.paper_tables.read_results", lambda path: [])
    monkeypatch.setattr("pml_proxyext.benchmark.paper_tables.comparison_table", lambda records: pytest.fail("no runs"))
    with pytest.raises(pytest.fail.Exception):
        main("", ["abe_cub200", "abe_inshop"], ["--root", str(tmp_path / "data"), "--seeds", "2"])
    ((runs, results),) = calls
    assert [(run.recipe, run.seed, run.data) for run in runs] == [
        ("abe_cub200", 0, "cub200"),
        ("abe_inshop", 0, "inshop"),
        ("abe_cub200", 1, "cub200"),
        ("abe_inshop", 1, "inshop"),
    ]
    assert results == Path("results/papers")
    assert os.environ["PML_PROXYEXT_DATA"] == str(tmp_path / "data")


def test_the_page_shows_all_published_numbers():
    page = (Path(__file__).parents[2] / "docs" / "papers.md").read_text()
    assert f"<!-- published:papers -->\n{published_table().markdown()}<!-- /published:papers -->" in page
    assert published_table().markdown().count("\n| ") == len(PUBLISHED) + 1  # and the rule below the header
