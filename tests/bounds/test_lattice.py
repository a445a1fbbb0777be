"""The order that relations put on losses, and a drawing in which nothing lies on anything."""

from __future__ import annotations

import runpy
from itertools import combinations, pairwise
from pathlib import Path
from types import SimpleNamespace

import networkx as nx
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.text import Text

from pml_proxyext.bounds import REGISTRY, Kind, Labels, Lattice, Side
from pml_proxyext.bounds.lattice import MAIN_FIGURE, is_plain
from pml_proxyext.bounds.lattice_figure import lattice_figure
from pml_proxyext.bounds.lattice_layout import layered_layout

toys = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "toys.py")))


def claim(low, high, change=("", ""), **arguments):
    """Return a relation between two letters."""
    sides = [Side(name, toys.norm, text) for name, text in zip((low, high), change, strict=True)]
    return toys.relation(f"{low}_{high}{''.join(change)}", *sides, **arguments)


def ids(path):
    return [relation.id.removeprefix("toy.") for relation in path]


def edges(lattice):
    return {("".join(sorted(low)), "".join(sorted(high))) for low, high in lattice.order.edges}


def test_what_follows_from_others_is_left_out():
    lattice = Lattice([claim("a", "b"), claim("b", "c"), claim("a", "c"), claim("c", "d"), claim("a", "d")])
    assert edges(lattice) == {("a", "b"), ("b", "c"), ("c", "d")}


def test_equal_losses_are_one_node():
    lattice = Lattice([claim("a", "b"), claim("b", "c", kind=Kind.EQUAL), claim("c", "d")])
    assert lattice.groups["b"] == lattice.groups["c"] == {"b", "c"}
    assert edges(lattice) == {("a", "bc"), ("bc", "d")}


def test_losses_at_most_one_another_are_equal():
    assert Lattice([claim("a", "b"), claim("b", "a")]).groups["a"] == {"a", "b"}


@pytest.mark.parametrize(
    "arguments",
    [
        {"kind": Kind.REFUTED},
        {"change": ("", "+ log 2")},
        {"change": ("+ 1", "")},
        {"labels": Labels.PAIRS, "kind": Kind.EQUAL},
        {"labels": Labels.PAIRS},
    ],
)
def test_relations_that_are_not_plain_order_nothing(arguments):
    lattice = Lattice([claim("a", "b", **arguments)])
    assert edges(lattice) == set()
    assert lattice.groups["a"] == {"a"}


def test_a_path_is_the_chain_of_relations():
    chain = [claim("a", "b"), claim("b", "c"), claim("d", "c", kind=Kind.EQUAL), claim("d", "e")]
    assert ids(Lattice(chain).path("a", "e")) == ["a_b", "b_c", "d_c", "d_e"]
    assert ids(Lattice([*chain, claim("a", "e")]).path("a", "e")) == ["a_e"]
    assert Lattice(chain).path("a", "a") == []


def test_a_path_takes_a_changed_relation_only_where_it_must():
    relations = [claim("a", "c", ("", "+ 1")), claim("a", "b"), claim("b", "c"), claim("c", "d", ("", "+ 2"))]
    assert ids(Lattice(relations).path("a", "c")) == ["a_b", "b_c"]
    assert ids(Lattice(relations).path("a", "d")) == ["a_b", "b_c", "c_d+ 2"]
    both = [claim("a", "b", ("", "+ 1")), claim("a", "b")]
    assert ids(Lattice(both).path("a", "b")) == ids(Lattice(both[::-1]).path("a", "b")) == ["a_b"]


def test_refuted_claims_lead_nowhere():
    with pytest.raises(ValueError, match=r"no relations lead from low='a' up to high='b'"):
        Lattice([claim("a", "b", kind=Kind.REFUTED)]).path("a", "b")
    with pytest.raises(ValueError, match=r"no relations lead"):
        Lattice([claim("a", "b")]).path("b", "a")


def test_unknown_losses_are_refused():
    with pytest.raises(ValueError, match=r"low must be one of .*got 'SupCom'; did you mean 'SupCon'"):
        Lattice("supcon.*").path("SupCom", "NT-Xent")


def test_the_registry_has_an_order():
    lattice = Lattice()
    assert nx.is_directed_acyclic_graph(lattice.order)
    names = {side.name for relation in REGISTRY.values() for side in (relation.lhs, relation.rhs)}
    assert set(lattice.groups) == names
    for relation in REGISTRY.values():
        if is_plain(relation) and relation.kind is not Kind.REFUTED:
            low, high = lattice.groups[relation.lhs.name], lattice.groups[relation.rhs.name]
            assert nx.has_path(lattice.order, low, high), relation.id


def test_a_chain_of_the_registry_fits_end_to_end():
    chain = Lattice().path("antipodal floor of NT-Xent", "ceiling of SupCon")
    assert len(chain) == 3
    for lower, upper in pairwise(chain):
        assert lower.rhs.name == upper.lhs.name


def test_boxes_do_not_overlap_and_columns_go_to_the_right():
    graph = nx.DiGraph([(0, 3), (1, 3), (2, 3), (0, 4), (2, 5), (3, 6), (1, 6), (4, 6), (5, 7), (0, 7)])
    sizes = {node: (1 + node % 3, 0.5 + node % 2) for node in graph}
    places, routes = layered_layout(graph, sizes, (0.3, 0.2))
    for low, high in graph.edges:
        assert places[low].x + places[low].width / 2 + 0.3 <= places[high].x - places[high].width / 2 + 1e-9
    for one, other in combinations(places.values(), 2):
        apart = abs(one.x - other.x) >= (one.width + other.width) / 2 - 1e-9
        assert apart or abs(one.y - other.y) >= (one.height + other.height) / 2 + 0.2 - 1e-9
    for points in routes.values():  # long edges keep their distance, too
        for point in points:
            in_column = [place for place in places.values() if abs(place.x - point.x) < 1e-9]
            assert all(abs(place.y - point.y) >= place.height / 2 + 0.2 - 1e-9 for place in in_column)


def test_few_edges_cross():
    """A tree can be drawn without crossings, but not in the order in which these nodes come."""
    graph = nx.DiGraph([("a3", "b3"), ("a3", "b1"), ("a3", "b2"), ("a1", "b3"), ("a1", "b0")])
    places, _ = layered_layout(graph, dict.fromkeys(graph, (1.0, 1.0)), (1.0, 1.0))
    lines = [(places[low].y, places[high].y) for low, high in graph.edges]
    assert not any((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(lines, 2))


def test_every_arrow_has_a_direction():
    """Where the last stretch of a curve has no length, matplotlib leaves out the head."""
    figure, _ = drawn(Lattice(MAIN_FIGURE))
    arrows = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) > 20
    for arrow in arrows:
        (x, y), (x2, y2) = arrow._path_original.vertices[-2:]
        assert abs(x - x2) + abs(y - y2) > 0.01


def drawn(lattice):
    figure = lattice_figure(lattice)
    figure.draw_without_rendering()
    return figure, [text for text in figure.findobj(Text) if text.get_text()]


def test_no_text_of_the_main_figure_lies_on_another_or_beyond_the_page():
    figure, texts = drawn(Lattice(MAIN_FIGURE))
    page = figure.bbox
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    assert len(boxes) > 50
    for name, box in boxes:
        assert page.x0 <= box.x0 < box.x1 <= page.x1, name
        assert page.y0 <= box.y0 < box.y1 <= page.y1, name
    overlaps = [(a, b) for (a, one), (b, other) in combinations(boxes, 2) if one.overlaps(other)]
    assert overlaps == []


def test_every_loss_of_the_relations_is_in_the_figure():
    lattice = Lattice(["supcon.*", "triplet.*"])
    _, texts = drawn(lattice)
    shown = " ".join(" ".join(text.get_text().split()) for text in texts)
    assert all(name in shown for name in lattice.groups)
    assert "claimed" in shown
    assert "≤ … + log 2" in shown


def test_a_sandwich_is_drawn_from_both_sides():
    _, texts = drawn(Lattice([claim("a", "b"), claim("b", "a", ("", "+ 1")), claim("b", "a", ("2", "3"))]))
    assert {"a", "b", "≤ … + 1", "… 2 ≤ … 3"} <= {text.get_text() for text in texts}


def test_plot_writes_files_and_takes_axes(tmp_path):
    lattice = Lattice("supcon.*")
    lattice.plot(tmp_path / "lattice.png")
    assert (tmp_path / "lattice.png").read_bytes()[:4] == b"\x89PNG"
    lattice.plot(str(tmp_path / "lattice.svg"))
    assert "<svg" in (tmp_path / "lattice.svg").read_text()
    axes = Figure().add_subplot()
    lattice.plot(axes)
    assert len(axes.patches) > 10
