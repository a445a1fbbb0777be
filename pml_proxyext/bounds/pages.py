"""The registry as pages of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pml_proxyext.bounds.assumptions import Labels
from pml_proxyext.bounds.checking import check
from pml_proxyext.bounds.lattice import MAIN_FIGURE, Lattice
from pml_proxyext.bounds.registry import REGISTRY
from pml_proxyext.bounds.relation import Kind, Relation, Scope

__all__ = ["relation_markdown", "write_pages"]

_NEEDS = {
    Labels.ANY: "two classes or more, one of them with two samples or more",
    Labels.BALANCED: "classes with equally many samples, two or more",
    Labels.PAIRS: "classes with two samples each",
    Labels.PROXY_ANY: "two proxies or more, any labels",
    Labels.PROXY_BALANCED: "every proxy's class equally often in the batch",
}
_MARKUP = r"([\\`*_\[\]<>$#{}~^])"
_MARK = "% Written from the registry of relations.\n\n"
_SYMBOLS = {Kind.AT_MOST: "at most", Kind.EQUAL: "equal", Kind.REFUTED: "**refuted**"}


def write_pages(folder: Path) -> list[Path]:
    """Write the registry as MyST Markdown, and the figure of the lattice, and return the files.

    There is one page for each family, ``relations.md`` with a table of all, and two tables to include elsewhere:
    ``_families.md`` and ``_refuted.md``. A file that would not change is left alone, so that a build of the
    documentation can reuse what it knows of it; pages that were written for a family which is no more are removed.

    Args:
        folder: where to write; made if it is not there.
    """
    slugs = {title: _slug(title) for title in REGISTRY.families}
    texts = {f"{slugs[title]}.md": _family(title, relations) for title, relations in REGISTRY.families.items()}
    texts["relations.md"] = _overview(slugs.values())
    texts["_families.md"] = _table(("family", "relations", "tight", "refuted"), _family_rows(slugs))
    texts["_refuted.md"] = _table(("claim", "left side", "right side", "why it fails"), _refuted_rows())
    folder.mkdir(parents=True, exist_ok=True)
    for old in set(folder.glob("*.md")) - {folder / name for name in texts}:
        if old.read_text().startswith(_MARK):  # of a family that has another name now
            old.unlink()
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text() != _MARK + text:
            path.write_text(_MARK + text)
    Lattice(MAIN_FIGURE).plot(folder / "lattice.svg")
    return [folder / name for name in (*texts, "lattice.svg")]


def relation_markdown(relation: Relation) -> str:
    """Return the section of a relation."""
    return "\n".join([_target(relation), f"## `{relation.id}`", "", *_body(relation), ""])


def _body(relation: Relation) -> Iterator[str]:
    yield f"{_prose(relation.title)}."
    yield f"\n$$\n{relation.statement}\n$$\n"
    if relation.kind is Kind.REFUTED:
        yield f"- **Refuted**: {_prose(relation.proof)}. {_counterexample(relation)}"
    else:
        yield f"- Proof: {_prose(relation.proof)}."
    yield f"- Source: {_prose(relation.source)}."
    assumptions = f"; {_prose(relation.assumptions)}" if relation.assumptions else ""
    yield f"- Needs: {_NEEDS[relation.labels]}{assumptions}."
    if relation.hyper:
        ranges = (f"`{name}` = {h.default:g} in [{h.low:g}, {h.high:g}]" for name, h in relation.hyper.items())
        yield f"- Hyper-parameters, with their defaults and ranges: {', '.join(ranges)}."
    if relation.kind is not Kind.REFUTED:
        yield f"- {_tightness(relation)}"
    if relation.scope is not Scope.BATCH:
        yield f"- Holds {relation.scope.value}: both sides are exact sums over the distribution that a batch defines."
    if relation.nan_because:
        yield f"- PML returns NaN on some batches: {_prose(relation.nan_because)}."


def _counterexample(relation: Relation) -> str:
    lhs, rhs = _witness_sides(relation)
    return f"On the stored counterexample the left side is {lhs} and the right side {rhs}."


def _tightness(relation: Relation) -> str:
    if relation.witness is None:
        return "Not known to be tight."
    lhs, _ = _witness_sides(relation)
    constant = _prose(relation.constant)
    return (
        f"Tight: both sides are {lhs} on a stored batch. The tests change {constant} by one per cent and see it fail."
    )


def _witness_sides(relation: Relation) -> tuple[str, str]:
    """Return both sides on the witness, computed now."""
    assert relation.witness is not None
    finding = check(relation.witness(), relation)[relation.id]
    return f"{finding.lhs:.6g}", f"{finding.rhs:.6g}"


def _family(title: str, relations: Iterable[Relation]) -> str:
    return "\n".join([f"# {title}", "", *map(relation_markdown, relations)])


def _overview(slugs: Iterable[str]) -> str:
    rows = (
        (_link(relation.id), _prose(relation.title), _SYMBOLS[relation.kind], "yes" if relation.is_tight else "")
        for relation in REGISTRY.values()
    )
    contents = "\n".join(["```{toctree}", ":hidden:", "", *slugs, "```"])
    return f"# All relations\n\n{_table(('relation', 'in words', 'kind', 'tight'), rows)}\n{contents}\n"


def _family_rows(slugs: dict[str, str]) -> Iterator[tuple[str, ...]]:
    for title, relations in REGISTRY.families.items():
        counts = (len(relations), sum(r.is_tight for r in relations), sum(r.kind is Kind.REFUTED for r in relations))
        yield f"{{doc}}`{title} </bounds/{slugs[title]}>`", *map(str, counts)
    tight = sum(relation.is_tight for relation in REGISTRY.values())
    refuted = sum(relation.kind is Kind.REFUTED for relation in REGISTRY.values())
    yield "**all**", str(len(REGISTRY)), str(tight), str(refuted)


def _refuted_rows() -> Iterator[tuple[str, ...]]:
    for relation in REGISTRY.values():
        if relation.kind is Kind.REFUTED:
            claim = f"{_link(relation.id)}: {_prose(relation.title)}"
            yield claim, *_witness_sides(relation), _prose(relation.proof)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _prose(text: str) -> str:
    """Return plain words as Markdown: nothing in them is markup, and names of relations are links."""
    pieces = re.split(r"([a-z]+\.[a-z\d_]+)", text.strip().rstrip("."))
    return "".join(_link(piece) if piece in REGISTRY else re.sub(_MARKUP, r"\\\1", piece) for piece in pieces)


def _link(name: str) -> str:
    return f"[`{name}`](#{_anchor(name)})"


def _target(relation: Relation) -> str:
    return f"({_anchor(relation.id)})="


def _anchor(name: str) -> str:
    return "bound-" + re.sub(r"[._]", "-", name)


def _slug(title: str) -> str:
    return re.sub(r"\W+", "_", title.lower().replace("'", "")).strip("_")
