"""The code that the README and the documentation show runs, and their links lead somewhere."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w+-]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```\s*$", re.DOTALL | re.MULTILINE
)
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)[^)]*\)")


def relative(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def fences(page: Path) -> list[re.Match[str]]:
    return list(FENCE.finditer(page.read_text()))


def python_blocks(page: Path) -> list[str]:
    """Return the page's Python blocks, each moved down to its own lines so that a traceback names the right one."""
    found = [match for match in fences(page) if match["language"] == "python"]
    return ["\n" * page.read_text().count("\n", 0, match.start("code")) + match["code"] for match in found]


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=relative)
def test_python_blocks_run_in_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = ModuleType("__main__")  # a real one, in which pickle and torch.compile find what the page defines
    monkeypatch.setitem(sys.modules, "__main__", module)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for block in python_blocks(page):
            exec(compile(block, str(page), "exec"), module.__dict__)


def test_readme_shows_code() -> None:
    assert python_blocks(ROOT / "README.md")


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_no_code_hides_behind_another_name(page: Path) -> None:
    """Blocks in a spelling of Python that the test above does not run would never be tried."""
    hidden = [
        match["language"] for match in fences(page) if re.fullmatch("py|py3|python3|pycon|Python", match["language"])
    ]
    assert not hidden, f"call these blocks python so that they are run: {hidden}"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_relative_links_lead_to_files(page: Path) -> None:
    """Links between pages may leave out the ending, and the API pages are made when the docs are built."""
    prose = FENCE.sub("", page.read_text())
    missing = [
        link
        for link in LINK.findall(prose)
        if not (page.parent / link).exists()
        and not (page.parent / f"{link}.md").exists()
        and not (link.startswith("api/") and (ROOT / "pml_proxyext" / Path(link).stem).is_dir())
    ]
    assert not missing
