"""Where the boxes of a layered drawing lie.

The method is that of Sugiyama: layers by the longest path, long edges cut by invisible points, few crossings by
barycentres. Labels of edges are treated as boxes, so that nothing can lie on top of anything.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
from sklearn.isotonic import isotonic_regression

__all__ = ["Place", "layered_layout"]

_SWEEPS = 24


@dataclass(frozen=True)
class Place:
    """The middle and the size of a box, and the width of its column; points that edges go through have no height."""

    x: float
    y: float
    width: float
    height: float
    column: float


def layered_layout(
    graph: nx.DiGraph, sizes: Mapping[Hashable, tuple[float, float]], gaps: tuple[float, float]
) -> tuple[dict[Hashable, Place], dict[tuple[Hashable, Hashable], list[Place]]]:
    """Lay out a directed graph without circles from left to right.

    Args:
        graph: nodes in the order in which they are placed at first.
        sizes: width and height of each node.
        gaps: between columns and between rows.

    Returns:
        the place of each node, and the points that each edge goes through between its ends.
    """
    layers = _layers(graph)
    chains = {edge: _chain(edge, layers) for edge in graph.edges}
    cut = nx.DiGraph()
    cut.add_nodes_from(graph)
    for chain in chains.values():
        nx.add_path(cut, chain)
    columns = _columns(cut, {**layers, **{node: node[2] for chain in chains.values() for node in chain[1:-1]}})
    measures = {node: sizes.get(node, (0.0, 0.0)) for node in cut}
    widths = {node: max(measures[other][0] for other in column) for column in columns for node in column}
    xs = _horizontal(columns, measures, gaps[0])
    ys = _vertical(cut, columns, measures, gaps[1])
    places = {node: Place(xs[node], ys[node], *measures[node], widths[node]) for node in cut}
    return {node: places[node] for node in graph}, {
        edge: [places[node] for node in chain[1:-1]] for edge, chain in chains.items()
    }


def _layers(graph: nx.DiGraph) -> dict[Hashable, int]:
    """Return the length of the longest path to each node, but let no node lie far from the many that follow it."""
    layers: dict[Hashable, int] = {}
    for node in nx.topological_sort(graph):
        layers[node] = max((layers[before] + 1 for before in graph.predecessors(node)), default=0)
    for node in reversed(list(nx.topological_sort(graph))):
        later = [layers[after] - 1 for after in graph.successors(node)]
        if later and graph.out_degree(node) >= graph.in_degree(node):
            layers[node] = min(later)
    lowest = min(layers.values())
    return {node: layer - lowest for node, layer in layers.items()}


def _chain(edge: tuple[Hashable, Hashable], layers: Mapping[Hashable, int]) -> list[Any]:
    """Return the ends of an edge with an invisible point in each layer between them."""
    low, high = edge
    return [low, *((low, high, layer) for layer in range(layers[low] + 1, layers[high])), high]


def _columns(graph: nx.DiGraph, layers: Mapping[Hashable, int]) -> list[list[Hashable]]:
    """Return the nodes of each layer in an order with few crossings."""
    columns: list[list[Hashable]] = [[] for _ in range(max(layers.values()) + 1)]
    for node in nx.dfs_preorder_nodes(graph.to_undirected()):
        columns[layers[node]].append(node)
    best, fewest = [list(column) for column in columns], _crossings(graph, columns)
    for sweep in range(_SWEEPS):
        forwards = sweep % 2 == 0
        for column, fixed in _steps(columns, forwards):
            rank = {node: place for place, node in enumerate(fixed)}
            neighbours = graph.predecessors if forwards else graph.successors
            here = {node: place for place, node in enumerate(column)}

            def barycentre(node: Hashable, rank: Any = rank, neighbours: Any = neighbours, here: Any = here) -> float:
                ranks = [rank[other] for other in neighbours(node)]
                return float(np.mean(ranks)) if ranks else here[node]

            column.sort(key=barycentre)
        if (crossings := _crossings(graph, columns)) < fewest:
            best, fewest = [list(column) for column in columns], crossings
    return best


def _steps(columns: list[list[Hashable]], forwards: bool) -> list[tuple[list[Hashable], list[Hashable]]]:
    """Return each column with the one next to it that it is ordered by."""
    ordered = columns if forwards else columns[::-1]
    return list(zip(ordered[1:], ordered, strict=False))


def _crossings(graph: nx.DiGraph, columns: Sequence[Sequence[Hashable]]) -> int:
    crossings = 0
    for left, right in pairwise(columns):
        rank = {node: place for place, node in enumerate(right)}
        ends = [sorted(rank[after] for after in graph.successors(node)) for node in left]
        flat = [(start, end) for start, row in enumerate(ends) for end in row]
        crossings += sum(a < c and b > d for a, b in flat for c, d in flat)
    return crossings


def _horizontal(
    columns: Sequence[Sequence[Hashable]], sizes: Mapping[Hashable, tuple[float, float]], gap: float
) -> dict[Hashable, float]:
    xs: dict[Hashable, float] = {}
    left = 0.0
    for column in columns:
        width = max(sizes[node][0] for node in column)
        xs |= dict.fromkeys(column, left + width / 2)
        left += width + gap
    return xs


def _vertical(
    graph: nx.DiGraph,
    columns: Sequence[Sequence[Hashable]],
    sizes: Mapping[Hashable, tuple[float, float]],
    gap: float,
) -> dict[Hashable, float]:
    """Return heights at which each node is as near to its neighbours as its column's order and the gaps allow."""
    offsets = {}
    for column in columns:
        heights = np.array([sizes[node][1] for node in column])
        steps = (heights[1:] + heights[:-1]) / 2 + gap
        offsets[id(column)] = np.concatenate([[0.0], np.cumsum(steps)])
    ys = {node: float(y) for column in columns for node, y in zip(column, offsets[id(column)], strict=True)}
    for sweep in range(_SWEEPS):
        for column in columns if sweep % 2 == 0 else columns[::-1]:
            wanted = [_mean_height(graph, node, ys) for node in column]
            # Least squares with at least the gap between neighbours: a monotone fit once the gaps are taken off.
            placed = isotonic_regression(np.array(wanted) - offsets[id(column)]) + offsets[id(column)]
            ys |= {node: float(y) for node, y in zip(column, placed, strict=True)}
    return ys


def _mean_height(graph: nx.DiGraph, node: Hashable, ys: Mapping[Hashable, float]) -> float:
    neighbours = [ys[other] for other in (*graph.predecessors(node), *graph.successors(node))]
    return float(np.mean(neighbours)) if neighbours else ys[node]
