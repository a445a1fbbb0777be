"""Draw emoji as images, out of the packages of ten vendors."""

from __future__ import annotations

import io
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from pml_proxyext.benchmark.datasets.emoji_names import Emoji, IconNames, IconSet, bare_key, choose_emoji
from pml_proxyext.benchmark.datasets.emoji_sources import NAMES_PACKAGE, VENDORS, fetch_packages, read_json
from pml_proxyext.utils.checks import import_optional

__all__ = ["Drawing", "build_emoji", "draw"]

_MIN_VENDORS = 4  # an emoji that fewer of them draw is left out
_DRAWN_SIZE, _IMAGE_SIZE = 128, 64  # pixels; drawn larger than needed, so that reducing it smooths the edges
_BLANK = 3  # standard deviation of the bytes below which an image shows nothing
_SHORT_CODES = ("cldr", "emojibase", "emojibase-legacy", "github", "iamcal", "joypixels")


class Drawing(NamedTuple):
    """One icon of one vendor and what it shows."""

    emoji: int
    vendor: int
    variant: int
    icon: str


def build_emoji(progress: bool = True) -> dict[str, npt.NDArray[Any]]:
    """Fetch the packages and draw every emoji that at least four vendors have.

    Args:
        progress: whether to show a progress bar.

    Returns:
        ``images`` ``(N, 64, 64, 3)`` uint8 on a white ground; ``classes`` ``(N,)`` index into ``keys`` ``(C,)`` (code
        points) and ``names`` ``(C,)``; ``vendors`` ``(N,)`` index into
        :data:`~pml_proxyext.benchmark.datasets.emoji_sources.VENDORS`.

    Raises:
        ImportError: without resvg-py; the message names the extra.
        OSError: if npm is missing or cannot fetch the packages.
    """
    resvg = import_optional("resvg_py", "emoji")
    with tempfile.TemporaryDirectory() as folder:
        fetch_packages([NAMES_PACKAGE, *(vendor.package for vendor in VENDORS)], Path(folder))
        emoji, names, sets = _read_packages(Path(folder))
    drawings = list(_find_drawings(emoji, names, sets))
    vendors_of_emoji = defaultdict(set)
    for drawing in drawings:
        vendors_of_emoji[drawing.emoji].add(drawing.vendor)
    kept = [i for i in range(len(emoji)) if len(vendors_of_emoji[i]) >= _MIN_VENDORS]
    class_of_emoji = {index: position for position, index in enumerate(kept)}
    images: list[npt.NDArray[np.uint8]] = []
    classes: list[int] = []
    vendors: list[int] = []
    wanted = sorted(drawing for drawing in drawings if drawing.emoji in class_of_emoji)
    for drawing in tqdm(wanted, desc="drawing emoji", disable=not progress):
        image = draw(sets[drawing.vendor].icons, drawing.icon, resvg)
        if image.std() >= _BLANK:
            images.append(image)
            classes.append(class_of_emoji[drawing.emoji])
            vendors.append(drawing.vendor)
    return {
        "images": np.stack(images),
        "classes": np.array(classes, dtype=np.int64),
        "vendors": np.array(vendors, dtype=np.uint8),
        "keys": np.array([emoji[i].key for i in kept]),
        "names": np.array([emoji[i].name for i in kept]),
    }


def _read_packages(folder: Path) -> tuple[list[Emoji], IconNames, list[IconSet]]:
    data, messages = (read_json(folder, NAMES_PACKAGE, f"en/{name}.json") for name in ("data", "messages"))
    short_codes = [read_json(folder, NAMES_PACKAGE, f"en/shortcodes/{name}.json") for name in _SHORT_CODES]
    sets = [
        IconSet(read_json(folder, vendor.package, "icons.json"), read_json(folder, vendor.package, "chars.json"))
        for vendor in VENDORS
    ]
    emoji, _ = choose_emoji(data, messages)
    return emoji, IconNames(emoji, sets, short_codes), sets


def _find_drawings(emoji: list[Emoji], names: IconNames, sets: list[IconSet]) -> Iterator[Drawing]:
    """Yield one icon for each emoji, vendor and variant: the one listed by code points, else one known by name."""
    position = {one.key: i for i, one in enumerate(emoji)}
    for vendor, icon_set in enumerate(sets):
        icons = icon_set.icons["icons"]
        listed = [(bare_key(code), 0, name) for code, name in icon_set.name_of_key.items() if name in icons]
        others = sorted(set(icons) - {name for _, _, name in listed})
        seen = set()
        for key, variant, icon in [*listed, *((*names.key_and_variant(name), name) for name in others)]:
            if key in position and (key, variant) not in seen:
                seen.add((key, variant))
                yield Drawing(position[key], vendor, variant, icon)


def draw(icons: Mapping[str, Any], name: str, resvg: ModuleType) -> npt.NDArray[np.uint8]:
    """Return an icon in the middle of a white square, ``(64, 64, 3)`` bytes.

    Args:
        icons: Iconify's ``icons.json``: bodies of SVG documents, and a size and position for all or for one.
        name: the icon.
        resvg: the module that turns SVG into PNG.
    """
    icon = icons["icons"][name]
    left, top, width, height = (
        icon.get(side, icons.get(side, default))
        for side, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
    )
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}" viewBox="{left} {top} {width} {height}" color="#000">{icon["body"]}</svg>'
    )
    png = bytes(resvg.svg_to_bytes(svg_string=svg, width=_DRAWN_SIZE))
    drawn = Image.open(io.BytesIO(png)).convert("RGBA")
    side = max(drawn.size)
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    return np.asarray(square.convert("RGB").resize((_IMAGE_SIZE, _IMAGE_SIZE), Image.Resampling.LANCZOS))
