"""Ways to lay a batch out in space, from harmless to hostile: where bounds are loose, tight, or numerically hard."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["GEOMETRIES", "Array", "Geometry"]

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Geometry = Callable[[np.random.Generator, Labels, int, int], tuple[Array, Array]]
"""``(generator, labels, number of classes, width)`` to embeddings ``(N, D)`` and proxies ``(C, D)``."""


def _rows(generator: np.random.Generator, number: int, size: int) -> Array:
    rows: Array = generator.standard_normal((number, size))
    return rows


def _small(generator: np.random.Generator) -> float:
    """Draw a magnitude of noise from 0.1 down to 1e-8."""
    return float(10.0 ** -generator.integers(1, 9))


def _around(generator: np.random.Generator, points: Array, noise: float) -> Array:
    return points + noise * _rows(generator, *points.shape)


def gaussian(generator: np.random.Generator, labels: Labels, num_classes: int, size: int) -> tuple[Array, Array]:
    """Independent normal embeddings and proxies."""
    return _rows(generator, len(labels), size), _rows(generator, num_classes, size)


def tight(generator: np.random.Generator, labels: Labels, num_classes: int, size: int) -> tuple[Array, Array]:
    """Well separated classes, each around its proxy: a network after training."""
    proxies = _rows(generator, num_classes, size)
    return _around(generator, proxies[labels], 0.1), proxies


def wrong_class_clusters(
    generator: np.random.Generator, labels: Labels, num_classes: int, size: int
) -> tuple[Array, Array]:
    """Clusters that have nothing to do with the labels."""
    proxies = _rows(generator, num_classes, size)
    return _around(generator, proxies[generator.permutation(labels)], _small(generator)), proxies


def near_identical(generator: np.random.Generator, labels: Labels, num_classes: int, size: int) -> tuple[Array, Array]:
    """All embeddings in one place, up to noise of 1e-3 to 1e-6."""
    noise = 10.0 ** -generator.integers(3, 7)
    place = np.tile(_rows(generator, 1, size), (len(labels), 1))
    return _around(generator, place, noise), _rows(generator, num_classes, size)


def collapsed(generator: np.random.Generator, labels: Labels, num_classes: int, size: int) -> tuple[Array, Array]:
    """Each class in one point, up to 1e-9."""
    proxies = _rows(generator, num_classes, size)
    return _around(generator, proxies[labels], 1e-9), proxies


def antipodal(generator: np.random.Generator, labels: Labels, num_classes: int, size: int) -> tuple[Array, Array]:
    """Embeddings at two opposite poles; samples of one class may be at both."""
    axis = _rows(generator, 1, size)
    noise = _small(generator)
    embeddings = _around(generator, axis * generator.choice([-1.0, 1.0], (len(labels), 1)), noise)
    return embeddings, _around(generator, axis * generator.choice([-1.0, 1.0], (num_classes, 1)), noise)


def largest_class_against_rest(
    generator: np.random.Generator, labels: Labels, num_classes: int, size: int
) -> tuple[Array, Array]:
    """The largest class at one pole and all others at the other: what breaks bounds for unbalanced batches."""
    axis = _rows(generator, 1, size)
    is_largest = np.arange(num_classes) == np.bincount(labels).argmax()
    proxies = np.where(is_largest[:, None], axis, -axis)
    noise = _small(generator)
    return _around(generator, proxies[labels], noise), _around(generator, proxies, noise)


def simplex(generator: np.random.Generator, labels: Labels, num_classes: int, size: int) -> tuple[Array, Array]:
    """Classes and proxies on the vertices of a regular simplex, with noise of 0.1 to 1e-8: where the floors are."""
    vertices = np.eye(num_classes, max(size, num_classes))
    vertices[:, :num_classes] -= 1 / num_classes
    vertices /= np.linalg.norm(vertices, axis=1, keepdims=True)
    noise, radius, weight_norm = _small(generator), generator.lognormal(), generator.lognormal()
    return radius * _around(generator, vertices[labels], noise), weight_norm * _around(generator, vertices, noise)


def orthogonal(generator: np.random.Generator, labels: Labels, num_classes: int, size: int) -> tuple[Array, Array]:
    """Classes and proxies on orthogonal axes: all negatives are equally far."""
    axes, noise = np.eye(num_classes, max(size, num_classes)), _small(generator)
    return _around(generator, axes[labels], noise), _around(generator, axes, noise)


def heavy_tailed_norms(
    generator: np.random.Generator, labels: Labels, num_classes: int, size: int
) -> tuple[Array, Array]:
    """Norms over several orders of magnitude."""
    embeddings, proxies = gaussian(generator, labels, num_classes, size)
    return embeddings * generator.lognormal(0, 2, (len(labels), 1)), proxies


def against_the_proxies(
    generator: np.random.Generator, labels: Labels, num_classes: int, size: int
) -> tuple[Array, Array]:
    """Embeddings opposite to the proxy of their class, or on that of another one."""
    proxies = _rows(generator, num_classes, size)
    targets = -proxies[labels] if generator.random() < 0.5 else proxies[(labels + 1) % num_classes]
    return _around(generator, targets, _small(generator)), proxies


def intruder(generator: np.random.Generator, labels: Labels, num_classes: int, size: int) -> tuple[Array, Array]:
    """Tight classes, and one sample in the midst of another class."""
    embeddings, proxies = tight(generator, labels, num_classes, size)
    who, where = generator.integers(len(labels), size=2)
    embeddings[who] = embeddings[where] + _small(generator) * generator.standard_normal(size)
    return embeddings, proxies


GEOMETRIES: dict[str, Geometry] = {
    "gaussian": gaussian,
    "tight": tight,
    "wrong_class_clusters": wrong_class_clusters,
    "near_identical": near_identical,
    "collapsed": collapsed,
    "antipodal": antipodal,
    "largest_class_against_rest": largest_class_against_rest,
    "simplex": simplex,
    "orthogonal": orthogonal,
    "heavy_tailed_norms": heavy_tailed_norms,
    "against_the_proxies": against_the_proxies,
    "intruder": intruder,
}
"""By name; the first is the simplest, and what a counterexample shrinks to if it can."""
