"""Laws of latents, and the judge of what is decoded from them."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import mse_loss

from pml_proxyext.benchmark.digits import digits
from pml_proxyext.benchmark.latent_generation import (
    Judge,
    normal_like,
    sampler_keeping,
    share_beyond_sigmas,
    train_autoencoder,
)
from pml_proxyext.geometry import SemiDiscreteOT


@pytest.fixture(scope="module")
def judge() -> Judge:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Judge(digits(1000, torch.Generator().manual_seed(0)), steps=200)


def test_the_autoencoder_knows_more_of_an_image_than_the_mean_does() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        data = digits(1000, torch.Generator().manual_seed(0))
        network = train_autoencoder(data.train_images, 4, steps=150)
    with torch.no_grad():
        decoded = network.decoder(network.encoder(data.test_images))
    mean = data.train_images.mean(0).expand_as(data.test_images)
    assert mse_loss(decoded, data.test_images) < 0.7 * mse_loss(mean, data.test_images)
    assert ((decoded >= 0) & (decoded <= 1)).all()


def test_the_judge_scores_the_sets_that_it_is_made_from(judge: Judge) -> None:
    data = judge.data
    test, train = judge.scores(data.test_images), judge.scores(data.train_images)
    assert test["mixed"] == pytest.approx(0.05, abs=1 / len(data.test_images))
    assert test["coverage"] == 1.0
    assert train["nearest"] == pytest.approx(0.0, abs=1e-2)  # cdist takes differences of squares
    assert train["imbalance"] < 0.02
    assert judge.accuracy > 0.94


def test_blends_of_two_digits_are_mixed(judge: Judge) -> None:
    data = judge.data
    generator = torch.Generator().manual_seed(1)
    first, second = torch.randint(1000, (2, 500), generator=generator)
    apart = data.train_labels[first] != data.train_labels[second]
    images = (data.train_images[first] + data.train_images[second])[apart] / 2
    assert judge.scores(images)["mixed"] > 0.25


def test_one_image_again_and_again_has_one_class_and_covers_little(judge: Judge) -> None:
    image = judge.data.train_images[:1]
    found = judge.scores(image.expand(200, -1))
    _, (label,) = judge.confidence(image)
    shares = judge.data.train_labels.bincount() / 1000
    assert found["imbalance"] == pytest.approx(1 - shares[label].item(), abs=1e-6)
    assert found["coverage"] < 0.02


def test_coverage_is_that_of_its_definition(judge: Judge) -> None:
    made, tests = judge.data.train_images[:60], judge.data.test_images
    covered = 0
    for i, test in enumerate(tests):
        others = (tests - test).norm(dim=1)
        others[i] = math.inf
        covered += bool((made - test).norm(dim=1).min() <= others.sort().values[4])
    assert 0.1 < covered / len(tests) < 0.9
    assert judge.scores(made)["coverage"] == pytest.approx(covered / len(tests), abs=2 / len(tests))  # rounding


def test_normal_draws_have_mean_and_covariance_of_the_latents() -> None:
    latents = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) @ torch.tensor(
        [[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.5, 0.3]]
    )
    latents += torch.tensor([5.0, 0.0, -5.0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        drawn = normal_like(latents, 200_000)
    assert drawn.dtype == latents.dtype
    # Standard errors are below 0.02; these are more than five of them.
    torch.testing.assert_close(drawn.mean(0), latents.mean(0), atol=0.03, rtol=0)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(latents.T), atol=0.12, rtol=0)


def test_a_normal_law_of_two_dimensions_has_one_point_in_ninety_beyond_three_sigmas() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(100_000, 2, generator=generator)
    labels = torch.zeros(100_000, dtype=torch.long)
    points = torch.randn(100_000, 2, generator=generator)
    # exp(-9 / 2) = 0.0111; the standard error is 0.0003, and the tolerance six of it.
    assert share_beyond_sigmas(latents, labels, points) == pytest.approx(math.exp(-4.5), abs=2e-3)


def test_points_near_any_class_are_inside_in_any_coordinates() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    labels = torch.arange(200) % 2
    latents[labels == 1] += 100
    points = torch.tensor([[0.0, 0.0], [100.0, 100.0], [50.0, 50.0], [3.0, -50.0]], dtype=torch.float64)
    assert share_beyond_sigmas(latents, labels, points) == 0.5
    stretch = torch.tensor([[3.0, 1.0], [0.0, 0.01]], dtype=torch.float64)
    assert share_beyond_sigmas(latents @ stretch, labels, points @ stretch) == 0.5


def test_a_sampler_keeps_the_share_that_it_is_asked_for_and_no_more_than_it_must() -> None:
    generator = torch.Generator().manual_seed(0)
    modes = torch.randn(40, 2, generator=generator, dtype=torch.float64)
    modes[20:] += 8
    transport = SemiDiscreteOT(modes).fit_exact()
    centroids = transport.cells().centroids
    draws = transport.source.sample(2000, generator)
    found = {share: sampler_keeping(transport, centroids, share, draws) for share in (0.3, 0.9, 1.0)}
    assert found[0.3].theta_max < found[0.9].theta_max < found[1.0].theta_max == math.pi
    for share in (0.3, 0.9):
        sampler = found[share]
        assert sampler.transport(draws).is_regular.double().mean() >= share
        sampler.theta_max *= 1 - 1e-4
        assert sampler.transport(draws).is_regular.double().mean() < share
    with pytest.raises(ValueError, match="share"):
        sampler_keeping(transport, centroids, 0.0, draws)
