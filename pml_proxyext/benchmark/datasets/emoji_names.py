"""Which emoji there are, and which of them the name of an icon means."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

__all__ = ["Emoji", "IconNames", "IconSet", "bare_key", "choose_emoji", "slug"]

_JOINER, _MALE, _FEMALE, _MAN, _WOMAN = "200D", "2642", "2640", "1F468", "1F469"
_VARIATION_SELECTORS = {"FE0E", "FE0F"}


class Emoji(NamedTuple):
    """One class: ``key`` is its code points in hexadecimal, joined by hyphens, without variation selectors."""

    key: str
    name: str
    subgroup: str


class IconSet(NamedTuple):
    """One vendor's drawings: Iconify's ``icons.json``, and the icon's name for each sequence of code points."""

    icons: Mapping[str, Any]
    name_of_key: Mapping[str, str]


def bare_key(code_points: str) -> str:
    """Return the key of code points that may contain variation selectors.

    Example:
        >>> bare_key("2764-fe0f")
        '2764'
    """
    return "-".join(part for part in code_points.upper().split("-") if part not in _VARIATION_SELECTORS)


def slug(name: str) -> str:
    """Return a name in the spelling of icons: lower-case ASCII words joined by hyphens.

    Example:
        >>> slug("Piñata & people’s")
        'pinata-peoples'
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_name.replace("'", "")).strip("-")


def choose_emoji(data: Iterable[Mapping[str, Any]], messages: Mapping[str, Any]) -> tuple[list[Emoji], Counter[str]]:
    """Return the emoji fit to be classes, in the order of Unicode, and how many were dropped for which reason.

    Flags, clock faces and keycaps differ in details that a small image does not show; the gendered forms of a role
    and the families differ from others in little but hair.

    Args:
        data: ``data.json`` of ``emojibase-data``, one entry an emoji; skin tones are no entries of their own.
        messages: its ``messages.json``, which names the groups.
    """
    groups = {group["order"]: group["key"] for group in messages["groups"]}
    subgroups = {group["order"]: group["key"] for group in messages["subgroups"]}
    chosen: list[Emoji] = []
    dropped: Counter[str] = Counter()
    for entry in sorted(data, key=lambda entry: entry.get("order", 0)):
        emoji = Emoji(bare_key(entry["hexcode"]), entry["label"], subgroups.get(entry.get("subgroup"), ""))
        reason = _reason_to_drop(emoji, groups.get(entry.get("group"), "component"))
        if reason is None:
            chosen.append(emoji)
        else:
            dropped[reason] += 1
    return chosen, dropped


def _reason_to_drop(emoji: Emoji, group: str) -> str | None:
    parts = emoji.key.split("-")
    if group == "component":
        return "component"
    if group == "flags":
        return "flag"
    if re.search(r"(o.clock|-thirty)$", emoji.name):
        return "clock face"
    if emoji.subgroup == "keycap":
        return "keycap"
    if len(parts) > 1 and {_MALE, _FEMALE} & set(parts):
        return "gendered"
    if _JOINER in parts and parts[0] in (_MAN, _WOMAN):
        return "role of a man or woman"
    if emoji.subgroup == "family":
        return "family"
    return None


class IconNames:
    """The emoji that the names of icons mean, gathered from everyone who names emoji.

    Some vendors list the code points of their icons. Those of the others have to be known by name: a name that exactly
    one emoji bears. Sure names are those that a vendor gives to code points, and the one in Unicode's common locale
    data; likely ones are those of Unicode's character, of chat programs (short codes), and the other names that a
    vendor's icon has. Old sets write some names in one word, so hyphens are left out where nothing else is found.

    Args:
        emoji: all classes.
        sets: all vendors' icons.
        short_codes: for each chat program, its short name or names by code points.
    """

    def __init__(
        self, emoji: Iterable[Emoji], sets: Iterable[IconSet], short_codes: Iterable[Mapping[str, str | list[str]]]
    ) -> None:
        sure: dict[str, set[str]] = defaultdict(set)
        likely: dict[str, set[str]] = defaultdict(set)
        sets = list(sets)
        for icon_set in sets:
            for code_points, name in icon_set.name_of_key.items():
                sure[name].add(bare_key(code_points))
        for one in emoji:
            sure[slug(one.name)].add(one.key)
            if "-" not in one.key:
                likely[slug(unicodedata.name(chr(int(one.key, 16)), ""))].add(one.key)
        for program in short_codes:
            for code_points, names in program.items():
                for name in [names] if isinstance(names, str) else names:
                    likely[slug(name)].add(bare_key(code_points))
        for icon_set in sets:
            for alias, origin in icon_set.icons.get("aliases", {}).items():
                if set(origin) == {"parent"}:  # the same drawing, neither turned nor mirrored
                    for one_name, other in ((alias, origin["parent"]), (origin["parent"], alias)):
                        if len(sure.get(other, ())) == 1:
                            likely[one_name] |= sure[other]
        self._tables = [sure, likely]
        self._one_word: dict[str, set[str]] = defaultdict(set)
        for table in self._tables:
            for name, keys in table.items():
                if len(keys) == 1:
                    self._one_word[name.replace("-", "")] |= keys

    def key(self, name: str) -> str | None:
        """Return the key of the one emoji that bears this name, or None."""
        for table in self._tables:
            if len(table.get(name, ())) == 1:
                return next(iter(table[name]))
        keys = self._one_word.get(name.replace("-", ""), set())
        return next(iter(keys)) if len(keys) == 1 else None

    def key_and_variant(self, name: str) -> tuple[str | None, int]:
        """Return the key, and which of several drawings this is: ``cat-2`` is the second one of a cat."""
        key = self.key(name)
        numbered = re.fullmatch(r"(.+)-(\d)", name)
        if key is None and numbered:
            return self.key(numbered[1]), int(numbered[2]) - 1
        return key, 0
