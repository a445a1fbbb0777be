import pytest
import torch
from torch import nn

from pml_proxyext.benchmark.image_trunks import ABEGoogLeNet, ResNet50
from pml_proxyext.benchmark.networks import build_models, load_models
from pml_proxyext.benchmark.regimes import Regime
from pml_proxyext.benchmark.run import Run
from pml_proxyext.benchmark.training import Training

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def downloaded(torchvision, monkeypatch):
    """Random weights in the place of those that torchvision would download, with statistics unlike the initial ones."""
    networks = {}
    for name, arguments in (("resnet50", {}), ("googlenet", {"aux_logits": True, "init_weights": False})):
        torch.manual_seed(1)
        network = getattr(torchvision.models, name)(weights=None, **arguments)
        for key, buffer in network.named_buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5) if key.endswith("var") else buffer.uniform_(-0.1, 0.1)
        networks[name] = network.eval()
    for weights, name in (("ResNet50_Weights", "resnet50"), ("GoogLeNet_Weights", "googlenet")):
        state = networks[name].state_dict()
        weights_class = getattr(torchvision.models, weights)
        monkeypatch.setattr(weights_class, "get_state_dict", lambda self, state=state, **_: state)
    return networks


def test_resnet50_with_downloaded_weights_gives_the_features_of_torchvision(downloaded):
    reference = downloaded["resnet50"]
    reference.fc = nn.Identity()
    trunk = ResNet50().eval()
    with torch.no_grad():
        assert not torch.allclose(trunk(IMAGES), reference(IMAGES))
        trunk.load_imagenet()
        torch.testing.assert_close(trunk(IMAGES), reference(IMAGES))
        assert trunk(IMAGES).std() > 0.01
        assert trunk(IMAGES).shape == (2, 2048)


def test_resnet50_max_pool_adds_the_largest_value_of_each_map(downloaded):
    trunk, plain = ResNet50(max_pool=True).eval(), ResNet50().eval()
    trunk.load_imagenet()
    plain.load_imagenet()
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))  # maps of 3 x 3
    with torch.no_grad():
        largest = trunk.features(images).flatten(2).max(2).values
        torch.testing.assert_close(trunk(images), plain(images) + largest)
        assert not torch.allclose(largest, plain(images))


def test_abe_with_downloaded_weights_has_those_of_googlenet_in_both_copies(downloaded):
    trunk = ABEGoogLeNet(num_learners=4, embedding_size=32)
    trunk.load_imagenet()
    state, expected = trunk.state_dict(), downloaded["googlenet"].state_dict()
    weight = expected["inception4a.branch1.conv.weight"]
    copies = [value for value in state.values() if value.shape == weight.shape and torch.equal(value, weight)]
    assert len(copies) == 2
    assert trunk(IMAGES).shape == (2, 32)


def test_pretrained_regimes_load_weights_and_others_do_not(downloaded, monkeypatch):
    recipe = Run("proxy_anchor_cub200", data="cub200").resolved_recipe()
    assert recipe.regime.pretrained
    assert not Run("proxy_anchor_cub200", data="cub200", smoke=True).resolved_recipe().regime.pretrained
    loaded = []
    monkeypatch.setattr(ResNet50, "load_imagenet", lambda self: loaded.append(self))
    training = Training.__new__(Training)
    training.data = type("Data", (), {"plain": lambda self: self, "sample": lambda self, i: IMAGES[0]})()
    training.device, training.recipe = torch.device("cpu"), recipe
    training._make_models()
    assert len(loaded) == 1
    assert Regime().pretrained is False


def test_saved_trunks_load_without_a_download(torchvision, tmp_path, monkeypatch):
    monkeypatch.setattr(ResNet50, "load_imagenet", lambda self: pytest.fail("weights were asked for"))
    models = build_models("resnet50_avg_max", 0, (3, 32, 32), feature_norm=True)
    models["embedder"].running_mean.fill_(0.25)
    for model in models.values():
        model.eval()
    content = {"trunk": "resnet50_avg_max", "embedding_size": 0, "shape": (3, 32, 32), "feature_norm": True}
    torch.save({**content, "state": {name: model.state_dict() for name, model in models.items()}}, tmp_path / "m.pt")
    loaded = load_models(tmp_path / "m.pt")
    with torch.no_grad():
        expected = models["embedder"](models["trunk"](IMAGES))
        assert torch.equal(loaded["embedder"](loaded["trunk"](IMAGES)), expected)
