from collections import defaultdict

import numpy as np
import pytest

from pml_proxyext.benchmark.datasets import glyphs


@pytest.fixture(scope="module")
def drawn():
    return glyphs.render_glyphs()


def test_render_glyphs_counts_match_the_documented_numbers(drawn):
    assert len(drawn["code_points"]) == 859
    assert drawn["images"].shape == (13_310, 32, 32)
    assert drawn["images"].dtype == np.uint8
    assert len(glyphs.TYPEFACES) == len(np.unique(drawn["typefaces"])) == 16


def test_render_glyphs_draws_each_class_in_at_least_14_typefaces_once(drawn):
    pairs = set(zip(drawn["classes"].tolist(), drawn["typefaces"].tolist(), strict=True))
    assert len(pairs) == 13_310
    assert np.bincount(drawn["classes"]).min() >= 14


def test_render_glyphs_has_no_homoglyphs_within_a_typeface(drawn):
    owners = defaultdict(set)
    for image, label, typeface in zip(drawn["images"], drawn["classes"], drawn["typefaces"], strict=True):
        owners[typeface, image.tobytes()].add(label)
    assert all(len(classes) == 1 for classes in owners.values())
    names = {chr(code_point) for code_point in drawn["code_points"]}
    assert "A" in names
    assert not names & {"\N{GREEK CAPITAL LETTER ALPHA}", "\N{CYRILLIC CAPITAL LETTER A}"}


def test_render_glyphs_ink_is_as_large_as_fits_and_centred(drawn):
    ink = drawn["images"] > 0
    assert not ink[:, [0, 1, -2, -1]].any()
    assert not ink[:, :, [0, 1, -2, -1]].any()
    heights, widths = ink.any(2).sum(1), ink.any(1).sum(1)
    assert np.quantile(np.maximum(heights, widths), 0.05) >= 26  # faint edges may be lost in rounding


def test_load_glyphs_splits_share_no_class():
    test, validation = glyphs.load_glyphs("test"), glyphs.load_glyphs("validation")
    parts = [set(part.class_names) for part in (validation.train, validation.evaluation, test.evaluation)]
    assert [len(part) for part in parts] == [322, 107, 430]
    assert len(set.union(*parts)) == 859
    assert set(test.train.class_names) == parts[0] | parts[1]
    assert len(test.train) + len(test.evaluation) == 13_310


def test_load_glyphs_second_time_reads_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(tmp_path))
    first = glyphs.load_glyphs()
    monkeypatch.setattr(glyphs, "render_glyphs", lambda: pytest.fail("drawn again"))
    second = glyphs.load_glyphs()
    assert (first.train.images == second.train.images).all()
    assert (first.evaluation.labels == second.evaluation.labels).all()
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_load_glyphs_unreadable_cache_is_drawn_again(monkeypatch, tmp_path, drawn, damage):
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(tmp_path))
    monkeypatch.setattr(glyphs, "render_glyphs", lambda: drawn)
    glyphs.load_glyphs()
    (cache,) = tmp_path.iterdir()
    whole = cache.read_bytes()
    cache.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"no numbers here"}[damage])
    with pytest.warns(UserWarning, match="unreadable"):
        data = glyphs.load_glyphs()
    assert len(data.train) + len(data.evaluation) == 13_310
    with np.load(cache) as stored:
        assert len(stored["images"]) == 13_310


def test_load_glyphs_without_a_place_for_the_cache_still_works(monkeypatch, tmp_path, drawn):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(tmp_path / "file" / "folder"))
    monkeypatch.setattr(glyphs, "render_glyphs", lambda: drawn)
    with pytest.warns(UserWarning, match=r"unreadable|cannot be cached"):
        assert glyphs.load_glyphs().train.num_classes == 429
