"""What the figure of the lattice consists of, and where on the page it lies. Lengths are inches."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import networkx as nx

from pml_proxyext.bounds.assumptions import Labels
from pml_proxyext.bounds.lattice import Lattice, is_plain
from pml_proxyext.bounds.lattice_layout import Place, layered_layout
from pml_proxyext.bounds.relation import Kind, Relation

__all__ = ["FONT", "SMALL_FONT", "Arrow", "Part", "box_text", "lattice_parts", "shelve"]

FONT, SMALL_FONT = 8.0, 6.5
_LINE, _CHARACTER = 1.32 / 72, 0.61 / 72  # height and width of a character, for each point of the font's size
_NAME_WIDTH, _LABEL_WIDTH = 19, 20  # characters
_PADDING, _LABEL_PADDING = 0.09, 0.05
_GAPS = (0.3, 0.13)
_MARGIN = 0.25
_PAGE = 9.5  # the width of the legend at least


@dataclass(frozen=True, eq=False)  # hashed by identity: hyper-parameters cannot be
class Arrow:
    """What is drawn for a relation between two groups of equal losses."""

    relation: Relation
    low: frozenset[str]
    high: frozenset[str]
    runs_left: bool = False

    @property
    def label(self) -> str:
        """What is written on it: how the sides are changed, with dots for the losses at its ends."""
        if self.relation.kind is Kind.REFUTED:
            return "claimed"
        sign = "=" if self.relation.kind is Kind.EQUAL else "≤"
        left, right = self.relation.lhs.change, self.relation.rhs.change
        if self.relation.labels is Labels.PAIRS:
            right = "for pairs"
        elif not left and not right:
            return ""
        else:
            right = f"… {right}" if right else ""
        left = f"… {left}" if left else ""
        return "\n".join(textwrap.wrap(f"{left} {sign} {right}".strip(), _LABEL_WIDTH))

    @property
    def layout_edge(self) -> tuple[frozenset[str], frozenset[str]]:
        """The end on the left and the end on the right."""
        return (self.high, self.low) if self.runs_left else (self.low, self.high)


@dataclass(eq=False)
class Part:
    """Boxes and arrows that hang together.

    Attributes:
        places: of the boxes.
        routes: what each arrow goes through from its low to its high end.
        width: of all of it.
        height: of all of it.
        top: the least y.
        corner: where the origin of the places comes to lie on the page.
    """

    places: dict[frozenset[str], Place]
    routes: dict[Arrow, list[Place]]
    width: float
    height: float
    top: float
    corner: tuple[float, float] = (0.0, 0.0)


def lattice_parts(lattice: Lattice) -> list[Part]:
    """Return the parts of the lattice that hang together, each laid out on its own."""
    arrows = list(_arrows(lattice))
    whole = nx.DiGraph(arrow.layout_edge for arrow in arrows)
    whole.add_nodes_from(group for group in lattice.groups.values() if len(group) > 1)
    parts = nx.weakly_connected_components(whole)
    return [_layout(part, [arrow for arrow in arrows if arrow.low in part]) for part in parts]


def shelve(parts: list[Part]) -> tuple[float, float]:
    """Put each part on the first shelf that has room for it, the highest first; return the size of the page."""
    parts.sort(key=lambda part: -part.height)
    page = max([_PAGE, *(part.width + 2 * _MARGIN for part in parts)])
    shelves: list[list[float]] = []  # the right end and the top of each
    bottom = _MARGIN
    for part in parts:
        shelf = next((shelf for shelf in shelves if shelf[0] + part.width + _MARGIN <= page), None)
        if shelf is None:
            shelf = [_MARGIN, bottom]
            shelves.append(shelf)
            bottom += part.height + 2 * _MARGIN
        part.corner = (shelf[0], shelf[1] - part.top)
        shelf[0] += part.width + 3 * _MARGIN
    return page, bottom


def _arrows(lattice: Lattice) -> Iterator[Arrow]:
    """Yield the relations to draw, such that those of them that run to the right contain no circle."""
    seen = nx.DiGraph(lattice.order)
    drawn = set()
    for relation in sorted(lattice.relations, key=lambda relation: not is_plain(relation)):
        low, high = lattice.groups[relation.lhs.name], lattice.groups[relation.rhs.name]
        if relation.kind is Kind.AT_MOST and is_plain(relation):
            if lattice.order.has_edge(low, high) and (low, high) not in drawn:
                drawn.add((low, high))
                yield Arrow(relation, low, high)
        elif low != high:
            runs_left = nx.has_path(seen, high, low)
            seen.add_edge(*((high, low) if runs_left else (low, high)))
            yield Arrow(relation, low, high, runs_left)


def _layout(groups: Iterable[frozenset[str]], arrows: list[Arrow]) -> Part:
    sizes: dict[Any, tuple[float, float]] = {group: _size(box_text(group), FONT, _PADDING) for group in groups}
    graph = nx.DiGraph()
    graph.add_nodes_from(sorted(sizes, key=sorted))  # the order of a set would change from run to run
    for number, arrow in enumerate(arrows):
        start, end = arrow.layout_edge
        nx.add_path(graph, [start, number, end])
        sizes[number] = _size(arrow.label, SMALL_FONT, _LABEL_PADDING)
    places, routes = layered_layout(graph, sizes, _GAPS)
    through = {}
    for number, arrow in enumerate(arrows):
        start, end = arrow.layout_edge
        points = [*routes[start, number], places[number], *routes[number, end]]
        through[arrow] = points[::-1] if arrow.runs_left else points
    boxes = [*places.values(), *(place for route in through.values() for place in route)]
    top = min(place.y - place.height / 2 for place in boxes)
    height = max(place.y + place.height / 2 for place in boxes) - top
    width = max(place.x + place.width / 2 for place in boxes)
    boxed = {group: place for group, place in places.items() if isinstance(group, frozenset)}
    return Part(boxed, through, width, height, top)


def box_text(group: frozenset[str]) -> str:
    """Return the names of equal losses, the shortest first."""
    wrapped = [
        "\n".join(textwrap.wrap(name, _NAME_WIDTH, break_on_hyphens=False))
        for name in sorted(group, key=lambda name: (len(name), name))
    ]
    return "\n= ".join(wrapped)


def _size(text: str, font: float, padding: float) -> tuple[float, float]:
    if not text:
        return 0.0, 0.0
    lines = text.split("\n")
    width = max(map(len, lines)) * _CHARACTER * font
    return width + 2 * padding, len(lines) * _LINE * font + 2 * padding
