from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pml_proxyext.models import AttentionEnsemble, googlenet_attention_ensemble, small_attention_ensemble


class TinyGoogLeNet(nn.Module):
    """The children of torchvision's GoogLeNet by their names, in its order, a convolution of few channels each."""

    STEM = ("conv1", "maxpool1", "conv2", "conv3", "maxpool2", "inception3a", "inception3b", "maxpool3")
    BLOCKS = ("inception4a", "inception4b", "inception4c", "inception4d", "inception4e")
    TAIL = ("maxpool4", "inception5a", "inception5b")
    asked: dict[str, Any]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        TinyGoogLeNet.asked = kwargs
        channels = 3
        for name in (*self.STEM, *self.BLOCKS, *self.TAIL):
            if name.startswith("maxpool"):
                setattr(self, name, nn.MaxPool2d(2, ceil_mode=True))
            else:
                setattr(self, name, nn.Sequential(nn.Conv2d(channels, channels + 1, 1), nn.Tanh()))
                channels += 1
        self.avgpool, self.dropout, self.fc = nn.AdaptiveAvgPool2d(1), nn.Dropout(0.2), nn.Linear(channels, 10)

    def features(self, x: Tensor) -> Tensor:
        for name in (*self.STEM, *self.BLOCKS, *self.TAIL):
            x = getattr(self, name)(x)
        return self.avgpool(x).flatten(1)


@pytest.fixture
def tiny_torchvision(monkeypatch: pytest.MonkeyPatch) -> type[TinyGoogLeNet]:
    package, models = ModuleType("torchvision"), ModuleType("torchvision.models")
    package.models = models
    models.googlenet = TinyGoogLeNet
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    return TinyGoogLeNet


def open_masks(network: AttentionEnsemble) -> None:
    """Let everything through, so that what remains is the network without attention."""
    nn.init.zeros_(network.mask_logits.weight)
    nn.init.constant_(network.mask_logits.bias, 50.0)


def test_googlenet_without_masks_is_googlenet(tiny_torchvision):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        reference = tiny_torchvision()
        torch.manual_seed(0)
        network = googlenet_attention_ensemble(num_learners=2, embedding_size=6)
    assert tiny_torchvision.asked == {"weights": "DEFAULT", "init_weights": False}
    open_masks(network)
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = images * std[:, None, None] + mean[:, None, None]  # in [0, 1], were these real images
    part = normalize(network.global_extractor[-1](reference.features(pixels * 2 - 1)))
    torch.testing.assert_close(network(images), torch.cat([part, part], dim=1))


def test_googlenets_attention_is_a_copy_of_its_own(tiny_torchvision):
    network = googlenet_attention_ensemble(num_learners=2, embedding_size=6)
    attention, shared = dict(network.attention.named_parameters()), dict(network.global_extractor[0].named_parameters())
    assert len(attention) == len(shared) == 10
    for name, parameter in attention.items():
        assert torch.equal(parameter, shared[name])
        assert parameter is not shared[name]
    assert network.masks(torch.zeros(1, 3, 64, 64)).shape == (1, 2, 8, 8, 8)  # after three poolings


def test_googlenet_of_torchvision_if_it_is_here():
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        pytest.skip(f"torchvision cannot be imported: {error}")
    network = googlenet_attention_ensemble(num_learners=8, embedding_size=512, weights=None).eval()
    images = torch.zeros(1, 3, 224, 224)
    with torch.no_grad():
        assert network(images).shape == (1, 512)
        assert network.masks(images).shape == (1, 8, 480, 14, 14)
    assert network.mask_logits.in_channels == 832


def test_without_torchvision_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(ImportError, match=r"pml-proxyext\[vision\]"):
        googlenet_attention_ensemble()


@pytest.mark.parametrize(("size", "channels"), [(32, 1), (28, 3), (64, 3)])
def test_small_ensemble_takes_grey_and_colour_images_of_any_size(size, channels):
    network = small_attention_ensemble(num_learners=2, embedding_size=10, in_channels=channels)
    output = network(torch.randn(3, channels, size, size))
    assert output.shape == (3, 10)
    torch.testing.assert_close(output.unflatten(1, (2, 5)).norm(dim=-1), torch.ones(3, 2))


@pytest.mark.parametrize("build", [small_attention_ensemble, googlenet_attention_ensemble])
def test_invalid_sizes_are_named(build):
    with pytest.raises(ValueError, match="embedding_size must be a multiple of num_learners 3, got 64"):
        build(num_learners=3, embedding_size=64)
    with pytest.raises(ValueError, match="num_learners must be an integer >= 1, got 0"):
        build(num_learners=0, embedding_size=64)


def test_arguments_reach_the_ensemble():
    network = small_attention_ensemble(num_learners=2, embedding_size=4, mask_init_std=0.0)
    assert not network.mask_logits.bias.any()
