"""Scikit-learn's 8 x 8 digits, and what small experiments on them share: a network, batches, flipped labels."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from pytorch_metric_learning.samplers import MPerClassSampler
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import normalize, one_hot

from pml_proxyext.utils.checks import check_integer, check_number

__all__ = ["Digits", "balanced_batches", "digits", "flip_labels", "nearest_class_mean", "perceptron"]

_SIZE, _GREYS = 1797, 16


@dataclass(frozen=True)
class Digits:
    """Images ``(N, 64)`` in [0, 1] and labels ``(N,)`` in [0, 10), once to train on and once to test."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def digits(train_size: int, generator: torch.Generator | None = None) -> Digits:
    """Draw ``train_size`` of the 1797 digits to train on, and keep the others to test.

    Raises:
        ValueError: if ``train_size`` is not in [1, 1796].

    Example:
        >>> digits(1000, torch.Generator().manual_seed(0)).test_images.shape
        torch.Size([797, 64])
    """
    if check_integer("train_size", train_size) >= _SIZE:
        raise ValueError(f"train_size must be an integer < {_SIZE}, got {train_size}")
    pixels, targets = load_digits(return_X_y=True)
    images, labels = torch.from_numpy(pixels).float() / _GREYS, torch.from_numpy(targets)
    train, test = torch.randperm(_SIZE, generator=generator).tensor_split([train_size])
    return Digits(images[train], labels[train], images[test], labels[test])


def perceptron(*widths: int) -> nn.Sequential:
    """Return linear layers from each width to the next, with ReLU between them.

    Example:
        >>> perceptron(64, 32, 2)(torch.zeros(5, 64)).shape
        torch.Size([5, 2])
    """
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def balanced_batches(labels: Tensor, per_class: int, steps: int) -> Tensor:
    """Return the indices ``(steps, C * per_class)`` of batches in which each class has ``per_class`` samples.

    The sampler is PML's, which draws from PML's own generator
    (:func:`pml_proxyext.benchmark.trainer.seeded` seeds it).
    """
    batch_size = per_class * len(labels.unique())
    sampler = MPerClassSampler(labels, per_class, batch_size, length_before_new_iter=steps * batch_size)
    return torch.tensor(list(sampler)).view(steps, batch_size)


def flip_labels(labels: Tensor, share: float, num_classes: int, generator: torch.Generator | None = None) -> Tensor:
    """Return the labels with exactly ``round(share * N)`` of them moved to another class, all others equally likely.

    Example:
        >>> labels = torch.zeros(10, dtype=torch.long)
        >>> int((flip_labels(labels, 0.3, num_classes=4) != labels).sum())
        3
    """
    count = round(check_number("share", share, low=0.0, high=1.0) * len(labels))
    chosen = torch.randperm(len(labels), generator=generator)[:count]
    flipped = labels.clone()
    flipped[chosen] += torch.randint(1, num_classes, (count,), generator=generator)
    return flipped % num_classes


def nearest_class_mean(embeddings: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """Return, for each query, the class whose mean direction has the largest cosine with it.

    Args:
        embeddings: ``(N, D)``, from which the class means are made, each embedding at length 1.
        labels: ``(N,)`` of these, with every class in [0, C).
        queries: ``(M, D)``; may be ``embeddings`` themselves.

    Example:
        >>> nearest_class_mean(torch.eye(2), torch.tensor([0, 1]), torch.tensor([[1.0, 2.0]]))
        tensor([1])
    """
    means = one_hot(labels).to(embeddings).T @ normalize(embeddings)
    return (queries @ normalize(means).T).argmax(dim=1)
