import io

import pytest
from rich.console import Console

from pml_proxyext.benchmark.tables import TextTable, insert_table

TABLE = TextTable(
    ["Method", "R@1"], [["SupCon [torch 2.14.0]", "95.2 ± 0.3"], ["ArcFace", "nan"]], "Below [a tag].", ["Method"]
)


def test_markdown_has_words_left_and_numbers_right():
    assert TABLE.markdown().splitlines() == [
        "| Method | R@1 |",
        "| :-- | --: |",
        "| SupCon [torch 2.14.0] | 95.2 ± 0.3 |",
        "| ArcFace | nan |",
        "",
        "Below [a tag].",
    ]
    assert TABLE.markdown().endswith("Below [a tag].\n")


def test_the_screen_shows_the_same_cells_brackets_too():
    screen = io.StringIO()
    Console(width=100, file=screen).print(TABLE.rich())
    shown = screen.getvalue()
    assert all(cell in shown for row in (TABLE.header, *TABLE.rows, [TABLE.caption]) for cell in row)


@pytest.mark.parametrize("kind", ["results", "differences"])
def test_insert_table_replaces_what_stands_between_its_own_markers(kind):
    page = "".join(f"before\n<!-- {k}:a -->\nold\n<!-- /{k}:a -->\nafter\n" for k in ("results", "differences"))
    renewed = insert_table(page, "a", "new\n", kind)
    assert renewed == page.replace(f"<!-- {kind}:a -->\nold", f"<!-- {kind}:a -->\nnew")
    assert insert_table(renewed, "a", "new\n", kind) == renewed


def test_insert_table_is_for_results_unless_told():
    page = "<!-- results:a -->\n<!-- /results:a -->"
    assert insert_table(page, "a", "new\n") == "<!-- results:a -->\nnew\n<!-- /results:a -->"


@pytest.mark.parametrize("page", ["", "<!-- results:b -->\n<!-- /results:b -->", "<!-- results:a -->\nnever closed"])
def test_insert_table_needs_both_markers(page):
    with pytest.raises(ValueError, match="the page must have the lines '<!-- results:a -->'"):
        insert_table(page, "a", "new\n")
