from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from pml_proxyext.benchmark.ensembles import (
    LEARNERS,
    METHODS,
    WIDTH,
    EnsembleMethod,
    SeveralHeads,
    image_stand_in,
    score,
    train,
)
from pml_proxyext.benchmark.trainer import seeded

DATA = image_stand_in()
BY_HAND = {"lr": 1e-3, "neg_margin": 1.0}


def trained(name: str, steps: int = 2, seed: int = 0, **settings: float) -> nn.Module:
    with seeded(seed, part=0):
        return train(METHODS[name], DATA.train, steps, **BY_HAND | settings)


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_all_networks_have_as_many_weights_and_as_wide_an_embedding() -> None:
    counts = {}
    for name, method in METHODS.items():
        network = method.build().eval()
        counts[name] = sum(parameter.numel() for parameter in network.parameters())
        assert network(torch.rand(2, 3, 32, 32)).shape == (2, WIDTH)
    assert max(counts.values()) < 1.01 * min(counts.values())


def test_all_networks_begin_with_the_same_layers() -> None:
    shapes = [[tuple(p.shape) for p in list(method.build().parameters())[:6]] for method in METHODS.values()]
    assert all(shape == shapes[0] for shape in shapes)
    assert shapes[0][0] == (16, 3, 3, 3)
    assert shapes[0][3] == (64, 16, 3, 3)


def test_heads_share_the_beginning_and_nothing_else() -> None:
    network = METHODS["heads"].build().eval()
    assert isinstance(network, SeveralHeads)
    x = torch.rand(3, 3, 32, 32)
    features = network.spatial(x)
    assert features.shape == (3, 64, 8, 8)
    expected = torch.cat([normalize(head(features)) for head in network.heads], dim=1)
    torch.testing.assert_close(network(x), expected)
    assert len({id(parameter) for head in network.heads for parameter in head.parameters()}) == LEARNERS * 8


@pytest.mark.parametrize("name", METHODS)
def test_a_seed_repeats_and_another_does_not(name: str) -> None:
    first, again, other = (weights(trained(name, steps=1, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_margin_and_divergence_reach_the_loss() -> None:
    start = weights(trained("abe"))
    assert not torch.equal(weights(trained("abe", neg_margin=0.5)), start)
    assert not torch.equal(weights(trained("abe", div_weight=1.0)), start)


def test_training_brings_classes_together() -> None:
    with seeded(0, part=0):
        untrained = METHODS["heads"].build()
    before, after = (
        score(network, DATA.train, LEARNERS)["mean_average_precision_at_r"]
        for network in (untrained, trained("heads", steps=25, lr=3e-3))
    )
    assert after > before + 0.1


def test_scores_of_one_head_have_no_cosine() -> None:
    network = METHODS["heads"].build()
    several, one = score(network, DATA.evaluation, LEARNERS), score(network, DATA.evaluation, 1)
    assert -1 <= several.pop("self_pair_cosine") <= 1
    assert several == one
    assert several["learner_mean_precision_at_1"] != several["precision_at_1"]


def test_methods_try_the_same_settings_in_common() -> None:
    plain, diverging = METHODS["abe_plain"].trials(4), METHODS["abe"].trials(4)
    assert plain == [{name: one[name] for name in ("lr", "neg_margin")} for one in diverging]
    assert len({one["div_weight"] for one in diverging}) == 4
    assert plain == METHODS["one_head"].trials(5)[:4]


def test_comparisons_are_with_methods_that_exist() -> None:
    assert {method.compared_with for method in METHODS.values()} == {"abe", "heads", None}
    assert isinstance(METHODS["abe"], EnsembleMethod)


def test_the_stand_in_has_other_classes_to_evaluate_on_and_depends_on_the_split() -> None:
    assert torch.equal(DATA.train.samples, image_stand_in().train.samples)
    assert not torch.equal(DATA.train.samples, image_stand_in("validation").train.samples)
    assert not set(DATA.train.class_names) & set(DATA.evaluation.class_names)
    assert DATA.train.images.shape == (120, 3, 32, 32)
