"""Characters drawn in the typefaces that matplotlib ships inside its wheel: real images, nothing to download."""

from __future__ import annotations

import unicodedata
import warnings
from collections import Counter
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
import PIL
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from pml_proxyext.benchmark.datasets.cache import cache_directory, read_arrays, write_arrays
from pml_proxyext.benchmark.datasets.retrieval_set import MemorySet, RetrievalData, Split, split_classes

__all__ = ["TYPEFACES", "GlyphArrays", "load_glyphs", "render_glyphs"]

TYPEFACES = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
)

_MIN_TYPEFACES = 14  # a character that fewer of them can draw is left out
_FONT_SIZE = 64  # pixels; drawn larger than needed, so that reducing it smooths the edges
_IMAGE_SIZE, _INK_SIZE = 32, 28
_RECIPE_VERSION = 1  # part of the cache's name: raise it when the drawings change

GlyphArrays = dict[str, npt.NDArray[np.generic]]


def load_glyphs(split: Split = "test") -> RetrievalData:
    """Return the glyphs, drawn or from the cache: 859 characters as classes, 13,310 images of 32 x 32."""
    arrays = _cached_glyphs()
    names = [chr(code_point) for code_point in arrays["code_points"]]
    train, evaluation = split_classes(names, split)
    images, classes = arrays["images"].astype(np.uint8), arrays["classes"].astype(np.int64)
    return RetrievalData(
        "glyphs", MemorySet(images, classes, train, names), MemorySet(images, classes, evaluation, names)
    )


def render_glyphs() -> GlyphArrays:
    """Draw every letter, digit, punctuation mark and symbol that at least 14 of the 16 typefaces have.

    Of characters that look alike to the last pixel in a typeface (Latin A, Greek Alpha and Cyrillic A) only the one
    with the smallest code point stays, or else two classes could not be told apart.

    Returns:
        ``images`` ``(N, 32, 32)`` uint8, ``classes`` ``(N,)`` index into ``code_points`` ``(C,)``, and ``typefaces``
        ``(N,)`` index into :data:`TYPEFACES`.
    """
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    paths = [str(folder / f"{name}.ttf") for name in TYPEFACES]
    repertoires = [set(FT2Font(path).get_charmap()) for path in paths]
    fonts = [ImageFont.truetype(path, _FONT_SIZE, layout_engine=ImageFont.Layout.BASIC) for path in paths]
    seen: list[set[bytes]] = [set() for _ in paths]
    images: list[npt.NDArray[np.uint8]] = []
    classes: list[int] = []
    typefaces: list[int] = []
    code_points: list[int] = []
    for code_point in _characters(repertoires):
        drawn = {i: _draw(chr(code_point), fonts[i]) for i, known in enumerate(repertoires) if code_point in known}
        if any(image.tobytes() in seen[i] for i, image in drawn.items()):
            continue
        for i, image in drawn.items():
            seen[i].add(image.tobytes())
            images.append(image)
            classes.append(len(code_points))
            typefaces.append(i)
        code_points.append(code_point)
    return {
        "images": np.stack(images),
        "classes": np.array(classes, dtype=np.int64),
        "typefaces": np.array(typefaces, dtype=np.uint8),
        "code_points": np.array(code_points, dtype=np.int64),
    }


def _characters(repertoires: list[set[int]]) -> list[int]:
    counts = Counter(code_point for known in repertoires for code_point in known)
    frequent = (code_point for code_point, count in counts.items() if count >= _MIN_TYPEFACES)
    return sorted(code_point for code_point in frequent if unicodedata.category(chr(code_point))[0] in "LNPS")


def _draw(character: str, font: ImageFont.FreeTypeFont) -> npt.NDArray[np.uint8]:
    """Return the character's ink, as large as fits 28 x 28 pixels, in the middle of 32 x 32."""
    canvas = Image.new("L", (5 * _FONT_SIZE, 4 * _FONT_SIZE))
    ImageDraw.Draw(canvas).text((2 * _FONT_SIZE, _FONT_SIZE), character, fill=255, font=font)
    ink = canvas.crop(canvas.getbbox())
    scale = _INK_SIZE / max(ink.size)
    width, height = (max(1, round(side * scale)) for side in ink.size)
    image = Image.new("L", (_IMAGE_SIZE, _IMAGE_SIZE))
    corner = ((_IMAGE_SIZE - width) // 2, (_IMAGE_SIZE - height) // 2)
    image.paste(ink.resize((width, height), Image.Resampling.BILINEAR), corner)
    return np.asarray(image)


def _cached_glyphs() -> GlyphArrays:
    name = f"glyphs-v{_RECIPE_VERSION}-matplotlib{matplotlib.__version__}-pillow{PIL.__version__}.npz"
    path = cache_directory() / name
    arrays = read_arrays(path, ["images", "classes", "typefaces", "code_points"])
    if arrays is None:
        arrays = render_glyphs()
        try:
            write_arrays(path, arrays)
        except OSError as error:
            warnings.warn(f"the glyphs cannot be cached: {error}", stacklevel=2)
    return arrays
