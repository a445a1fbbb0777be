import os

import pytest

from pml_proxyext.benchmark.datasets.emoji_sources import NAMES_PACKAGE, VENDORS, fetch_packages, read_json


def test_vendors_are_pinned_and_have_a_licence_and_an_author():
    assert len({vendor.name for vendor in VENDORS}) == len({vendor.package for vendor in VENDORS}) == 10
    for vendor in VENDORS:
        name, _, version = vendor.package.rpartition("@")
        assert name.startswith("@iconify-json/")
        assert all(part.isdigit() for part in version.split("."))
        assert vendor.licence in {"Apache-2.0", "MIT", "CC-BY-4.0", "CC-BY-SA-4.0"}
        assert "https://" in vendor.author
    assert [vendor.name for vendor in VENDORS if "SA" in vendor.licence] == ["openmoji", "emojione-v1"]


@pytest.mark.usefixtures("npm_on_path")
def test_fetch_packages_and_read_json_get_what_is_inside(tmp_path):
    fetch_packages([NAMES_PACKAGE, VENDORS[0].package], tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert read_json(tmp_path, VENDORS[0].package, "chars.json")["2764"] == "heart"
    assert read_json(tmp_path, NAMES_PACKAGE, "en/data.json")[0]["label"] == "fruit 0"


@pytest.mark.usefixtures("path_without_npm")
def test_fetch_packages_without_npm_says_what_to_install(tmp_path):
    with pytest.raises(OSError, match=r"npm.*is not installed.*Node\.js"):
        fetch_packages([NAMES_PACKAGE], tmp_path)


def test_fetch_packages_that_fails_repeats_what_npm_said(tmp_path, monkeypatch, write_npm):
    folder = write_npm("#!/bin/sh\necho 'npm error ENOTFOUND registry' >&2\nexit 1\n")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(OSError, match=r"connection to its registry(.|\n)*ENOTFOUND registry"):
        fetch_packages([NAMES_PACKAGE], tmp_path)
