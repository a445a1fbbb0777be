"""What every test of committed experiments asks: pages show what the files say, and the files are of one piece."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from pml_proxyext.benchmark.experiments import Experiment
from pml_proxyext.benchmark.results import read_results

__all__ = ["assert_complete", "assert_page_shows", "assert_tables_are_rendered", "load_example", "records"]

_ROOT = Path(__file__).parents[1]
_DOCS = _ROOT / "docs"
_BLOCK = re.compile(r"<!-- experiment:(\w+) -->\n(.*?)<!-- /experiment:\1 -->", re.DOTALL)


def load_example(name: str) -> ModuleType:
    """Return a script of the folder ``examples`` as a module."""
    spec = importlib.util.spec_from_file_location(name, _ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def records(name: str) -> list[dict[str, Any]]:
    """Return the committed lines of an experiment."""
    return read_results(_DOCS / "results" / name)


def assert_page_shows(page: str, experiments: Sequence[Experiment], figures: Sequence[str]) -> None:
    """Every table is once on a page of the folder ``docs``, none is left over, and the figures are there."""
    text = (_DOCS / page).read_text()
    shown = [name for name, _ in _BLOCK.findall(text)]
    assert sorted(shown) == sorted(name for experiment in experiments for name in experiment.tables)
    for figure in figures:
        assert f"](figures/{figure}.png)" in text
        assert (_DOCS / "figures" / f"{figure}.png").is_file()


def assert_tables_are_rendered(page: str, experiment: Experiment, scratch: Path) -> None:
    """The tables of a page are those that the script makes of the committed lines, to the letter."""
    text, renewed = (_DOCS / page).read_text(), scratch / "page.md"
    renewed.write_text(_BLOCK.sub(r"<!-- experiment:\1 -->\nold\n<!-- /experiment:\1 -->", text))
    results = _DOCS / "results" / experiment.name
    experiment.main("What.", ["--table", "--results", str(results), "--into", str(renewed)])
    rendered, committed = (dict(_BLOCK.findall(text)) for text in (renewed.read_text(), text))
    assert {name: rendered[name] for name in experiment.tables} == {name: committed[name] for name in experiment.tables}


def assert_complete(experiment: Experiment) -> None:
    """Every setting has one line, all from one environment and one commit without changes of its own."""
    found = records(experiment.name)
    names = ["recipe", "seed"]
    assert sorted([r[n] for n in names] for r in found) == sorted([s[n] for n in names] for s in experiment.settings)
    assert len({record["key"] for record in found}) == len(found)
    assert len({str(record["environment"]) for record in found}) == 1
    (commit,) = {record["commit"] for record in found}
    assert not commit.endswith("+")
