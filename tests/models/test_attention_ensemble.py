from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, normalize

from pml_proxyext.losses import ABELoss
from pml_proxyext.models import AttentionEnsemble, small_attention_ensemble
from pml_proxyext.regularizers import LearnerDivergenceRegularizer

LEARNERS, FEATURES, ATTENTION, WIDTH = 3, 5, 4, 2


def ensemble(**kwargs: Any) -> AttentionEnsemble:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        spatial = nn.Sequential(nn.Conv2d(1, FEATURES, 3), nn.BatchNorm2d(FEATURES), nn.ReLU())
        attention = nn.Sequential(nn.Conv2d(FEATURES, ATTENTION, 3, padding=1), nn.ReLU())
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * FEATURES, WIDTH))
        return AttentionEnsemble(spatial, attention, pool, LEARNERS, FEATURES, ATTENTION, **kwargs)


def images(rows: int = 4, size: int = 8) -> Tensor:
    return torch.randn(rows, 1, size, size, generator=torch.Generator().manual_seed(1))


def test_output_and_gradients_are_those_of_one_learner_on_one_image_at_a_time():
    network, x = ensemble().eval(), images()
    output, naive = network(x), []
    assert output.shape == (4, LEARNERS * WIDTH)
    for i in range(len(x)):
        features = network.spatial(x[i : i + 1])
        attention = network.attention(features)
        for m in range(LEARNERS):
            rows = slice(m * FEATURES, (m + 1) * FEATURES)
            mask = 1 / (
                1 + (-conv2d(attention, network.mask_logits.weight[rows], network.mask_logits.bias[rows])).exp()
            )
            torch.testing.assert_close(network.masks(x)[i, m], mask[0])
            naive.append(normalize(network.global_extractor(features * mask)[0], dim=0))
    torch.testing.assert_close(output.flatten(), torch.cat(naive))
    direction = torch.randn(output.numel(), generator=torch.Generator().manual_seed(2))
    expected = torch.autograd.grad(torch.cat(naive) @ direction, list(network.parameters()))
    torch.testing.assert_close(torch.autograd.grad(output.flatten() @ direction, list(network.parameters())), expected)


def test_the_layout_of_channels_stays_and_changes_no_number():
    network, x, seen = ensemble().eval(), images(), []
    expected, direction = network(x), torch.arange(1.0, 1 + LEARNERS * WIDTH)
    gradients = torch.autograd.grad((expected @ direction).sum(), list(network.parameters()))
    network.to(memory_format=torch.channels_last)
    network.global_extractor.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    output = network(x.contiguous(memory_format=torch.channels_last))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(output, expected)
    again = torch.autograd.grad((output @ direction).sum(), list(network.parameters()))
    torch.testing.assert_close(again, gradients, rtol=1e-4, atol=1e-5)


def test_every_shared_part_runs_once_a_batch():
    network, calls = ensemble(), []
    for name in ("spatial", "attention", "global_extractor"):
        getattr(network, name).register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
    network(images())
    assert calls == [4, 4, 4 * LEARNERS]


def test_a_further_learner_costs_one_private_convolution():
    sizes = [
        sum(p.numel() for p in AttentionEnsemble(nn.Identity(), nn.Identity(), nn.Identity(), m, 7, 3).parameters())
        for m in (1, 2, 5)
    ]
    assert sizes[1] - sizes[0] == 7 * 3 + 7
    assert sizes[2] - sizes[0] == 4 * (7 * 3 + 7)


def test_gradients_reach_every_parameter():
    network = ensemble()
    network(images()).square().mul(torch.arange(1.0, 1 + LEARNERS * WIDTH)).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def mean_cosine(network: AttentionEnsemble, x: Tensor) -> float:
    with torch.no_grad():
        return LearnerDivergenceRegularizer(network.num_learners).learner_cosines(network(x)).mean().item()


def test_learners_differ_from_the_start_and_collapse_unless_the_divergence_drives_them_apart():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, x = small_attention_ensemble(4, 32), images(16, 32)
    labels = torch.arange(16) % 4
    cosines = []
    for weight in (0.0, 1.0):
        trained, loss = copy.deepcopy(network), ABELoss(4, div_weight=weight)
        start = mean_cosine(trained, x)
        optimizer = torch.optim.Adam(trained.parameters(), 3e-4)
        for _ in range(8):
            optimizer.zero_grad()
            loss(trained(x), labels).backward()
            optimizer.step()
        cosines.append(mean_cosine(trained, x))
    assert start < 0.95
    assert cosines[1] < start - 0.1
    assert cosines[0] > start + 0.1  # the collapse that the divergence is there to prevent


def test_learners_that_start_alike_stay_alike():
    network, x = ensemble(mask_init_std=0.0), images()
    embeddings = network(x)
    assert mean_cosine(network, x) == pytest.approx(1.0)
    LearnerDivergenceRegularizer(LEARNERS)(embeddings).backward()
    assert network.mask_logits.weight.grad.abs().max() < 1e-6


def test_mask_logits_start_with_the_deviation_asked_for_at_any_width():
    for channels in (4, 400):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = AttentionEnsemble(nn.Identity(), nn.Identity(), nn.Flatten(), 8, 250, channels, mask_init_std=2.0)
        logits = network.mask_logits(torch.ones(1, channels, 1, 1))
        # 2000 normal numbers of variance 4 from weights and 4 from biases: the standard error of their standard
        # deviation is 2.83 / sqrt(4000), about 0.045; five of them fail for 6 seeds in ten million.
        assert logits.std().item() == pytest.approx(8**0.5, abs=0.225)


def test_another_activation_sees_the_logits_of_all_learners_and_may_learn():
    norm = nn.BatchNorm2d(LEARNERS * FEATURES)
    network, x = ensemble(mask_activation=nn.Sequential(norm, nn.ReLU())), images()
    masks = network.masks(x)
    logits = network.mask_logits(network.attention(network.spatial(x)))
    centred = logits - logits.mean((0, 2, 3), keepdim=True)
    expected = (centred / (logits.var((0, 2, 3), correction=0, keepdim=True) + norm.eps).sqrt()).clamp(min=0)
    torch.testing.assert_close(masks.flatten(1, 2), expected)
    network(x).sum().backward()
    assert norm.weight.grad.any()
    with_function = ensemble(mask_activation=torch.square)
    torch.testing.assert_close(with_function.masks(x).flatten(1, 2), logits.square())


def test_batch_norm_of_the_global_extractor_mixes_learners_in_training_alone():
    network = small_attention_ensemble(LEARNERS, LEARNERS * WIDTH)
    norm, x, seen = network.global_extractor[2], images(size=32), []
    assert isinstance(norm, nn.BatchNorm2d)
    norm.momentum = 1.0  # running statistics are those of the last batch
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    network(x)
    assert len(seen[0]) == len(x) * LEARNERS
    torch.testing.assert_close(norm.running_mean, seen[0].mean((0, 2, 3)))
    together = network.eval()(x)
    alone = torch.cat([network(image[None]) for image in x])
    torch.testing.assert_close(together, alone)


def test_autocast_and_an_empty_batch():
    network = ensemble().eval()
    with torch.autocast("cpu", torch.bfloat16):
        half = network(images())
    torch.testing.assert_close(half.float(), network(images()), rtol=0.1, atol=0.1)
    assert network(images(0)).shape == (0, LEARNERS * WIDTH)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 5, 4), "num_learners must be an integer >= 1, got 0"),
        ((3, 0, 4), "feature_channels must be an integer >= 1, got 0"),
        ((3, 5, 0), "attention_channels must be an integer >= 1, got 0"),
        ((3, 5, 4, -1.0), "mask_init_std must be a finite number >= 0, got -1.0"),
        ((3, 5, 4, 1.0, "relu"), "mask_activation must be a function of the masks' logits, got 'relu'"),
    ],
)
def test_invalid_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        AttentionEnsemble(nn.Identity(), nn.Identity(), nn.Identity(), *arguments)
