r"""Hypothesis strategies for batches of embeddings: for the relations of this package, and for your own loss.

A batch is drawn in the order labels, width, geometry, seed, hyper-parameters. Sizes and labels shrink as integers do,
so that a counterexample comes back with few samples in few classes; the coordinates follow from the seed. Matrices of
scores are drawn likewise, for what looks at nothing else.

Example:
    A loss of one's own that claims to be at least zero:

    >>> from hypothesis import given
    >>> from pytorch_metric_learning.losses import TripletMarginLoss
    >>> @given(batches("unbalanced"))
    ... def check_nonnegative(batch):
    ...     assert TripletMarginLoss()(batch.embeddings, batch.labels) >= 0
    >>> check_nonnegative()
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

try:
    from hypothesis import strategies as st
    from hypothesis.strategies import DrawFn, SearchStrategy
except ImportError as error:
    raise ImportError("this needs 'hypothesis'; install it with: pip install 'pml-proxyext[test]'") from error

from pml_proxyext.bounds.assumptions import Hyper, Labels
from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.relation import Relation
from pml_proxyext.testing.geometries import GEOMETRIES
from pml_proxyext.utils.checks import check_choice

__all__ = [
    "LABEL_STRUCTURES",
    "SCORE_KINDS",
    "admissible_batches",
    "batches",
    "class_counts",
    "hyper_parameters",
    "near_witness",
    "relation_batches",
    "score_matrices",
]

LABEL_STRUCTURES = ("any", "balanced", "pairs", "one_class", "unbalanced")
"""Any: at least one positive and one negative pair. One class: no negatives. Unbalanced: one class outweighs the
rest, most of which are single samples."""

SCORE_KINDS = ("gaussian", "constant", "ties", "dominant_diagonal", "heavy_tailed")
"""Ties: integers from -2 to 2. Dominant diagonal: positives ten deviations above the rest, as after training. Heavy
tailed: Student's t with 1.5 degrees of freedom, so that one score of a matrix may outweigh all others."""

_MAX_CLASSES, _MAX_PER_CLASS, _MAX_SIZE = 6, 5, 12


def class_counts(structure: str = "any") -> SearchStrategy[list[int]]:
    """Return a strategy for the number of samples of each class.

    Args:
        structure: one of :data:`LABEL_STRUCTURES`.

    Raises:
        ValueError: if there is no such structure.

    Example:
        >>> from hypothesis import find
        >>> find(class_counts("balanced"), lambda counts: sum(counts) > 6)
        [4, 4]
    """
    check_choice("structure", structure, LABEL_STRUCTURES)
    several = st.integers(2, _MAX_CLASSES)
    if structure == "one_class":
        return st.integers(2, _MAX_PER_CLASS).map(lambda members: [members])
    if structure == "pairs":
        return several.map(lambda classes: [2] * classes)
    if structure == "balanced":
        members = st.integers(2, _MAX_PER_CLASS)
        return st.builds(lambda classes, members: [members] * classes, several, members)
    if structure == "unbalanced":
        rest = st.lists(st.integers(1, 2), min_size=1, max_size=_MAX_CLASSES - 1)
        return st.builds(lambda largest, rest: [largest, *rest], st.integers(3, 2 * _MAX_PER_CLASS), rest)
    counts = st.lists(st.integers(1, _MAX_PER_CLASS), min_size=2, max_size=_MAX_CLASSES)
    return counts.filter(lambda counts: max(counts) > 1)


def hyper_parameters(hyper: Mapping[str, Hyper]) -> SearchStrategy[dict[str, float]]:
    """Return a strategy for values of hyper-parameters in their ranges."""

    def values(one: Hyper) -> SearchStrategy[float]:
        return (
            st.integers(int(one.low), int(one.high))
            if one.is_integer
            else st.floats(one.low, one.high, allow_subnormal=False)
        )

    return st.fixed_dictionaries({name: values(one) for name, one in hyper.items()})


@st.composite
def batches(
    draw: DrawFn,
    structure: str | Iterable[str] = "any",
    *,
    geometry: str | Iterable[str] = tuple(GEOMETRIES),
    hyper: Mapping[str, Hyper] | None = None,
    spare_proxies: int = 0,
) -> BoundBatch:
    """Return a strategy for batches; all are float64 on the CPU.

    Args:
        structure: how many samples the classes have: one or several of :data:`LABEL_STRUCTURES`.
        geometry: where the samples lie: one or several of the names in
            :data:`~pml_proxyext.testing.geometries.GEOMETRIES`, by default all.
        hyper: hyper-parameters to draw, by name.
        spare_proxies: how many classes at most have a proxy and no sample in the batch.

    Raises:
        ValueError: if there is no such structure or geometry.
    """
    structures = [structure] if isinstance(structure, str) else list(structure)
    geometries = [geometry] if isinstance(geometry, str) else list(geometry)
    for name in geometries:
        check_choice("geometry", name, GEOMETRIES)
    counts = draw(st.sampled_from(structures).flatmap(class_counts))
    num_classes = len(counts) + draw(st.integers(0, spare_proxies))
    num_classes = max(num_classes, 2)  # a single proxy leaves nothing to choose between
    size = draw(st.integers(2, _MAX_SIZE))
    place = draw(st.sampled_from(geometries))
    seed = draw(st.integers(0, 9999))
    generator = np.random.default_rng(seed)
    classes = np.sort(generator.permutation(num_classes)[: len(counts)])
    labels = np.repeat(classes, counts)
    if draw(st.booleans()):
        labels = generator.permutation(labels)
    embeddings, proxies = GEOMETRIES[place](generator, labels, num_classes, size)
    return BoundBatch(
        torch.from_numpy(embeddings),
        torch.from_numpy(labels),
        torch.from_numpy(proxies),
        draw(hyper_parameters(hyper or {})),
        origin=f"geometry={place}, seed={seed}",
    )


_STRUCTURES = {
    Labels.ANY: ("any", "balanced", "unbalanced"),
    Labels.BALANCED: ("balanced", "pairs"),
    Labels.PAIRS: ("pairs",),
    Labels.PROXY_ANY: LABEL_STRUCTURES,
    Labels.PROXY_BALANCED: ("balanced", "pairs"),
}


def admissible_batches(relation: Relation) -> SearchStrategy[BoundBatch]:
    """Return a strategy for batches that fulfil the assumptions of a relation, with its hyper-parameters."""
    spare = 3 if relation.labels is Labels.PROXY_ANY else 0
    return batches(_STRUCTURES[relation.labels], hyper=relation.hyper, spare_proxies=spare)


def relation_batches(relation: Relation) -> SearchStrategy[BoundBatch]:
    """Return a strategy for admissible batches, some of them near one on which the relation is tight, if it is."""
    anywhere = admissible_batches(relation)
    return st.one_of(anywhere, near_witness(relation)) if relation.is_tight else anywhere


@st.composite
def near_witness(draw: DrawFn, relation: Relation) -> BoundBatch:
    """Return a strategy for the batch on which a relation is tight, with noise of 0.1 to 1e-12 added."""
    assert relation.witness is not None
    batch = relation.witness()
    noise, seed = 10.0 ** -draw(st.integers(1, 12)), draw(st.integers(0, 9999))
    generator = np.random.default_rng(seed)
    moved = batch.embeddings + noise * torch.from_numpy(generator.standard_normal(tuple(batch.embeddings.shape)))
    origin = f"witness with noise={noise:g}, seed={seed}"
    return BoundBatch(moved, batch.labels, batch.proxies, batch.hyper, origin)


@st.composite
def score_matrices(
    draw: DrawFn, number: int = 1, *, kind: str | Iterable[str] = SCORE_KINDS, max_size: int = 12
) -> list[Tensor]:
    """Return a strategy for square matrices of scores that share a size, each of a kind and a scale of its own.

    All are float64 on the CPU. Scales lie between 0.05 and 300: cosines divided by a temperature, and critics without
    any bound.

    Args:
        number: how many matrices.
        kind: one or several of :data:`SCORE_KINDS`, by default all.
        max_size: the largest number of rows; the smallest is 2.

    Raises:
        ValueError: if there is no such kind.

    Example:
        >>> from hypothesis import find
        >>> [scores] = find(score_matrices(), lambda drawn: drawn[0].diagonal().max() < drawn[0].min() + 1)
        >>> scores.shape, scores.dtype
        (torch.Size([2, 2]), torch.float64)
    """
    kinds = [kind] if isinstance(kind, str) else list(kind)
    for name in kinds:
        check_choice("kind", name, SCORE_KINDS)
    size = draw(st.integers(2, max_size))
    drawn = [draw(st.tuples(st.sampled_from(kinds), st.floats(-3.0, 5.7), st.integers(0, 9999))) for _ in range(number)]
    return [_scores(name, size, log_scale, seed) for name, log_scale, seed in drawn]


def _scores(kind: str, size: int, log_scale: float, seed: int) -> Tensor:
    generator = np.random.default_rng(seed)
    if kind == "constant":
        scores = np.full((size, size), generator.standard_normal())
    elif kind == "ties":
        scores = generator.integers(-2, 3, (size, size)).astype(float)
    elif kind == "heavy_tailed":
        scores = generator.standard_t(1.5, (size, size))
    else:
        scores = generator.standard_normal((size, size)) + 10 * (kind == "dominant_diagonal") * np.eye(size)
    return torch.from_numpy(np.exp(log_scale) * scores)
