"""Tables of results: mean, 95% confidence interval and number of seeds of each method."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table
from scipy import stats

from pml_proxyext.benchmark.evaluation import METRICS
from pml_proxyext.benchmark.recipes import RECIPES

__all__ = [
    "Estimate",
    "Summary",
    "insert_table",
    "markdown_table",
    "print_recipes",
    "rich_table",
    "select",
    "summarise",
]

_HEADERS = {
    "precision_at_1": "R@1",
    "r_precision": "R-precision",
    "mean_average_precision_at_r": "MAP@R",
    "NMI": "NMI",
}
_RANKED_BY = "mean_average_precision_at_r"


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, with half the width of its 95% confidence interval (NaN for a single seed)."""

    mean: float
    half_width: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Estimate the mean by Student's t: scores of different seeds are taken as independent and near normal.

        Example:
            >>> print(Estimate.of([0.1, 0.2, 0.3]))
            20.0 ± 24.8
        """
        count = len(values)
        if count < 2:
            return cls(float(values[0]), math.nan, count)
        quantile = stats.t.ppf(0.975, count - 1)
        return cls(float(np.mean(values)), float(quantile * stats.sem(values)), count)

    def __str__(self) -> str:
        """Return percent, as papers do."""
        if math.isnan(self.half_width):
            return f"{100 * self.mean:.1f}"
        return f"{100 * self.mean:.1f} ± {100 * self.half_width:.1f}"


@dataclass(frozen=True)
class Summary:
    """All seeds of one method with the same settings, on the same data."""

    recipe: str
    label: str
    data: str
    split: str
    steps: int
    metrics: dict[str, Estimate]
    runs: list[dict[str, Any]]

    @property
    def score(self) -> Estimate:
        """The metric that tables and figures rank by: MAP@R."""
        return self.metrics[_RANKED_BY]


def select(
    records: Iterable[dict[str, Any]], split: str, smoke: bool = False, recipes: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Return the records of one split; the untrained line is among them whatever ``recipes`` says.

    Raises:
        ValueError: if none is left.
    """
    names = None if recipes is None else {*recipes, "pixels"}
    chosen = [
        record
        for record in records
        if record["split"] == split and record.get("smoke", False) == smoke and (not names or record["recipe"] in names)
    ]
    if not chosen:
        raise ValueError(f"there must be a finished run, got none for {split=}, {smoke=}, {recipes=}")
    return chosen


def summarise(records: Iterable[dict[str, Any]]) -> list[Summary]:
    """Gather the seeds of each method with the same settings; the best MAP@R comes first, NaN last.

    A metric that some of the seeds lack is left out. Results from before a recipe was changed stand apart.
    """
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        settings = [record[name] for name in ("recipe", "data", "split", "steps")]
        settings += [record.get("overrides", {}), record.get("settings")]
        groups[json.dumps(settings, sort_keys=True)].append(record)
    summaries = []
    for runs in groups.values():
        first = runs[0]
        common = [name for name in _HEADERS if all(name in run["metrics"] for run in runs)]
        metrics = {name: Estimate.of([run["metrics"][name] for run in runs]) for name in common}
        overrides = ", ".join(f"{key}={value}" for key, value in first.get("overrides", {}).items())
        label = first.get("title", first["recipe"]) + (f" ({overrides})" if overrides else "")
        place = (first["data"], first["split"], first["steps"])
        summaries.append(Summary(first["recipe"], label, *place, metrics, runs))
    labels = Counter((summary.label, summary.data, summary.split, summary.steps) for summary in summaries)
    for index, summary in enumerate(summaries):
        if labels[summary.label, summary.data, summary.split, summary.steps] > 1:
            mark = summary.runs[0].get("settings") or "unknown"
            summaries[index] = replace(summary, label=f"{summary.label} [settings {mark[:7]}]")
    return sorted(summaries, key=lambda summary: -float(np.nan_to_num(summary.score.mean, nan=-1.0)))


def _columns(summaries: Sequence[Summary]) -> tuple[list[str], list[list[str]]]:
    shown = [*METRICS, *(["NMI"] if any("NMI" in summary.metrics for summary in summaries) else [])]
    steps = len({summary.steps for summary in summaries if summary.steps}) > 1
    several_data = len({summary.data for summary in summaries}) > 1
    header = ["Method", *(["Data"] if several_data else []), *(["Steps"] if steps else [])]
    rows = [
        [
            summary.label,
            *([summary.data] if several_data else []),
            *([str(summary.steps)] if steps else []),
            *(str(summary.metrics.get(name, "")) for name in shown),
            str(summary.score.count),
        ]
        for summary in summaries
    ]
    return [*header, *(_HEADERS[name] for name in shown), "Seeds"], rows


def _caption(summaries: Sequence[Summary]) -> str:
    runs = [run for summary in summaries for run in summary.runs]
    steps = sorted({summary.steps for summary in summaries if summary.steps})
    versions = sorted({f"torch {run['versions']['torch']}" for run in runs if "versions" in run})
    commits = sorted({str(run["commit"]) for run in runs if run.get("commit")})
    parts = [
        f"{' and '.join(sorted({s.data for s in summaries}))}, {summaries[0].split} classes",
        *([f"{' or '.join(map(str, steps))} steps"] if steps else []),
        "percent, mean ± 95% confidence interval over seeds (Student's t)",
        *versions,
        *([f"commit {', '.join(commits)}" if len(commits) < 4 else f"{len(commits)} commits"] if commits else []),
    ]
    return "; ".join(parts) + "."


def rich_table(summaries: Sequence[Summary]) -> Table:
    """Return the table for the screen."""
    header, rows = _columns(summaries)
    table = Table(caption=_caption(summaries), caption_justify="left")
    for name in header:
        table.add_column(name, justify="left" if name in ("Method", "Data") else "right")
    for row in rows:
        table.add_row(*row)
    return table


def markdown_table(summaries: Sequence[Summary]) -> str:
    """Return the table as Markdown, with what it shows in a line below."""
    header, rows = _columns(summaries)
    rule = [":--" if name in ("Method", "Data") else "--:" for name in header]
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)]
    return "\n".join([*lines, "", _caption(summaries), ""])


def insert_table(page: str, name: str, table: str) -> str:
    """Return a Markdown page with ``table`` between its lines ``<!-- results:name -->`` and ``<!-- /results:name -->``.

    Raises:
        ValueError: if the page does not have the two lines.

    Example:
        >>> insert_table("<!-- results:a -->\\nold\\n<!-- /results:a -->\\n", "a", "new\\n")
        '<!-- results:a -->\\nnew\\n<!-- /results:a -->\\n'
    """
    begin, end = f"<!-- results:{name} -->\n", f"<!-- /results:{name} -->"
    head, found_begin, rest = page.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"the page must have the lines {begin.strip()!r} and {end!r}, got none such")
    return head + begin + table + end + tail


def print_recipes() -> None:
    """Show the names and main settings of all recipes."""
    table = Table(Column("name", no_wrap=True), "method", "loss", "images per class", "steps")
    for recipe in RECIPES.values():
        loss = recipe.loss.path.rsplit(".", 1)[1] if recipe.loss else "none"
        base = f" over {recipe.base.path.rsplit('.', 1)[1]}" if recipe.base else ""
        table.add_row(recipe.name, recipe.title, loss + base, str(recipe.images_per_class), str(recipe.steps))
    Console().print(table)
