"""A registry of packages with a few hand-made emoji, and an `npm` that fetches from it."""

import io
import json
import os
import sys
import tarfile

import pytest

from pml_proxyext.benchmark.datasets.emoji_build import build_emoji
from pml_proxyext.benchmark.datasets.emoji_sources import NAMES_PACKAGE, VENDORS

FRUITS = [f"1F3{number:X}" for number in range(0x45, 0x51)]  # 12 emoji that all vendors list by code points
LABELS = {key: f"fruit {position}" for position, key in enumerate(FRUITS)}


def _entry(hexcode, label, group=0, subgroup=0, **more):
    return {"hexcode": hexcode, "label": label, "group": group, "subgroup": subgroup, "order": 9, **more}


DATA = [
    *(_entry(key, label, order=100 + i, tags=["food", "plant"]) for i, (key, label) in enumerate(LABELS.items())),
    _entry("2764-FE0F", "red heart", order=1),
    _entry("1F431", "cat face", order=2),
    _entry("1F43B", "bear", order=3),  # three vendors only
    _entry("1F1E6", "regional indicator A", group=None),
    _entry("1F3C1", "chequered flag", group=1),
    _entry("1F550", "one o\u2019clock"),
    _entry("1F55C", "one-thirty"),
    _entry("0031-FE0F-20E3", "keycap: 1", subgroup=1),
    _entry("1F3C3-200D-2640-FE0F", "woman running"),
    _entry("1F468-200D-1F33E", "man farmer"),
    _entry("1F46A", "family", subgroup=2),
]
MESSAGES = {
    "groups": [{"order": 0, "key": "things"}, {"order": 1, "key": "flags"}],
    "subgroups": [{"order": 0, "key": "fruit"}, {"order": 1, "key": "keycap"}, {"order": 2, "key": "family"}],
}


def icon_body(key, vendor):
    """Return a circle whose place says which emoji it is, and whose colour says whose drawing."""
    number = int(key.split("-")[0], 16)
    x, y, radius = 4 + number % 5 * 2, 4 + number % 7, 3 + number % 3
    return f'<circle cx="{x}" cy="{y}" r="{radius}" fill="hsl({vendor * 36},80%,45%)"/>'


def vendor_files(vendor):
    names = {key: f"fruit-{i}" for i, key in enumerate(FRUITS)}
    names["1F1E6"] = "letter-a"  # dropped, whoever draws it
    if VENDORS[vendor].name == "streamline":  # two cats, known by name alone
        extra = {"cat-face-1": icon_body("1F431", vendor), "cat-face-2": icon_body("1F432", vendor)}
    else:
        names["1F431"] = "cat"
        extra = {"unknown-thing": icon_body("1F999", vendor)}
    names["2764"] = "heart"
    if vendor < 3:
        names["1F43B"] = "bear-face"
    icons = {name: {"body": icon_body(key, vendor)} for key, name in names.items()}
    icons |= {name: {"body": body} for name, body in extra.items()}
    if VENDORS[vendor].name == "twemoji":
        icons["heart"] = {"body": '<rect width="16" height="16" fill="#fff"/>'}  # white on white: nothing to be seen
    return {"icons.json": {"icons": icons, "width": 16, "height": 16}, "chars.json": names}


def _archive(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            data = json.dumps(content).encode()
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


_NPM = """#!{python}
import shutil, sys
from pathlib import Path
command, *packages, option, folder = sys.argv[1:]
assert (command, option) == ("pack", "--pack-destination")
for package in packages:
    name, _, version = package.rpartition("@")
    archive = f"{{name[name.startswith('@'):].replace('/', '-')}}-{{version}}.tgz"
    shutil.copy(Path({registry!r}) / archive, folder)
"""


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    """Give the folder of the packages' archives, each named as npm would."""
    folder = tmp_path_factory.mktemp("registry")
    names = {"en/data.json": DATA, "en/messages.json": MESSAGES}
    programs = ("cldr", "emojibase", "emojibase-legacy", "github", "iamcal", "joypixels")
    names |= {f"en/shortcodes/{program}.json": {} for program in programs}
    _archive(folder / "emojibase-data-17.0.0.tgz", names)
    assert NAMES_PACKAGE == "emojibase-data@17.0.0"
    for number, vendor in enumerate(VENDORS):
        name, _, version = vendor.package.rpartition("@")
        _archive(folder / f"iconify-json-{name.split('/')[1]}-{version}.tgz", vendor_files(number))
    return folder


@pytest.fixture(scope="session")
def write_npm(tmp_path_factory):
    """Give a function that puts an executable named npm into a new folder, and returns the folder."""

    def write(text):
        path = tmp_path_factory.mktemp("commands") / "npm"
        path.write_text(text)
        path.chmod(0o755)
        return path.parent

    return write


@pytest.fixture(scope="session")
def npm(registry, write_npm):
    """Give a folder for PATH, in which npm fetches from the registry."""
    return write_npm(_NPM.format(python=sys.executable, registry=str(registry)))


@pytest.fixture
def npm_on_path(npm, monkeypatch):
    monkeypatch.setenv("PATH", f"{npm}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def path_without_npm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture(scope="session")
def built(npm):
    """Give the arrays made of the registry's packages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{npm}{os.pathsep}{os.environ['PATH']}")
        return build_emoji(progress=False)
