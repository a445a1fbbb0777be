"""All relations by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase

from pml_proxyext.bounds.families import FAMILIES
from pml_proxyext.bounds.relation import Relation

__all__ = ["REGISTRY", "Registry"]


class Registry(Mapping[str, Relation]):
    """Relations by their ids, in the order of their families.

    Args:
        families: relations by the title of their family.

    Raises:
        ValueError: if two relations have one id.
        KeyError: on look-up, if an id is unknown.

    Example:
        >>> [relation.id for relation in REGISTRY.select("graf.sc_bal*")]
        ['graf.sc_balanced', 'graf.sc_balanced_default']
    """

    def __init__(self, families: Mapping[str, Iterable[Relation]]) -> None:
        self.families = {title: tuple(relations) for title, relations in families.items()}
        self._relations: dict[str, Relation] = {}
        for relation in (relation for relations in self.families.values() for relation in relations):
            if relation.id in self._relations:
                raise ValueError(f"ids of relations must differ, got {relation.id!r} twice")
            self._relations[relation.id] = relation

    def __getitem__(self, name: str) -> Relation:
        return self._relations[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._relations)

    def __len__(self) -> int:
        return len(self._relations)

    def select(self, *patterns: str) -> list[Relation]:
        """Return the relations whose ids fit one of the patterns (``"graf.*"``), all of them without a pattern.

        Raises:
            ValueError: if a pattern fits none; the message suggests the nearest ids.
        """
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in self):
                near = get_close_matches(pattern, self, n=3)  # all ids would fill a screen
                hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
                raise ValueError(f"relation must be an id or a pattern that fits one, got {pattern!r}{hint}")
        fits = [name for name in self if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)]
        return [self._relations[name] for name in fits]


REGISTRY = Registry(FAMILIES)
