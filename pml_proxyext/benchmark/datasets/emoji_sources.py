"""Where the drawings of emoji come from: pinned packages of the npm registry, their authors and licences."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["NAMES_PACKAGE", "VENDORS", "Vendor", "fetch_packages", "read_json"]


class Vendor(NamedTuple):
    """One style of drawing all emoji.

    The licence is the one that the package states; whoever publishes the drawings, or images made of them, names
    ``author`` and ``licence``, and ``CC-BY-SA`` also binds what is derived.
    """

    name: str
    package: str
    author: str
    licence: str


_NOTO = "Google, https://github.com/googlefonts/noto-emoji"
_FLUENT = "Microsoft, https://github.com/microsoft/fluentui-emoji"

VENDORS = (  # the position of a vendor is its number in the stored arrays
    Vendor("noto", "@iconify-json/noto@1.2.9", _NOTO, "Apache-2.0"),
    Vendor("noto-v1", "@iconify-json/noto-v1@1.2.5", _NOTO, "Apache-2.0"),
    Vendor(
        "twemoji", "@iconify-json/twemoji@1.2.5", "Twitter and others, https://github.com/jdecked/twemoji", "CC-BY-4.0"
    ),
    Vendor(
        "emojitwo",
        "@iconify-json/emojione@1.2.3",
        "Emoji One and EmojiTwo, https://github.com/EmojiTwo/emojitwo",
        "CC-BY-4.0",
    ),
    Vendor("fluent-flat", "@iconify-json/fluent-emoji-flat@1.2.6", _FLUENT, "MIT"),
    Vendor("fluent-color", "@iconify-json/fluent-emoji@1.2.7", _FLUENT, "MIT"),
    Vendor("fxemoji", "@iconify-json/fxemoji@1.2.2", "Mozilla, https://github.com/mozilla/fxemoji", "Apache-2.0"),
    Vendor(
        "streamline",
        "@iconify-json/streamline-emojis@1.2.4",
        "Streamline, https://github.com/webalys-hq/streamline-vectors",
        "CC-BY-4.0",
    ),
    Vendor(
        "openmoji",
        "@iconify-json/openmoji@1.2.29",
        "OpenMoji, https://github.com/hfg-gmuend/openmoji",
        "CC-BY-SA-4.0",
    ),
    Vendor(
        "emojione-v1",
        "@iconify-json/emojione-v1@1.2.3",
        "Emoji One, https://github.com/joypixels/emojione-legacy",
        "CC-BY-SA-4.0",
    ),
)

NAMES_PACKAGE = "emojibase-data@17.0.0"  # names, keywords and groups of all emoji; MIT


def fetch_packages(packages: Iterable[str], folder: Path) -> None:
    """Download packages, each given as ``name@version``, into a folder.

    Raises:
        OSError: if npm is missing or fails; the message says what to do.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise OSError("npm, which fetches the data, is not installed; it comes with Node.js, https://nodejs.org")
    command = [npm, "pack", *packages, "--pack-destination", str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        raise OSError(
            f"npm could not fetch the data; is there a connection to its registry? It said:\n{done.stderr.strip()}"
        )


def read_json(folder: Path, package: str, member: str) -> Any:
    """Return what a JSON file of a fetched package holds.

    Args:
        folder: where :func:`fetch_packages` put the package.
        package: ``name@version``.
        member: path of the file inside the package.
    """
    name, _, version = package.rpartition("@")
    path = folder / f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"  # npm's way of naming
    with tarfile.open(path) as archive, archive.extractfile(f"package/{member}") as file:  # type: ignore[union-attr]
        return json.load(file)
