import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from pml_proxyext.benchmark.datasets.emoji_drawings import LabelledDrawings, drawings_stand_in
from pml_proxyext.benchmark.self_supervised.evaluation import plain_view, renew_batch_norm, score

TRAIN, HELD_OUT = drawings_stand_in("test")


class Patches(nn.Module):
    """The means of 16 patches, not centred: features that are there without training."""

    def forward(self, images):
        return nn.functional.adaptive_avg_pool2d(images, 4).flatten(1) - 0.5


class Colour(nn.Module):
    """The mean colour alone, from which subgroups are hard to tell."""

    def forward(self, images):
        return images.mean((2, 3))


def features(drawings, network=None):
    return (network or Patches())(plain_view(drawings.images)).double().numpy()


def retrieval_by_hand(points, labels):
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    similarity = points @ points.T
    np.fill_diagonal(similarity, -np.inf)
    found = []
    for i, row in enumerate(similarity):
        count = (labels == labels[i]).sum() - 1
        hits = labels[np.argsort(-row)[:count]] == labels[i]
        precision = np.cumsum(hits) / (np.arange(count) + 1)
        found.append([hits[0], hits.mean(), (precision * hits).mean()])
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    return dict(zip(names, np.mean(found, axis=0), strict=True))


def test_whole_drawings_are_reduced_to_means_of_four_pixels():
    cells = TRAIN.images.double().reshape(-1, 3, 32, 2, 32, 2).mean((3, 5)) / 255
    torch.testing.assert_close(plain_view(TRAIN.images).double(), cells, rtol=0, atol=1e-6)


def test_retrieval_is_that_by_hand():
    found, expected = score(Patches(), TRAIN, HELD_OUT), retrieval_by_hand(features(HELD_OUT), HELD_OUT.emoji.numpy())
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert 0.05 < expected["mean_average_precision_at_r"] < 0.99


def test_the_probe_learns_subgroups_from_the_one_set_and_is_asked_for_those_of_the_other():
    learned, asked = features(TRAIN, Colour()), features(HELD_OUT, Colour())
    mean, deviation = learned.mean(0), learned.std(0)
    probe = LogisticRegression(C=0.1, max_iter=1000).fit((learned - mean) / deviation, TRAIN.subgroups.numpy())
    answers = probe.predict((asked - mean) / deviation)
    expected = np.mean(answers == HELD_OUT.subgroups.numpy())
    assert score(Colour(), TRAIN, HELD_OUT)["subgroup_accuracy"] == pytest.approx(expected, abs=1e-6)
    assert 0.25 < expected < 0.95


def test_subgroups_that_nothing_was_learned_of_do_not_count():
    other = torch.where(HELD_OUT.subgroups == 0, 9, HELD_OUT.subgroups)
    kept = HELD_OUT.subgroups != 0
    without = LabelledDrawings(HELD_OUT.images[kept], HELD_OUT.emoji[kept], HELD_OUT.subgroups[kept])
    found = score(Patches(), TRAIN, LabelledDrawings(HELD_OUT.images, HELD_OUT.emoji, other))
    assert found["subgroup_accuracy"] == score(Patches(), TRAIN, without)["subgroup_accuracy"]


def test_features_that_are_not_finite_score_nan():
    class Broken(Patches):
        def forward(self, images):
            return super().forward(images) * math.nan

    found = score(Broken(), TRAIN, HELD_OUT)
    assert set(found) == set(score(Patches(), TRAIN, HELD_OUT))
    assert all(math.isnan(value) for value in found.values())


def test_scoring_leaves_batch_norm_alone():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    score(network.train(), TRAIN, HELD_OUT)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_batch_norm_has_the_statistics_of_whole_drawings_afterwards():
    network = nn.BatchNorm2d(3)
    network(torch.randn(64, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 7 + 5)
    renew_batch_norm(network, TRAIN.images)
    pixels = plain_view(TRAIN.images).double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(network.running_mean.double(), pixels.mean(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(network.running_var.double(), pixels.var(1), rtol=1e-4, atol=1e-6)
