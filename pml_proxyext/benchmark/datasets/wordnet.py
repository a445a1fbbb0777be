"""Definitions of WordNet in pairs: of a meaning with a more general one, and of two that exclude one another."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["DEFAULT_FOLDER", "Synset", "Triple", "hold_out", "read_wordnet", "triples"]

#: Where the Debian package ``wordnet-base`` puts the files.
DEFAULT_FOLDER = Path("/usr/share/wordnet")

_FILES = {"n": "data.noun", "v": "data.verb", "a": "data.adj", "r": "data.adv"}
_EXAMPLE = re.compile(r'"([^"]+)"')

#: Part of speech and offset; a satellite adjective has that of adjectives.
Key = tuple[str, str]


@dataclass(frozen=True)
class Synset:
    """A meaning.

    Args:
        kind: ``n``, ``v``, ``a``, ``r``, or ``s`` for an adjective that is a satellite of another.
        lexicographer: the number of its class, in [0, 45).
        definition: the gloss without its examples.
        examples: sentences that use it.
        pointers: the symbol of a relation, and whom it leads to.
    """

    kind: str
    lexicographer: int
    definition: str
    examples: tuple[str, ...]
    pointers: tuple[tuple[str, Key], ...]

    def related(self, *symbols: str) -> list[Key]:
        """Return whom the relations of these symbols lead to."""
        return [key for symbol, key in self.pointers if symbol in symbols]


@dataclass(frozen=True)
class Triple:
    """A definition, a text that it entails, and a definition that it excludes."""

    premise: str
    entailed: str
    excluded: str


def read_wordnet(folder: Path = DEFAULT_FOLDER) -> dict[Key, Synset]:
    """Read the synsets of WordNet 3.0 that have a definition.

    Args:
        folder: with ``data.noun``, ``data.verb``, ``data.adj`` and ``data.adv``.

    Raises:
        ValueError: if one of them is missing.
    """
    missing = [name for name in _FILES.values() if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"folder must be the database of WordNet 3.0, got {folder} without {', '.join(missing)}; it is in Debian's "
            "package wordnet-base, and in WordNet's own archive in the folder dict"
        )
    synsets = {}
    for part, name in _FILES.items():
        for line in (folder / name).read_text(encoding="utf-8").splitlines():
            if not line.startswith(" "):  # the licence
                offset, synset = _parse(line)
                if synset.definition:
                    synsets[part, offset] = synset
    return synsets


def _parse(line: str) -> tuple[str, Synset]:
    head, _, gloss = line.partition(" | ")
    offset, lexicographer, kind, words, *fields = head.split()
    fields = fields[2 * int(words, 16) :]
    quads = [fields[at : at + 4] for at in range(1, 1 + 4 * int(fields[0]), 4)]
    pointers = tuple((symbol, (part, target)) for symbol, target, part, _ in quads)
    definition = gloss.partition('"')[0].strip(" ;:,-")
    return offset, Synset(kind, int(lexicographer), definition, tuple(_EXAMPLE.findall(gloss)), pointers)


def hold_out(
    synsets: dict[Key, Synset], per_class: Sequence[int], generator: np.random.Generator
) -> list[dict[str, int]]:
    """Draw definitions to be evaluated on, about equally many of each class, and take them out.

    Args:
        synsets: all there are; every synset with a definition that is drawn is taken out.
        per_class: how many definitions of a class each part has; of small classes a part takes at most a third.
        generator: draws them.

    Returns:
        for each part, from each definition to its class; a definition is in one part only, and one of two classes is
        in none.
    """
    classes = defaultdict(set)
    for synset in synsets.values():
        classes[synset.definition].add(synset.lexicographer)
    members = defaultdict(list)
    for definition, of in classes.items():
        if len(of) == 1:
            members[min(of)].append(definition)
    parts: list[dict[str, int]] = [{} for _ in per_class]
    for lexicographer, definitions in sorted(members.items()):
        order = iter(generator.permutation(len(definitions)))
        for part, count in zip(parts, per_class, strict=True):
            drawn = [definitions[next(order)] for _ in range(min(count, len(definitions) // 3))]
            part.update(dict.fromkeys(drawn, lexicographer))
    for key in [key for key, synset in synsets.items() if any(synset.definition in part for part in parts)]:
        del synsets[key]
    return parts


def triples(synsets: dict[Key, Synset], generator: np.random.Generator) -> list[Triple]:
    """Return definitions, each with a text that it entails and a definition that it excludes.

    What is more general is the first hypernym of a noun or verb, and the head of a satellite adjective. A definition
    entails that of the more general meaning. Other adjectives and adverbs have none; their partner is the first of
    their example sentences. A definition excludes that of an antonym, of its own or of its head; without one, that of
    another meaning right below the same more general one.

    A meaning is the more general one of a single triple, and meanings without an excluded one have no triple.

    Args:
        synsets: from their keys; those that are not there are in no triple.
        generator: draws one of the meanings below each more general one, and what it excludes.
    """
    below: dict[tuple[str, Key], list[Key]] = defaultdict(list)
    alone = []
    for key, synset in synsets.items():
        relation = _general(synset)
        if relation is not None and relation[1] in synsets:
            below[relation].append(key)
        elif synset.kind in "ar" and synset.examples:
            alone.append(key)
    found, used = [], set()
    for (symbol, above), keys in below.items():
        key = keys[generator.integers(len(keys))]
        own = synsets[key]
        opposites = own.related("!") or (synsets[above].related("!") if symbol == "&" else [])
        others = [other for other in opposites if other in synsets]
        if not others and symbol != "&":
            others = [other for other in keys if synsets[other].definition != own.definition]
        if others and above not in used:
            used.add(above)
            excluded = synsets[others[generator.integers(len(others))]]
            found.append(Triple(own.definition, synsets[above].definition, excluded.definition))
    for key in alone:
        others = [other for other in synsets[key].related("!") if other in synsets]
        if others:
            found.append(Triple(synsets[key].definition, synsets[key].examples[0], synsets[others[0]].definition))
    return [triple for triple in found if len({triple.premise, triple.entailed, triple.excluded}) == 3]


def _general(synset: Synset) -> tuple[str, Key] | None:
    """Return the relation to the meaning above, and that meaning."""
    symbols = {"n": ("@", "@i"), "v": ("@",), "s": ("&",)}.get(synset.kind, ())
    return next(((symbol, key) for symbol, key in synset.pointers if symbol in symbols), None)
