"""WordNet's files are read, definitions are held out, and triples follow its relations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pml_proxyext.benchmark.datasets.wordnet import Synset, Triple, hold_out, read_wordnet, triples

NOUNS = """\
  1 a line of the licence
00000001 05 n 01 animal 0 002 ~ 00000002 n 0000 ~ 00000003 n 0000 | a living being
00000002 05 n 02 dog 0 canine 1 001 @ 00000001 n 0000 | it barks; "the dog barked"; "man's best friend"
00000003 05 n 01 cat 0 001 @ 00000001 n 0000 | it meows
"""
VERBS = "00000001 29 v 01 sleep 0 000 02 + 02 00 + 08 00 | rest with eyes shut\n"
ADJECTIVES = """\
00000001 00 a 01 large 0 002 ! 00000002 a 0101 & 00000003 a 0000 | above average; "a large city"
00000002 00 a 01 small 0 001 ! 00000001 a 0101 | below average; "a small car"
00000003 00 s 01 gigantic(p) 0 001 & 00000001 a 0000 | so exceedingly large
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("noun", NOUNS), ("verb", VERBS), ("adj", ADJECTIVES), ("adv", "")):
        (tmp_path / f"data.{name}").write_text(text)
    return tmp_path


def test_fields_of_the_files(folder: Path) -> None:
    synsets = read_wordnet(folder)
    assert len(synsets) == 7
    dog = Synset("n", 5, "it barks", ("the dog barked", "man's best friend"), (("@", ("n", "00000001")),))
    assert synsets["n", "00000002"] == dog
    assert synsets["v", "00000001"].pointers == ()
    assert synsets["a", "00000003"].kind == "s"


def test_numbers_of_words_are_hexadecimal(folder: Path) -> None:
    words = " ".join(f"word{i} 0" for i in range(16))
    (folder / "data.adv").write_text(f"00000001 02 r 10 {words} 001 ! 00000009 r 0101 | often\n")
    assert read_wordnet(folder)["r", "00000001"].related("!") == [("r", "00000009")]


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "data.verb").unlink()
    with pytest.raises(ValueError, match=r"without data\.verb.*wordnet-base"):
        read_wordnet(folder)


def test_triples_follow_the_relations(folder: Path) -> None:
    found = triples(read_wordnet(folder), np.random.default_rng(0))
    of_nouns, of_satellite, *of_heads = found
    assert of_nouns in (
        Triple("it barks", "a living being", "it meows"),
        Triple("it meows", "a living being", "it barks"),
    )
    assert of_satellite == Triple("so exceedingly large", "above average", "below average")
    assert of_heads == [
        Triple("above average", "a large city", "below average"),
        Triple("below average", "a small car", "above average"),
    ]


def test_an_antonym_goes_before_a_sibling(folder: Path) -> None:
    synsets = read_wordnet(folder)
    for own, other in (("2", "1"), ("3", "1")):
        key = ("n", f"0000000{own}")
        one = synsets[key]
        synsets[key] = Synset("n", 5, one.definition, (), (*one.pointers, ("!", ("a", f"0000000{other}"))))
    assert triples(synsets, np.random.default_rng(0))[0].excluded == "above average"


def test_what_is_held_out_is_in_no_triple() -> None:
    rng = np.random.default_rng(0)
    keys = [("n", str(i)) for i in range(200)]
    # Some definitions occur twice, in one class (30 to 39) or in two (110 to 119).
    names = [f"text {i - 30 if 30 <= i < 40 else i - 100 if 110 <= i < 120 else i}" for i in range(200)]
    synsets = {key: Synset("n", i // 100, names[i], (), (("@", keys[0]),)) for i, key in enumerate(keys)}
    before = set(names)
    parts = hold_out(synsets, [10, 50], rng)
    assert [len(part) for part in parts] == [20, 26 + 30]  # a third of 80 and of 90, and no more
    assert not set(parts[0]) & set(parts[1])
    left = {synset.definition for synset in synsets.values()}
    assert left | set(parts[0]) | set(parts[1]) == before
    assert not left & (set(parts[0]) | set(parts[1]))
    assert not {f"text {i}" for i in range(10, 20)} & (set(parts[0]) | set(parts[1]))
    for part in parts:
        assert all(names.index(text) // 100 == number for text, number in part.items())
