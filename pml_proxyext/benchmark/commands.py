"""What the commands do; each imports what it needs, so that ``--help`` is quick."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pml_proxyext.benchmark.run import Run
    from pml_proxyext.benchmark.summaries import Summary
    from pml_proxyext.benchmark.tables import TextTable

__all__ = ["COMMANDS"]


def _list(options: Namespace) -> None:
    from pml_proxyext.benchmark.datasets import DATASETS
    from pml_proxyext.benchmark.papers import paper_recipe_names
    from pml_proxyext.benchmark.report import print_recipes

    print_recipes()
    print("data sets:", ", ".join(DATASETS))
    for data, recipes in paper_recipe_names().items():
        print(f"recipes of papers for {data}:", ", ".join(recipes))


def _prepare(options: Namespace) -> None:
    from pml_proxyext.benchmark.datasets import prepare

    print(prepare(options.data))


def _run(options: Namespace) -> None:
    from pml_proxyext.benchmark.jobs import run_all
    from pml_proxyext.benchmark.recipes import recipe_names
    from pml_proxyext.benchmark.run import Run
    from pml_proxyext.benchmark.tuning import read_settings, shipped_settings

    settings = {} if options.settings == "none" else shipped_settings(options.data)
    if options.settings not in (None, "none"):
        settings = read_settings(Path(options.settings), options.data)
    common = {"data": options.data, "split": options.split, "smoke": options.smoke}
    untrained = recipe_names(options.data)[0]
    runs = [Run(untrained, **common)]  # the line that every table needs; without training no seed matters
    runs += [
        Run(
            name,
            seed,
            steps=options.steps,
            tuned=settings.get(name, {}),
            overrides=dict(options.overrides),
            processes=options.nproc,
            **common,
        )
        for seed in options.seeds
        for name in _recipes(options)
        if name != untrained
    ]
    _check(options, runs)
    done = run_all(
        runs,
        options.results,
        options.jobs,
        options.threads,
        progress=not options.quiet,
        log=options.log,
        with_nmi=options.nmi,
    )
    print(f"{done} of {len(runs)} runs carried out, the others were finished or under way; results: {options.results}")


def _tune(options: Namespace) -> None:
    from pml_proxyext.benchmark.results import read_results
    from pml_proxyext.benchmark.run import Run
    from pml_proxyext.benchmark.search_report import search_table
    from pml_proxyext.benchmark.tuning import SETTINGS_FILE, trials, tune

    names = list(dict.fromkeys(["untrained", *_recipes(options)]))
    common = {"data": options.data, "split": "validation", "smoke": options.smoke}
    _check(options, [Run(name, overrides=trial, **common) for name in names for trial in trials(name, options.trials)])
    chosen = tune(
        names,
        options.data,
        options.trials,
        options.results,
        smoke=options.smoke,
        jobs=options.jobs,
        threads=options.threads,
        progress=not options.quiet,
    )
    records = [record for record in read_results(options.results) if record.get("smoke", False) == options.smoke]
    _show(search_table(records, chosen))
    seconds = sum(record.get("cpu_seconds", 0.0) for record in records)
    print(f"cost: {len(records)} runs, {seconds:.0f} CPU seconds; settings: {options.results / SETTINGS_FILE}")


def _recipes(options: Namespace) -> list[str]:
    from pml_proxyext.benchmark.recipes import get_recipe, recipe_names

    return [get_recipe(name).name for name in options.recipes or recipe_names(options.data)]


def _check(options: Namespace, runs: list[Run]) -> None:
    """Make an error that would come in an hour come now."""
    from pml_proxyext.benchmark.training import check_batches
    from pml_proxyext.utils.checks import check_integer

    check_integer("jobs", options.jobs)
    check_integer("threads", options.threads)
    check_integer("nproc", getattr(options, "nproc", 1))
    data = runs[0].load()
    for run in runs:
        check_batches(run.resolved_recipe(), data.train, run.processes)


def _uncertainty(options: Namespace) -> None:
    from pml_proxyext.benchmark.uncertainty import evaluate_uncertainty

    done = evaluate_uncertainty(options.results, options.recipes, options.split or "test", options.smoke)
    print(f"{done} runs asked; results: {options.results}")


def _summaries(options: Namespace) -> list[Summary]:
    from pml_proxyext.benchmark.results import read_results
    from pml_proxyext.benchmark.summaries import select, summarise

    folders = options.results if isinstance(options.results, list) else [options.results]
    for folder in folders:
        if not folder.exists():
            raise ValueError(f"results must be a directory or a file of results, got {folder}: no such thing")
    records = [record for folder in folders for record in read_results(folder)]
    return summarise(select(records, options.split or "test", options.smoke, options.recipes))


def _table(options: Namespace) -> None:
    from pml_proxyext.benchmark.tables import insert_table

    table = _TABLES[options.kind](options)
    _show(table)
    if options.markdown is not None:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(table.markdown(), encoding="utf-8")
        print(f"Markdown: {options.markdown}")
    for page in options.into:
        if not page.is_file():
            raise ValueError(f"into must name Markdown pages, got {page}: no such file")
        text = insert_table(page.read_text(encoding="utf-8"), options.results.name, table.markdown(), options.kind)
        page.write_text(text, encoding="utf-8")
        print(f"renewed: {page}")


def _show(table: TextTable) -> None:
    from rich.console import Console

    Console().print(table.rich())


def _results_table(options: Namespace) -> TextTable:
    from pml_proxyext.benchmark.report import results_table

    return results_table(_summaries(options))


def _differences_table(options: Namespace) -> TextTable:
    from pml_proxyext.benchmark.comparison import differences_table, paired_differences
    from pml_proxyext.benchmark.recipes import RECIPES

    recipes, options.recipes = options.recipes, None  # the correction is for all comparisons, shown or not
    bases = {name: recipe.compared_with for name, recipe in RECIPES.items()}
    return differences_table(paired_differences(_summaries(options), bases), recipes)


def _search_table(options: Namespace) -> TextTable:
    from pml_proxyext.benchmark.search_report import search_table
    from pml_proxyext.benchmark.tuning import SETTINGS_FILE, read_settings

    options.split = options.split or "validation"
    summaries = _summaries(options)
    chosen = read_settings(options.results / SETTINGS_FILE, summaries[0].data)
    return search_table([run for summary in summaries for run in summary.runs], chosen)


def _uncertainty_table(options: Namespace) -> TextTable:
    from pml_proxyext.benchmark.uncertainty_report import TABLES

    return TABLES[options.kind](_uncertainty_summaries(options, options.results))


def _uncertainty_summaries(options: Namespace, results: Path) -> list[Summary]:
    from pml_proxyext.benchmark.uncertainty_report import uncertainty_summaries

    return uncertainty_summaries(results, options.recipes, options.split or "test", options.smoke)


def _plot(options: Namespace) -> None:
    from pml_proxyext.benchmark.plots import write_figures
    from pml_proxyext.benchmark.uncertainty_figures import write_uncertainty_figures

    figures = options.figures or options.results[0] / "figures"
    paths = write_figures(_summaries(options), options.results, figures)
    for results in options.results:
        if (results / "uncertainty").is_dir():
            paths += write_uncertainty_figures(_uncertainty_summaries(options, results), figures)
    for path in paths:
        print(path)


_TABLES: dict[str, Callable[[Namespace], TextTable]] = {
    "results": _results_table,
    "differences": _differences_table,
    "search": _search_table,
    **dict.fromkeys(("uncertainty", "uncertainty_kinds", "uncertainty_conditions"), _uncertainty_table),
}

#: What each command does with its options.
COMMANDS: dict[str, Callable[[Namespace], None]] = {
    "list": _list,
    "prepare": _prepare,
    "run": _run,
    "tune": _tune,
    "uncertainty": _uncertainty,
    "table": _table,
    "plot": _plot,
}
