"""Numbers from the literature for the papers' recipes, each with what it is known from. None was reproduced here."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from pml_proxyext.benchmark.tables import TextTable, insert_table

__all__ = ["PUBLISHED", "Published", "published", "published_table"]


@dataclass(frozen=True)
class Published:
    """Recall at K as someone else reports it.

    Args:
        recipe: the recipe that comes nearest to what the numbers are for.
        recall: from K to percent.
        known_from: where we have them from, which is not always where they were first printed.
    """

    recipe: str
    recall: dict[int, float]
    known_from: str


def _recall(ks: tuple[int, ...], *percent: float) -> dict[int, float]:
    return dict(zip(ks[: len(percent)], percent, strict=True))


_SMALL, _SOP, _INSHOP = (1, 2, 4, 8), (1, 10, 100, 1000), (1, 10, 20, 30, 40, 50)

_NIR_TABLE = "a table in a later paper (VPTSP, ICLR 2024)"
_NIR_LEADERBOARD = "a copy of a leaderboard, which does not say with what pooling"
_NIVMF_REVIEW = "a review by a third party"
_README = "the README of the release"
_MEMORY = "memory, unconfirmed"
_MANY_TABLES = "memory of tables in later papers, unconfirmed"

#: All of them.
PUBLISHED = [
    Published("nir_cub200_512", _recall(_SMALL, 69.1, 79.6), _NIR_TABLE),
    Published("nir_cub200_512_double", _recall(_SMALL, 70.5, 80.6), _MEMORY),
    Published("nir_cars196_512", _recall(_SMALL, 87.7, 92.5), _MEMORY),
    Published("nir_cars196_512_double", _recall(_SMALL, 89.1), _NIR_LEADERBOARD),
    Published("nir_cars196_512_double", _recall(_SMALL, 89.1, 93.4), _MEMORY),
    Published("nir_sop_512", _recall(_SOP, 80.7, 91.5), _MEMORY),
    Published("nir_sop_512_double", _recall(_SOP, 80.4, 91.4), _MEMORY),
    Published("nivmf_cub200_512", _recall(_SMALL, 69.3), _NIVMF_REVIEW),
    Published("nivmf_cars196_512", _recall(_SMALL, 86.2), _NIVMF_REVIEW),
    Published("cross_entropy_cub200", _recall(_SMALL, 69.2, 79.2, 86.9, 91.6), _MEMORY),
    Published("cross_entropy_cars196", _recall(_SMALL, 89.3, 93.9, 96.6, 98.4), _MEMORY),
    Published("cross_entropy_sop", _recall(_SOP, 81.1, 91.7, 96.3, 98.8), _MEMORY),
    Published("cross_entropy_inshop", _recall(_INSHOP, 90.6, 98.0, 98.6, 98.9, 99.1, 99.2), _MEMORY),
    Published("abe_cub200", _recall(_SMALL, 60.6, 71.5, 79.8, 87.4), _MANY_TABLES),
    Published("abe_cars196", _recall(_SMALL, 85.2, 90.5, 94.0, 96.1), _MANY_TABLES),
    Published("abe_sop", _recall(_SOP, 76.3, 88.4, 94.8, 98.2), _MANY_TABLES),
    Published("abe_inshop", _recall(_INSHOP, 87.3, 96.7, 97.9, 98.2, 98.5, 98.7), _MANY_TABLES),
    Published("proxy_anchor_cub200", _recall(_SMALL, 69.9, 79.6, 86.6, 91.4), _README),
    Published("proxy_anchor_cars196", _recall(_SMALL, 87.7, 92.7, 95.5, 97.3), _README),
]


def published(recipe: str) -> list[Published]:
    """Return what is known for a recipe.

    Example:
        >>> [row.recall[1] for row in published("nir_cub200_512")]
        [69.1]
    """
    return [row for row in PUBLISHED if row.recipe == recipe]


def published_table() -> TextTable:
    """Return all of them, one row each."""
    rows = [
        [row.recipe, ", ".join(f"{value:.1f} ({k})" for k, value in row.recall.items()), row.known_from]
        for row in PUBLISHED
    ]
    header = ["Recipe", "Recall in percent (at K)", "Known from"]
    return TextTable(header, rows, "Published by others; none was reproduced here.", words=header)


if __name__ == "__main__":  # with a page: renew the table in it
    page = Path(sys.argv[1])
    page.write_text(insert_table(page.read_text(), "papers", published_table().markdown(), kind="published"))
