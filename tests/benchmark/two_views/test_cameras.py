"""A run on two cameras: scores against sorting, training that learns, and the same draws for every method."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from pml_proxyext.benchmark.datasets.emoji_cameras import camera_stand_in
from pml_proxyext.benchmark.trainer import seeded
from pml_proxyext.benchmark.two_views.cameras import CURVE_RANKS, CameraMethod, score_cameras, train_cameras
from pml_proxyext.models import LatentMean

TRAIN, HELD_OUT = camera_stand_in()
ALIGNED = {"cross_recon_loss": 0.0, "adv_loss": 0.0}


def trained(method, steps, seed=0):
    with seeded(seed, part=0):
        return train_cameras(method, TRAIN, steps)


def test_scores_are_those_by_sorting():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 60, 4, generator=generator)
    b = b + a
    similarity = (normalize(a) @ normalize(b).T).numpy()
    ranks = [
        np.flatnonzero(np.argsort(-row) == i)[0] + 1 for s in (similarity, similarity.T) for i, row in enumerate(s)
    ]
    found = score_cameras(a, b)
    for name, rank in (("recall_at_1", 1), ("recall_at_5", 5), ("recall_at_10", 10)):
        assert found["metrics"][name] == pytest.approx(np.mean(np.array(ranks) <= rank), abs=1e-6)
        assert found["curve"][CURVE_RANKS.index(rank)] == found["metrics"][name]
    assert found["metrics"]["mean_average_precision"] == pytest.approx(np.mean(1 / np.array(ranks)), abs=1e-6)
    assert found["curve"] == sorted(found["curve"])


def test_training_learns_to_reconstruct_and_ends_in_evaluation_mode():
    """Unseen pictures, by the statistics of the batch, as running ones lag behind."""
    errors = []
    for steps in (1, 25):
        trainer = trained(CameraMethod("", ALIGNED), steps)
        assert not any(part.training for part in trainer.models.values())
        trainer.set_to_train()
        with torch.no_grad():
            decoded = trainer.models["decoder"](LatentMean()(trainer.models["trunk"](HELD_OUT.a)))
        errors.append((decoded - HELD_OUT.a).square().mean())
    assert errors[1] < 0.8 * errors[0]


def test_methods_start_alike_and_see_the_same_batches():
    """After a step at which nothing but the terms differ, what no term moves is the same; a second seed differs."""
    methods = CameraMethod("", ALIGNED), CameraMethod("", ALIGNED, "prior"), CameraMethod("")
    parts = [trained(method, 1).models for method in methods]
    critics = [part["discriminator"].layers[0].weight for part in parts]
    assert torch.equal(critics[0], critics[1])  # neither has a game
    assert not torch.equal(critics[0], critics[2])
    # Running means of the first layer: of the first batch, by the first weights.
    means = [part["trunk"].body[1].running_mean for part in parts]
    assert torch.equal(means[0], means[1])
    assert torch.equal(means[0], means[2])
    other = trained(methods[0], 1, seed=1).models["trunk"].body[1].running_mean
    assert not torch.equal(means[0], other)
