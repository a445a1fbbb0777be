"""The papers' data sets in miniature: coloured noise in the folders and lists of the originals, to try programs on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from pml_proxyext.utils.checks import check_choice

__all__ = ["TINY_TREES", "make_tiny_tree"]

_CLASSES = 12  # in each half
_IMAGES = 4  # of each class


def make_tiny_tree(name: str, root: Path) -> None:
    """Write a data set of twelve training and twelve test classes with four images each.

    Each class has a colour, roughly, so that a network can learn something. Among the images are a grey one and one
    with a palette, as there are in the originals.

    Args:
        name: one of :data:`TINY_TREES`.
        root: the folder for all data sets; the tree is in the folder ``name`` of it.
    """
    check_choice("name", name, TINY_TREES)
    TINY_TREES[name](root / name)


def _images(seed: int) -> Iterator[Image.Image]:
    """Yield images of one class after the other, without end."""
    generator = np.random.default_rng(seed)
    number = 0
    while True:
        if number % _IMAGES == 0:
            colour = generator.integers(90, 166, 3)
        height, width = generator.integers(72, 97, 2)
        noise = generator.integers(-20, 21, 3) + generator.integers(-40, 41, (height, width, 3))
        image = Image.fromarray((colour + noise).astype(np.uint8))
        yield {1: image.convert("L"), 2: image.convert("P")}.get(number, image)
        number += 1


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="PNG" if image.mode == "P" else "JPEG")  # whoever reads it goes by content, not by suffix


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cub200(folder: Path) -> None:
    base, images = folder / "CUB_200_2011", _images(0)
    names: list[str] = []
    labels: list[str] = []
    for number in [*range(1, 1 + _CLASSES), *range(101, 101 + _CLASSES)]:
        for index in range(_IMAGES):
            path = f"{number:03}.Bird_{number}/Bird_{index:04}_{number}.jpg"
            _save(next(images), base / "images" / path)
            names.append(f"{len(names) + 1} {path}")
            labels.append(f"{len(labels) + 1} {number}")
    _write(base / "images.txt", names)
    _write(base / "image_class_labels.txt", labels)


def _cars196(folder: Path) -> None:
    images = _images(1)
    names = [f"Maker Model {number} C/V 2012" for number in range(1, 197)]  # folders have a hyphen for the slash
    rows: dict[str, list[str]] = {"train": [], "test": []}
    for number in [*range(1, 1 + _CLASSES), *range(99, 99 + _CLASSES)]:
        for index in range(_IMAGES):
            part, file = ("train", "test")[index % 2], f"{number:05}{index}.jpg"
            _save(next(images), folder / "car_data" / "car_data" / part / names[number - 1].replace("/", "-") / file)
            rows[part].append(f"{file},1,2,30,40,{number}")  # with the corners of a box
    _write(folder / "names.csv", names)
    for part, lines in rows.items():
        _write(folder / f"anno_{part}.csv", lines)


def _sop(folder: Path) -> None:
    base, images = folder / "Stanford_Online_Products", _images(2)
    for part, first in (("train", 1), ("test", 1 + _CLASSES)):
        lines = ["image_id class_id super_class_id path"]
        for number in range(first, first + _CLASSES):
            for index in range(_IMAGES):
                path = f"chair_final/{number}_{index}.JPG"
                _save(next(images), base / path)
                lines.append(f"{len(lines)} {number} 1 {path}")
        _write(base / f"Ebay_{part}.txt", lines)


def _inshop(folder: Path) -> None:
    images, rows = _images(3), []
    for number in range(1, 1 + 2 * _CLASSES):
        for index in range(_IMAGES):
            path = f"img/WOMEN/Dresses/id_{number:08}/{index:02}_1_front.jpg"
            _save(next(images), folder / "Img" / path)
            part = "train" if number <= _CLASSES else ("query", "gallery")[index % 2]
            rows.append(f"{path} id_{number:08} {part}")
    head = [str(len(rows)), "image_name item_id evaluation_status"]
    _write(folder / "Eval" / "list_eval_partition.txt", [*head, *rows])


#: How each of them is written into a folder.
TINY_TREES: dict[str, Callable[[Path], None]] = {
    "cub200": _cub200,
    "cars196": _cars196,
    "sop": _sop,
    "inshop": _inshop,
}
