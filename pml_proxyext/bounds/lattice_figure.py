"""The figure of the lattice, in matplotlib alone. Lengths are inches."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path

from pml_proxyext.bounds.lattice import Lattice, is_plain
from pml_proxyext.bounds.lattice_layout import Place
from pml_proxyext.bounds.lattice_parts import FONT, SMALL_FONT, Arrow, box_text, lattice_parts, shelve
from pml_proxyext.bounds.relation import Kind

__all__ = ["draw_lattice", "lattice_figure"]

_LINE_WIDTH, _DASHES = 1.1, (0, (4, 2))
_INK, _QUIET, _REFUTED = "#22313f", "#6b7a89", "#D55E00"
_LOSS, _EXTREME = ("#dcebf7", "#0072B2"), ("#f1f1f1", "#9aa5b1")  # face and edge


def lattice_figure(lattice: Lattice) -> Figure:
    """Return a figure of the lattice that is as large as it needs to be."""
    figure = Figure(dpi=150, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    draw_lattice(lattice, axes)
    figure.set_size_inches(axes.get_xlim()[1], axes.get_ylim()[0])
    return figure


def draw_lattice(lattice: Lattice, axes: Axes) -> None:
    """Draw the lattice into axes: every part of it that hangs together on its own, the highest on top."""
    parts = lattice_parts(lattice)
    width, height = shelve(parts)
    for part in parts:
        for arrow, route in part.routes.items():
            _draw_arrow(axes, arrow, [part.places[arrow.low], *route, part.places[arrow.high]], part.corner)
        for group, place in part.places.items():
            _draw_box(axes, group, place, part.corner)
    _legend(axes)
    axes.set(xlim=(0, width), ylim=(height + 0.4, 0), aspect="equal")
    axes.axis("off")


def _draw_box(axes: Axes, group: frozenset[str], place: Place, shift: tuple[float, float]) -> None:
    x, y = place.x + shift[0], place.y + shift[1]
    is_extreme = all("floor" in name or "ceiling" in name for name in group)
    face, edge = _EXTREME if is_extreme else _LOSS
    corner = (x - place.width / 2 + 0.05, y - place.height / 2 + 0.05)
    style = f"round,pad=0.05,rounding_size={0.02 if is_extreme else 0.1}"
    box = FancyBboxPatch(corner, place.width - 0.1, place.height - 0.1, style, fc=face, ec=edge, lw=0.9, zorder=3)
    axes.add_patch(box)
    colour = "#505c68" if is_extreme else _INK
    axes.text(x, y, box_text(group), size=FONT, color=colour, ha="center", va="center", zorder=4, linespacing=1.15)


def _draw_arrow(axes: Axes, arrow: Arrow, stops: list[Place], shift: tuple[float, float]) -> None:
    is_refuted = arrow.relation.kind is Kind.REFUTED
    is_solid = is_plain(arrow.relation) and not is_refuted
    patch = FancyArrowPatch(
        path=_curve(stops, shift),
        arrowstyle="<|-|>" if arrow.relation.kind is Kind.EQUAL else "-|>",
        linestyle="-" if is_solid else _DASHES,
        color=_REFUTED if is_refuted else _QUIET,
        mutation_scale=9,
        linewidth=_LINE_WIDTH,
        zorder=1,
    )
    axes.add_patch(patch)
    if arrow.label:
        middle = max(stops[1:-1], key=lambda stop: stop.height)
        axes.text(
            middle.x + shift[0],
            middle.y + shift[1],
            arrow.label,
            size=SMALL_FONT,
            color=_REFUTED if is_refuted else "#46525e",
            ha="center",
            va="center",
            zorder=2,
            linespacing=1.15,
            bbox={"fc": "white", "ec": "none", "pad": 2.5},
        )


def _curve(stops: list[Place], shift: tuple[float, float]) -> Path:
    """Return a curve that bends between columns only, and goes straight across them, so that it meets no box."""
    sign = 1 if stops[-1].x > stops[0].x else -1
    vertices = [(stops[0].x + sign * stops[0].width / 2, stops[0].y)]
    codes = [Path.MOVETO]
    for here, there in pairwise(stops):
        leaves, arrives = here.x + sign * here.column / 2, there.x - sign * there.column / 2
        middle = (leaves + arrives) / 2
        vertices += [(leaves, here.y), (middle, here.y), (middle, there.y), (arrives, there.y)]
        codes += [Path.LINETO, *[Path.CURVE4] * 3]
    if stops[-1].width < stops[-1].column:  # else the curve has arrived, and a line of no length has no direction
        vertices.append((stops[-1].x - sign * stops[-1].width / 2, stops[-1].y))
        codes.append(Path.LINETO)
    return Path([(x + shift[0], y + shift[1]) for x, y in vertices], codes)


def _legend(axes: Axes) -> None:
    handles = [
        Patch(facecolor=_LOSS[0], edgecolor=_LOSS[1], label="losses; equal ones share a box"),
        Patch(facecolor=_EXTREME[0], edgecolor=_EXTREME[1], label="floors and ceilings"),
        _key("-", _QUIET, "is at most"),
        _key(_DASHES, _QUIET, "is at most, after what is written on it"),
        _key(_DASHES, _REFUTED, "claimed, and refuted"),
    ]
    axes.legend(handles=handles, loc="lower center", ncols=5, frameon=False, fontsize=FONT, labelcolor=_INK)


def _key(style: Any, colour: str, label: str) -> Line2D:
    return Line2D([], [], linestyle=style, color=colour, linewidth=_LINE_WIDTH, label=label)
