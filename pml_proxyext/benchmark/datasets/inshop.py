"""The list of In-Shop Clothes Retrieval, which PML has no class for."""

from __future__ import annotations

from pathlib import Path

__all__ = ["Listing", "inshop_listings"]

#: Paths of images, each with the number of its class.
Listing = list[tuple[Path, int]]

_LIST = "list_eval_partition.txt"
_WHAT_TO_DO = (
    "it is part of DeepFashion, whose authors send the download links on request, see "
    "https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html; needed are Eval/{list} and the folder "
    "img of Img/img.zip, to be put into {folder} as Eval/{list} and Img/img, or as {list} and img"
)


def inshop_listings(folder: Path) -> dict[str, Listing]:
    """Return images and items by part: ``"train"``, ``"query"`` and ``"gallery"``.

    Args:
        folder: holds the list and the images, in either of two layouts: ``Eval/list_eval_partition.txt`` and
            ``Img/img``, as distributed, or ``list_eval_partition.txt`` and ``img``.

    Raises:
        FileNotFoundError: if the list or the images are not there, with what to do.
        ValueError: for a line that is not an image, an item like ``id_00000002`` and a part.
    """
    for path, images in ((folder / "Eval" / _LIST, folder / "Img"), (folder / _LIST, folder)):
        if path.is_file() and (images / "img").is_dir():
            return _parsed(path, images)
    raise FileNotFoundError(f"inshop is not in {folder}: {_WHAT_TO_DO.format(list=_LIST, folder=folder)}")


def _parsed(path: Path, images: Path) -> dict[str, Listing]:
    listings: dict[str, Listing] = {"train": [], "query": [], "gallery": []}
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines[2:], start=3):  # after the count and the names of the columns
        if not line.strip():
            continue
        try:
            name, item, part = line.split()
            listings[part].append((images / name, int(item.rpartition("_")[2])))
        except (ValueError, KeyError):
            raise ValueError(f"{path}, line {number} must be an image, an item and a part, got {line!r}") from None
    return listings
