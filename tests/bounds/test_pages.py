"""The pages of the documentation hold the whole registry, and Markdown that says what the words say."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from markdown_it import MarkdownIt

from pml_proxyext.bounds import REGISTRY, Hyper, Kind
from pml_proxyext.bounds.pages import relation_markdown, write_pages
from pml_proxyext.bounds.witnesses import simplex

toys = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "toys.py")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs") / "bounds"
    assert all(path.exists() for path in write_pages(folder))
    return folder


def families(folder):
    return [path.read_text() for path in folder.glob("*.md") if path.name[0] != "_" and path.stem != "relations"]


def table_rows(path):
    return [line for line in path.read_text().splitlines() if line.startswith("|")][2:]


def test_every_relation_has_a_section_and_a_row(folder):
    sections = "\n".join(families(folder))
    overview = (folder / "relations.md").read_text()
    for name, relation in REGISTRY.items():
        assert sections.count(f"\n## `{name}`\n") == 1
        assert f"\n$$\n{relation.statement}\n$$\n" in sections
        assert f"| [`{name}`](#bound-" in overview
    assert len(families(folder)) == len(REGISTRY.families)


def test_links_lead_to_sections(folder):
    texts = [path.read_text() for path in folder.glob("*.md")]
    targets = re.findall(r"^\((.*)\)=$", "\n".join(texts), re.MULTILINE)
    links = {link for text in texts for link in re.findall(r"\]\(#([^)]*)\)", text)}
    assert len(targets) == len(set(targets)) == len(REGISTRY)
    assert links == set(targets)


def test_pages_of_families_are_in_the_contents(folder):
    contents = re.search(r"```{toctree}\n:hidden:\n\n(.*?)\n```", (folder / "relations.md").read_text(), re.DOTALL)
    assert contents is not None
    pages = {path.stem for path in folder.glob("*.md") if path.name[0] != "_"} - {"relations"}
    assert set(contents[1].split("\n")) == pages


def test_counterexamples_are_computed(folder):
    rows = table_rows(folder / "_refuted.md")
    refuted = [relation for relation in REGISTRY.values() if relation.kind is Kind.REFUTED]
    assert len(rows) == len(refuted)
    for row, relation in zip(rows, refuted, strict=True):
        lhs, rhs = (float(cell) for cell in row.replace("\\|", "").split("|")[2:4])
        evaluation = relation.evaluate(relation.witness())
        assert (lhs, rhs) == pytest.approx((evaluation.lhs, evaluation.rhs), rel=1e-5)
        assert lhs > rhs


def test_families_are_counted(folder):
    rows = [row.split("|")[2:5] for row in table_rows(folder / "_families.md")]
    numbers = [[int(cell) for cell in row] for row in rows]
    assert numbers[-1] == [sum(column) for column in zip(*numbers[:-1], strict=True)]
    assert numbers[-1][0] == len(REGISTRY)


def test_unchanged_pages_keep_their_time(folder):
    page = folder / "relations.md"
    other = folder / "_families.md"
    other.write_text("old")
    (folder / "gone.md").write_text(page.read_text())  # as of a family that has been renamed
    (folder / "notes.md").write_text("not ours to remove")
    before = page.stat().st_mtime_ns
    write_pages(folder)
    assert page.stat().st_mtime_ns == before
    assert other.read_text() != "old"
    assert not (folder / "gone.md").exists()
    (folder / "notes.md").unlink()


def test_words_are_not_markup():
    words = "if [x]_+ <= *y* and a_1 < b_1 then $z$ and `w`, as in supcon.ge_nca and e.g. not.ge_nca"
    relation = toys.relation("words", proof=words)
    html = MarkdownIt().render(relation_markdown(relation))
    plain = re.sub(r"<[^>]*>", "", html.replace("&lt;", "\0")).replace("\0", "<")
    assert f"Proof: {words}." in plain
    assert html.count('href="#bound-supcon-ge-nca"') == 1
    assert html.count("href") == 1


def test_a_section_says_everything():
    relation = toys.relation(
        "full",
        hyper={"temperature": Hyper(0.1, 0.05, 5.0)},
        assumptions="a classifier without bias",
        witness=lambda: simplex(3, 2, temperature=0.5),
        constant="the factor m / 2",
        nan_because="it divides by zero",
    )
    text = relation_markdown(relation)
    for part in (
        "- Proof: none.",
        "- Source: a test.",
        "two classes or more, one of them with two samples or more; a classifier without bias.",
        "`temperature` = 0.1 in [0.05, 5].",
        "Tight: both sides are 0.333333 on a stored batch. The tests change the factor m / 2 by",  # 1 / embedding size
        "NaN on some batches: it divides by zero.",
    ):
        assert part in text
    assert "Not known to be tight" in relation_markdown(toys.HOLDS)
