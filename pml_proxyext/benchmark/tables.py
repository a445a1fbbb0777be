"""Tables of text, for the screen and as Markdown, and their places in pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

__all__ = ["TextTable", "insert_table"]


@dataclass(frozen=True)
class TextTable:
    """Cells and a line below that says what they show.

    Args:
        header: names of the columns.
        rows: one cell for each column.
        caption: the line below.
        words: the columns that hold words; all others hold numbers and are flush right.

    Example:
        >>> print(TextTable(["Method", "R@1"], [["SupCon", "95.2"]], "Percent.", words=("Method",)).markdown())
        | Method | R@1 |
        | :-- | --: |
        | SupCon | 95.2 |
        <BLANKLINE>
        Percent.
        <BLANKLINE>
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    words: Sequence[str]

    def markdown(self) -> str:
        """Return the table as Markdown, with the caption below."""
        rule = [":--" if name in self.words else "--:" for name in self.header]
        lines = ["| " + " | ".join(cells) + " |" for cells in (self.header, rule, *self.rows)]
        return "\n".join([*lines, "", self.caption, ""])

    def rich(self) -> Table:
        """Return the table for the screen."""
        table = Table(caption=escape(self.caption), caption_justify="left")
        for name in self.header:
            table.add_column(name, justify="left" if name in self.words else "right")
        for row in self.rows:
            table.add_row(*map(escape, row))  # brackets would be rich's markup
        return table


def insert_table(page: str, name: str, table: str, kind: str = "results") -> str:
    """Return a Markdown page with ``table`` between its lines ``<!-- kind:name -->`` and ``<!-- /kind:name -->``.

    Raises:
        ValueError: if the page does not have the two lines.

    Example:
        >>> insert_table("<!-- results:a -->\\nold\\n<!-- /results:a -->\\n", "a", "new\\n")
        '<!-- results:a -->\\nnew\\n<!-- /results:a -->\\n'
    """
    begin, end = f"<!-- {kind}:{name} -->\n", f"<!-- /{kind}:{name} -->"
    head, found_begin, rest = page.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"the page must have the lines {begin.strip()!r} and {end!r}, got none such")
    return head + begin + table + end + tail
