import sys

import numpy as np
import pytest
import resvg_py

from pml_proxyext.benchmark.datasets import emoji_build
from pml_proxyext.benchmark.datasets.emoji_sources import VENDORS

RED = '<rect width="16" height="16" fill="#f00"/>'


def drawn(icon, **defaults):
    return emoji_build.draw({"icons": {"one": icon}, **defaults}, "one", resvg_py)


def test_build_emoji_counts_follow_from_the_packages(built):
    # 12 fruits by all 10 vendors; a heart by all, but one is blank; a cat by all, by streamline twice
    assert built["images"].shape == (120 + 9 + 11, 64, 64, 3)
    assert built["images"].dtype == np.uint8
    assert built["names"].tolist() == ["red heart", "cat face", *(f"fruit {i}" for i in range(12))]
    assert built["keys"].tolist()[:3] == ["2764", "1F431", "1F345"]
    assert np.bincount(built["classes"]).tolist() == [9, 11, *[10] * 12]
    expected = [14] * 10
    expected[2], expected[7] = 13, 15
    assert np.bincount(built["vendors"]).tolist() == expected


def test_build_emoji_leaves_out_what_three_vendors_draw(built):
    assert "bear" not in built["names"]


def test_build_emoji_gives_each_vendor_its_own_drawing(built):
    hearts = built["classes"] == 0
    owners = [VENDORS[vendor].name for vendor in built["vendors"][hearts]]
    assert owners == [vendor.name for vendor in VENDORS if vendor.name != "twemoji"]
    assert len({image.tobytes() for image in built["images"][hearts]}) == 9


def test_build_emoji_without_resvg_names_the_extra_before_anything_is_fetched(monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    monkeypatch.setattr(emoji_build, "fetch_packages", lambda *_: pytest.fail("fetched"))
    with pytest.raises(ImportError, match=r"'resvg_py'.*pml-proxyext\[emoji\]"):
        emoji_build.build_emoji(progress=False)


def test_draw_fills_the_square():
    image = drawn({"body": RED})
    assert image.shape == (64, 64, 3)
    assert (image == [255, 0, 0]).all()


def test_draw_takes_sizes_of_the_icon_before_those_of_the_set():
    assert (drawn({"body": RED, "width": 16, "height": 16}, width=32, height=32) == [255, 0, 0]).all()
    quarter = drawn({"body": RED}, width=32, height=32)
    assert (quarter[:28, :28] == [255, 0, 0]).all()
    assert (quarter[36:] == 255).all()
    assert (quarter[:, 36:] == 255).all()


def test_draw_starts_at_the_corner_of_the_icon():
    shifted = drawn({"body": RED, "left": 8, "top": -8})
    assert (shifted[36:, :28] == [255, 0, 0]).all()
    assert (shifted[:28] == 255).all()
    assert (shifted[:, 36:] == 255).all()


def test_draw_puts_a_wide_icon_in_the_middle_on_white():
    image = drawn({"body": RED, "height": 8})
    assert (image[20:44] == [255, 0, 0]).all()
    assert (image[:12] == 255).all()
    assert (image[52:] == 255).all()


def test_draw_shows_the_white_ground_through_what_is_half_transparent():
    image = drawn({"body": '<rect width="16" height="16" fill="#000" opacity="0.5"/>'})
    assert np.abs(image.astype(int) - 127.5).max() <= 1
