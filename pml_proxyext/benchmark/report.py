"""The table of results: mean, 95% confidence interval and number of seeds of each method; and the list of recipes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table

from pml_proxyext.benchmark.evaluation import METRICS
from pml_proxyext.benchmark.recipes import RECIPES
from pml_proxyext.benchmark.summaries import METRIC_NAMES, Summary
from pml_proxyext.benchmark.tables import TextTable

__all__ = ["print_recipes", "provenance_line", "results_table"]


def results_table(summaries: Sequence[Summary]) -> TextTable:
    """Return one row for each method, in the order given.

    Data, steps, NMI and CPU time have a column where there is something to tell.
    """
    metrics = [*METRICS, *(["NMI"] if any("NMI" in summary.metrics for summary in summaries) else [])]
    several_steps = len({summary.steps for summary in summaries if summary.steps}) > 1
    several_data = len({summary.data for summary in summaries}) > 1
    with_cost = any(summary.ms_per_step is not None for summary in summaries)
    columns = {
        "Method": [summary.label for summary in summaries],
        **({"Data": [summary.data for summary in summaries]} if several_data else {}),
        **({"Steps": [str(summary.steps) for summary in summaries]} if several_steps else {}),
        **{METRIC_NAMES[name]: [str(summary.metrics.get(name, "")) for summary in summaries] for name in metrics},
        **({"ms/step": [_cost(summary) for summary in summaries]} if with_cost else {}),
        "Seeds": [str(summary.score.count) for summary in summaries],
    }
    parts = ["percent, mean ± 95% confidence interval over seeds (Student's t)"]
    parts += ["ms/step: CPU time of a training step"] if with_cost else []
    rows = list(zip(*columns.values(), strict=True))
    return TextTable(list(columns), rows, provenance_line(summaries, parts), words=("Method", "Data"))


def _cost(summary: Summary) -> str:
    return "" if summary.ms_per_step is None else f"{summary.ms_per_step:.1f}"


def provenance_line(summaries: Sequence[Summary], parts: Sequence[str]) -> str:
    """Return the line below a table: what was measured, ``parts`` on what is shown, versions, machines and commits."""
    runs = [run for summary in summaries for run in summary.runs]
    steps = sorted({summary.steps for summary in summaries if summary.steps})
    known = [run.get("environment") or run.get("versions", {}) for run in runs]
    versions = sorted({f"torch {environment['torch']}" for environment in known if "torch" in environment})
    machines = sorted({str(environment["machine"]) for environment in known if "machine" in environment})
    commits = sorted({str(run["commit"]) for run in runs if run.get("commit")})
    shown = [
        f"{' and '.join(sorted({summary.data for summary in summaries}))}, {summaries[0].split} classes",
        *([f"{' or '.join(map(str, steps))} steps"] if steps else []),
        *parts,
        *versions,
        *machines,
        *([f"commit {', '.join(commits)}" if len(commits) < 4 else f"{len(commits)} commits"] if commits else []),
    ]
    return "; ".join(shown) + "."


def print_recipes() -> None:
    """Show the names and main settings of all recipes."""
    table = Table(Column("name", no_wrap=True), "method", "loss", "compared with")
    for recipe in RECIPES.values():
        loss = recipe.loss.path.rsplit(".", 1)[1] if recipe.loss else "none"
        base = f" over {recipe.base.path.rsplit('.', 1)[1]}" if recipe.base else ""
        table.add_row(recipe.name, recipe.title, loss + base, recipe.compared_with or "")
    Console().print(table)
