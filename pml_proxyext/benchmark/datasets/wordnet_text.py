"""Definitions of WordNet in pairs, and pairs of words that people have judged, as a frozen encoder sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pml_proxyext.benchmark.datasets.cache import cache_directory, read_arrays, write_arrays
from pml_proxyext.benchmark.datasets.emoji_text import minilm_features
from pml_proxyext.benchmark.datasets.wordnet import hold_out, read_wordnet, triples

__all__ = ["JudgedWords", "WordNetText", "load_wordnet_text", "prepare_wordnet_text", "read_judged_words", "stand_in"]

_VERSION = 1  # part of the cache's name: raise it when texts or encoder change
_TRIPLES = 5000
_HELD_OUT = {"validation": 40, "test": 60}  # definitions of each class
_WORD_PAIRS = {"SimLex-999": "simlex999.txt", "WordSim-353": "wordsim353.tsv"}


@dataclass(frozen=True)
class JudgedWords:
    """Rows of both words of each pair ``(P, 2)``, and what people think of their likeness ``(P,)``."""

    pairs: Tensor
    judgements: Tensor


@dataclass(frozen=True)
class WordNetText:
    """Features of texts, and what is trained and evaluated on.

    Args:
        inputs: features of all texts ``(T, D)``, with mean square one.
        triples: rows of premise, entailed and excluded text ``(N, 3)``.
        definitions: rows of the definitions held out ``(M,)``.
        classes: of these, the lexicographer's class.
        words: by name of the collection.
    """

    inputs: Tensor
    triples: Tensor
    definitions: Tensor
    classes: Tensor
    words: Mapping[str, JudgedWords]


def prepare_wordnet_text(wordnet: Path, word_pairs: Path, progress: bool = True) -> str:
    """Make pairs of WordNet's definitions, encode them and the words, and keep the features.

    Args:
        wordnet: the folder of its database; see :func:`~pml_proxyext.benchmark.datasets.wordnet.read_wordnet`.
        word_pairs: a folder with ``simlex999.txt`` and ``wordsim353.tsv`` as gensim ships them.
        progress: whether to show a progress bar.

    Returns:
        how many texts there are, and where.

    Raises:
        ImportError: if a package of the extra ``emoji-text`` is missing.
        ValueError: if a file is missing.
        OSError: if the cache cannot be written.
    """
    judged = {name: read_judged_words(word_pairs / file) for name, file in _WORD_PAIRS.items()}
    generator = np.random.default_rng(0)
    synsets = read_wordnet(wordnet)
    parts = dict(zip(_HELD_OUT, hold_out(synsets, list(_HELD_OUT.values()), generator), strict=True))
    found = triples(synsets, generator)
    kept = [found[index] for index in generator.permutation(len(found))[:_TRIPLES]]

    rows: dict[str, int] = {}

    def row(text: str) -> int:
        return rows.setdefault(text, len(rows))

    arrays: dict[str, npt.NDArray[Any]] = {
        "triples": np.array([[row(one.premise), row(one.entailed), row(one.excluded)] for one in kept])
    }
    for part, classes in parts.items():
        arrays[f"{part}_definitions"] = np.array([row(text) for text in classes])
        arrays[f"{part}_classes"] = np.array(list(classes.values()))
    for name, lines in judged.items():
        arrays[f"{name}_pairs"] = np.array([[row(first), row(second)] for first, second, _ in lines])
        arrays[f"{name}_judgements"] = np.array([judgement for *_, judgement in lines])
    write_arrays(_path(), {**arrays, "texts": np.array(list(rows)), "features": minilm_features(list(rows), progress)})
    return f"{len(rows)} texts in {_path()}"


def read_judged_words(path: Path) -> list[tuple[str, str, float]]:
    """Read pairs of words with the mean judgement of people, tab-separated; lines with # are comments.

    Raises:
        ValueError: if there is no such file.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ValueError(f"word_pairs must have the file {path.name}, got {path}: {error.strerror}") from None
    fields = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
    return [(first, second, float(judgement)) for first, second, judgement in fields]


def load_wordnet_text(split: Literal["validation", "test"] = "test") -> WordNetText:
    """Return the pairs to train on, with the definitions of a split and all judged words.

    Raises:
        ValueError: if :func:`prepare_wordnet_text` has not been run.
    """
    names = [f"{name}_{what}" for name in _WORD_PAIRS for what in ("pairs", "judgements")]
    names += ["features", "triples", f"{split}_definitions", f"{split}_classes"]
    arrays = read_arrays(_path(), names)
    if arrays is None:
        raise ValueError(
            f"definitions are not prepared, there is no intact {_path()}; run: python examples/wordnet_pairs.py prepare"
        )
    found = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return WordNetText(
        inputs=found["features"] * found["features"].shape[1] ** 0.5,
        triples=found["triples"],
        definitions=found[f"{split}_definitions"],
        classes=found[f"{split}_classes"],
        words={name: JudgedWords(found[f"{name}_pairs"], found[f"{name}_judgements"]) for name in _WORD_PAIRS},
    )


def stand_in(names: Iterable[str] = _WORD_PAIRS) -> WordNetText:
    """Return random features in the place of texts, for a trial: whatever is measured on them means nothing.

    Example:
        >>> stand_in().inputs.shape
        torch.Size([240, 16])
    """
    generator = torch.Generator().manual_seed(0)
    pairs, judgements = torch.arange(40).view(20, 2), torch.arange(20.0)
    return WordNetText(
        inputs=torch.randn(240, 16, generator=generator),
        triples=torch.arange(180).view(60, 3),
        definitions=torch.arange(180, 240),
        classes=torch.arange(60) % 5,
        words={name: JudgedWords(pairs, judgements) for name in names},
    )


def _path() -> Path:
    return cache_directory() / f"wordnet-text-v{_VERSION}.npz"
