"""Definitions and judged words are encoded once, each text once, and come back as they were written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from pml_proxyext.benchmark.datasets import wordnet_text
from pml_proxyext.benchmark.datasets.wordnet_text import load_wordnet_text, prepare_wordnet_text, read_judged_words


def test_judged_words(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("# said of\n# Word 1\tWord 2\told\nold\tnew\t1.58\ntiger\ttiger\t10.00\n")
    assert read_judged_words(tmp_path / "a.txt") == [("old", "new", 1.58), ("tiger", "tiger", 10.0)]
    with pytest.raises(ValueError, match=r"word_pairs must have the file b\.txt"):
        read_judged_words(tmp_path / "b.txt")


def test_it_is_said_how_to_prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"wordnet_pairs\.py prepare"):
        load_wordnet_text()


def test_prepared_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []

    def features(texts: Sequence[str], progress: bool) -> np.ndarray:
        encoded.extend(texts)
        return np.eye(len(texts), dtype=np.float32)  # as long as all-MiniLM's

    lines = [f"{i:08} 05 n 01 a 0 001 @ 00000000 n 0000 | text {i}" for i in range(30)]
    for name, text in (("noun", "\n".join(lines)), ("verb", " 1"), ("adj", " 1"), ("adv", " 1")):
        (tmp_path / f"data.{name}").write_text(text + "\n")
    (tmp_path / "simlex999.txt").write_text("old\tnew\t1.5\n")
    (tmp_path / "wordsim353.tsv").write_text("new\tcat\t2.5\n")
    monkeypatch.setenv("PML_PROXYEXT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(wordnet_text, "minilm_features", features)
    assert prepare_wordnet_text(tmp_path, tmp_path, progress=False).startswith(f"{len(encoded)} texts in ")
    assert len(encoded) == len(set(encoded))

    test, validation = load_wordnet_text("test"), load_wordnet_text("validation")
    assert torch.equal(test.inputs, torch.eye(len(encoded)) * len(encoded) ** 0.5)
    assert len(test.definitions) == len(validation.definitions) == 10  # a third
    texts = [
        {encoded[row] for row in rows.flatten()} for rows in (test.definitions, validation.definitions, test.triples)
    ]
    assert sum(map(len, texts)) == len(set.union(*texts))
    assert test.classes.eq(5).all()
    words = {name: [[encoded[row] for row in pair] for pair in one.pairs] for name, one in test.words.items()}
    assert words == {"SimLex-999": [["old", "new"]], "WordSim-353": [["new", "cat"]]}
    assert test.words["WordSim-353"].judgements.tolist() == [2.5]
