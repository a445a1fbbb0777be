"""Digits made by an autoencoder from drawn latents: laws to draw from, and a judge of what comes out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from pml_proxyext.benchmark.digits import Digits, perceptron
from pml_proxyext.geometry import LatentSampler, SemiDiscreteOT
from pml_proxyext.utils.checks import check_number

__all__ = ["Autoencoder", "Judge", "normal_like", "sampler_keeping", "share_beyond_sigmas", "train_autoencoder"]

_BATCH, _LEARNING_RATE, _NETWORKS, _NOISE = 128, 2e-3, 3, 0.1
_JUDGE_STEPS, _NEIGHBOURS = 500, 5


@dataclass(frozen=True)
class Autoencoder:
    """An encoder ``(N, 64) -> (N, d)``, piecewise linear, and a decoder back to images in [0, 1]."""

    encoder: nn.Module
    decoder: nn.Module


def train_autoencoder(images: Tensor, dim: int, steps: int) -> Autoencoder:
    """Train on the mean squared error of pixels; draws from torch's default generator."""
    encoder = perceptron(images.shape[1], 256, 128, dim)
    decoder = nn.Sequential(perceptron(dim, 128, 256, images.shape[1]), nn.Sigmoid())
    networks = nn.ModuleList([encoder, decoder])
    _train(networks, len(images), steps, lambda batch: mse_loss(decoder(encoder(images[batch])), images[batch]))
    return Autoencoder(encoder, decoder)


class Judge:
    """Says of images whether they are of one class, and whether as a set they are like test images.

    Three networks are trained to tell classes apart, on the training images under a little noise. They share nothing
    with an autoencoder. An image is *mixed* if the largest mean probability of a class is lower than that of 95% of the
    test images. So 5% of these are mixed by definition.

    Args:
        data: what to train on, and what to compare with.
        steps: batches for each network.

    Attributes:
        threshold: probability below which an image is mixed.
        accuracy: on the test images.
    """

    def __init__(self, data: Digits, steps: int = _JUDGE_STEPS) -> None:
        self.data, self.networks = data, nn.ModuleList(perceptron(64, 128, 128, 10) for _ in range(_NETWORKS))
        for network in self.networks:
            _train(network, len(data.train_images), steps, partial(self._loss, network))
        confidence, found = self.confidence(data.test_images)
        self.threshold = confidence.quantile(0.05).item()
        self.accuracy = (found == data.test_labels).float().mean().item()
        distances = torch.cdist(data.test_images, data.test_images)
        self.radii = distances.topk(_NEIGHBOURS + 1, largest=False).values[:, -1]  # each is its own nearest

    @torch.no_grad()
    def confidence(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the largest mean probability of a class, and the class."""
        probabilities = torch.stack([network(images).softmax(1) for network in self.networks]).mean(0)
        found = probabilities.max(1)
        return found.values, found.indices

    def scores(self, images: Tensor) -> dict[str, float]:
        """Judge a set of images.

        Returns:
            ``mixed``, the share of mixed images; ``imbalance``, the total variation between the shares of the classes
            found and those of the training labels; ``coverage``, the share of test images with one of the set nearer
            than the fifth nearest test image; ``nearest``, the mean distance to the nearest training image.

        Reference:
            Naeem, Oh, Uh, Choi, Yoo, "Reliable Fidelity and Diversity Metrics for Generative Models", ICML 2020, for
            coverage.
        """
        confidence, classes = self.confidence(images)
        made, real = (labels.bincount(minlength=10) / len(labels) for labels in (classes, self.data.train_labels))
        found = {
            "mixed": (confidence < self.threshold).float().mean(),
            "imbalance": (made - real).abs().sum() / 2,
            "coverage": (torch.cdist(self.data.test_images, images) <= self.radii[:, None]).any(1).float().mean(),
            "nearest": torch.cdist(images, self.data.train_images).amin(1).mean(),
        }
        return {name: value.item() for name, value in found.items()}

    def _loss(self, network: nn.Module, batch: Tensor) -> Tensor:
        images = self.data.train_images[batch]
        return cross_entropy(network(images + _NOISE * torch.randn_like(images)), self.data.train_labels[batch])


def normal_like(latents: Tensor, count: int) -> Tensor:
    """Draw from the normal law of the latents' mean and covariance, from torch's default generator."""
    factor = torch.linalg.cholesky(torch.cov(latents.double().T).reshape(latents.shape[1], -1))
    draws = torch.randn(count, latents.shape[1], dtype=torch.float64)
    return (latents.double().mean(0) + draws @ factor.T).to(latents)


def share_beyond_sigmas(latents: Tensor, labels: Tensor, points: Tensor, sigmas: float = 3.0) -> float:
    """Return the share of points farther than so many standard deviations from every class.

    Distances are Mahalanobis's, by the mean and covariance of each class of ``latents``. Of a normal law in many
    dimensions most points are beyond 3, so this tells something in two or three dimensions only.
    """
    distances = []
    for label in labels.unique():
        members = latents[labels == label].double()
        factor = torch.linalg.cholesky(torch.cov(members.T).reshape(latents.shape[1], -1))
        whitened = torch.linalg.solve_triangular(factor, (points.double() - members.mean(0)).T, upper=False)
        distances.append(whitened.norm(dim=0))
    return (torch.stack(distances).amin(0) > sigmas).double().mean().item()


def sampler_keeping(transport: SemiDiscreteOT, centroids: Tensor, share: float, draws: Tensor) -> LatentSampler:
    """Return the sampler with the smallest angle at which at least a share of ``draws`` is regular; 1 for any angle.

    No label has a part in this.
    """
    check_number("share", share, low=0, high=1, open_low=True)

    def sampler(theta_max: float) -> LatentSampler:
        return LatentSampler(transport.source, transport.atoms, transport.heights, centroids, theta_max)

    low, high = 0.0, math.pi
    if share < 1:
        for _ in range(20):
            middle = (low + high) / 2
            is_enough = sampler(middle).transport(draws).is_regular.double().mean() >= share
            low, high = (low, middle) if is_enough else (middle, high)
    return sampler(high)


def _train(network: nn.Module, count: int, steps: int, loss_func: Callable[[Tensor], Tensor]) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps + 1)
    for _ in range(steps):
        loss = loss_func(torch.randint(count, (_BATCH,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
