"""The order that the relations put on losses."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import networkx as nx

from pml_proxyext.bounds.assumptions import Labels
from pml_proxyext.bounds.checking import Selection, chosen
from pml_proxyext.bounds.relation import Kind, Relation
from pml_proxyext.utils.checks import check_choice

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MAIN_FIGURE", "Lattice", "is_plain"]

MAIN_FIGURE = (
    "boudiaf.pce_claim",
    "boudiaf.spce_l2",
    "graf.*",
    "supcon.*",
    "nca.*",
    "ntxent.*",
    "unif.*dcl*",
    "triplet.*",
    "ms.*",
    "circle.*sharp",
    "circle.ge_*",
    "tuplet.*",
    "lifted.*",
    "proxynca.eq_*",
    "proxynca.softplus_*",
    "proxynca.triplet_hinge",
    "softtriple.eq_*",
    "proxyanchor.*",
    "margin.*",
)
"""What the figure of the documentation shows: relations between losses, and their floors and ceilings."""

_DETOUR = 100  # a chain is rather this many plain relations longer than it has a relation that is not plain


class Lattice:
    r"""Losses ordered by what is at most what.

    A node is a name of a side. Equal losses are one group of names, refuted claims order nothing, and what follows from
    other relations is left out of :attr:`order`. All that is about batches that fulfil the assumptions of all
    relations on the way: balanced ones, mostly. A name stands for a loss at whatever hyper-parameters: at which ones
    two relations of a chain fit one another, their statements say.

    Args:
        relations: patterns of ids, or relations; None for all.

    Attributes:
        relations: those that are drawn.
        groups: from each name to all names of losses that are equal to it, its own among them.
        order: a :class:`networkx.DiGraph` of groups, transitively reduced, with an edge from the smaller one to the
            larger one; relations that need pairs, or change a side, are not in it.

    Raises:
        ValueError: if a pattern fits no relation.

    Example:
        >>> [relation.id for relation in Lattice().path("decoupled NT-Xent", "SupCon")]
        ['unif.dcl_le_ntxent', 'supcon.ge_ntxent']
    """

    def __init__(self, relations: Selection | None = None) -> None:
        self.relations = chosen(relations)
        plain = self._graph(relation for relation in self.relations if is_plain(relation))
        # Two losses that are at most one another are equal, whether a relation says so or not.
        equal = nx.condensation(plain)
        members = {number: frozenset(data["members"]) for number, data in equal.nodes(data=True)}
        self.groups: dict[str, frozenset[str]] = {name: group for group in members.values() for name in group}
        self.order = nx.relabel_nodes(nx.transitive_reduction(equal), members)

    def path(self, low: str, high: str) -> list[Relation]:
        """Return the shortest chain of relations from one loss up to another, in the order in which they are applied.

        Relations that change a side (``"+ log 2"``) or need a batch of pairs are taken only where there is no chain
        without them.

        Args:
            low: a name of a side.
            high: another.

        Raises:
            ValueError: if a name is unknown, or no chain leads from ``low`` to ``high``.
        """
        graph = self._graph(self.relations)
        for argument, name in (("low", low), ("high", high)):
            check_choice(argument, name, sorted(graph))
        try:
            names = nx.shortest_path(graph, low, high, weight="weight")
        except nx.NetworkXNoPath:
            raise ValueError(f"no relations lead from low={low!r} up to high={high!r}") from None
        return [graph.edges[edge]["relation"] for edge in pairwise(names)]

    def plot(self, target: str | Path | Axes) -> None:
        """Draw the lattice, smaller losses on the left, into a file of any type matplotlib writes, or into axes."""
        from pml_proxyext.bounds.lattice_figure import draw_lattice, lattice_figure

        if isinstance(target, str | Path):
            lattice_figure(self).savefig(target)
        else:
            draw_lattice(self, target)

    def _graph(self, relations: Iterable[Relation]) -> nx.DiGraph:
        """Return the names, with the best relation between each two as an edge from the smaller to the larger one."""
        graph = nx.DiGraph()
        graph.add_nodes_from(side.name for relation in self.relations for side in (relation.lhs, relation.rhs))
        for relation in relations:
            ends = (relation.lhs.name, relation.rhs.name)
            weight = 1 if is_plain(relation) else _DETOUR
            directions = {Kind.AT_MOST: [ends], Kind.EQUAL: [ends, ends[::-1]], Kind.REFUTED: []}[relation.kind]
            for low, high in directions:
                if low != high and weight < graph.get_edge_data(low, high, {"weight": _DETOUR + 1})["weight"]:
                    graph.add_edge(low, high, relation=relation, weight=weight)
        return graph


def is_plain(relation: Relation) -> bool:
    """Return whether a relation is about its two losses as they are, and not on batches of pairs only."""
    return not relation.lhs.change and not relation.rhs.change and relation.labels is not Labels.PAIRS
