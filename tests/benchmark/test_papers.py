"""The papers' recipes on data sets in miniature, from files to scores."""

import dataclasses
import math
from collections import OrderedDict

import pytest
import torch
from torch import nn

from pml_proxyext.benchmark.__main__ import main
from pml_proxyext.benchmark.datasets import load_data
from pml_proxyext.benchmark.datasets.tiny_trees import TINY_TREES, make_tiny_tree
from pml_proxyext.benchmark.networks import TRUNKS
from pml_proxyext.benchmark.optimization import loss_parameter_groups
from pml_proxyext.benchmark.papers import PAPER_RECIPES, paper_recipe_names
from pml_proxyext.benchmark.papers.nivmf import WarmStartedNivMFLoss
from pml_proxyext.benchmark.recipes import RECIPES, get_recipe, recipe_names
from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.run import Run, execute
from pml_proxyext.benchmark.training import Training

pytestmark = pytest.mark.usefixtures("torchvision")


@pytest.fixture(scope="module", autouse=True)
def _data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for name in TINY_TREES:
        make_tiny_tree(name, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PML_PROXYEXT_DATA", str(root))
        yield


class SmallTrunk(nn.Sequential):
    """As to training, what a ResNet-50 has, in little time."""

    def __init__(self):
        layers = {
            "conv1": nn.Conv2d(3, 8, 3, stride=2),
            "norm1": nn.BatchNorm2d(8),
            "relu1": nn.ReLU(),
            "conv2": nn.Conv2d(8, 16, 3, stride=2),
            "norm2": nn.BatchNorm2d(16),
            "relu2": nn.ReLU(),
            "pool": nn.AdaptiveAvgPool2d(2),
            "flat": nn.Flatten(),
        }
        super().__init__(OrderedDict(layers))


@pytest.fixture
def small(monkeypatch):
    for name in ("resnet50", "resnet50_avg_max"):
        monkeypatch.setitem(TRUNKS, name, lambda shape: SmallTrunk())


def smoke(name, **overrides):
    return Run(name, data=get_recipe(name).data, smoke=True, overrides=overrides)


def training(name, **overrides):
    run = smoke(name, **overrides)
    return Training(run.resolved_recipe(), run.load().train, seed=0)


def no_scores(models, epoch):
    return {}


def test_papers_cover_what_is_published():
    assert all(recipe.name == name for name, recipe in PAPER_RECIPES.items())
    assert not set(PAPER_RECIPES) & set(RECIPES)
    for data in TINY_TREES:
        names = paper_recipe_names()[data]
        assert names == recipe_names(data)
        assert names[0] == f"imagenet_{data}"
        assert {f"abe_{data}", f"cross_entropy_{data}", f"proxy_anchor_{data}"} <= set(names)
        titles = [PAPER_RECIPES[name].title for name in names]
        assert len(set(titles)) == len(titles)
    assert recipe_names("glyphs") == list(RECIPES)


@pytest.mark.parametrize("name", PAPER_RECIPES)
def test_every_recipe_is_complete_and_its_parameters_have_rates(name):
    recipe = smoke(name).resolved_recipe()
    assert smoke(name).key == smoke(name).key
    assert " at 0x" not in str(recipe.settings())  # an address would make every run another one
    if recipe.loss is None:
        return
    sizes = {"num_classes": 5, "embedding_size": recipe.embedding_size or 16}
    base = {"proxy_loss": recipe.base.make(**sizes)} if recipe.base else {}
    loss = recipe.loss.make(**sizes, **base)
    covered = [parameter for group in loss_parameter_groups(loss, recipe) for parameter in group["params"]]
    assert {id(parameter) for parameter in covered} == {id(parameter) for parameter in loss.parameters()}


@pytest.mark.parametrize(
    ("name", "steps", "rates"),
    [
        ("nir_cub200_512", 100 * 65, {"proxies": 0.04, "flow": 5e-4}),
        ("nir_sop_128", 300 * 661, {"proxies": 0.04, "flow": 1e-5}),
        ("nivmf_cars196_128", 300 * 125, {"proxies": 0.075, "concentrations": 0.075, "log_temperature": 0.002}),
        ("cross_entropy_cub200", 30 * 45, {}),
        ("proxy_anchor_cars196", 60 * 67, {"proxies": 0.01}),
    ],
)
def test_numbers_of_the_releases(name, steps, rates):
    recipe = get_recipe(name)
    assert recipe.steps == steps  # epochs times whole batches of the training images
    for parameter, rate in rates.items():
        assert recipe.lr * recipe.lr_multipliers[parameter] == pytest.approx(rate)


def test_a_recipe_is_for_its_data_set_only():
    with pytest.raises(ValueError, match="data must be 'cub200' for the recipe 'nir_cub200_128', got 'glyphs'"):
        Run("nir_cub200_128").resolved_recipe()
    with pytest.raises(ValueError, match="trunk must be set by the recipe or the data set, got None from 'supcon'"):
        Run("supcon", data="cub200").resolved_recipe()


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("name", ["nir_cub200_128", "cross_entropy_inshop"])
def test_a_recipe_runs_from_files_to_scores(name, tmp_path):
    record = execute(smoke(name), tmp_path)
    ks = {"nir_cub200_128": (1, 2, 4, 8), "cross_entropy_inshop": (1, 10, 20, 30, 40, 50)}[name]
    recalls = [record["metrics"][f"recall_at_{k}"] for k in ks]
    assert recalls == sorted(recalls)
    assert 0.1 < recalls[0] < 1.0  # the classes have colours, more or less
    assert [step for step, _ in record["curve"]] == [2, 4]
    assert record["curve"][0][1] != record["curve"][1][1]
    assert execute(smoke(name), tmp_path) is None


def test_the_untrained_network_is_scored(tmp_path):
    record = execute(smoke("imagenet_inshop"), tmp_path)
    assert record["steps"] == 0
    assert "recall_at_50" in record["metrics"]


def batch_norm_buffers(model):
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("name", "frozen"), [("proxy_anchor_cub200", True), ("proxy_anchor_sop", False)])
def test_frozen_batch_norm_keeps_its_statistics_bit_for_bit_and_learns_its_weights(name, frozen, tmp_path):
    run = training(name)
    trunk = run.models["trunk"]
    before, weights = batch_norm_buffers(trunk), {k: v.clone() for k, v in trunk.named_parameters()}
    run.fit(no_scores, tmp_path / "c.pt")
    after = batch_norm_buffers(trunk)
    assert len(before) == 6  # three of each of two layers
    assert all(torch.equal(before[key], after[key]) == frozen for key in before)
    assert all(not torch.equal(weights[key], value) for key, value in trunk.named_parameters() if "norm" in key)


@pytest.mark.usefixtures("small")
def test_warm_up_leaves_the_trunk_alone_while_embedder_and_loss_learn(tmp_path):
    run = training("nir_cub200_128", steps=2)
    recipe = dataclasses.replace(run.recipe, regime=dataclasses.replace(run.recipe.regime, epochs=2, warm_up_epochs=1))
    run = Training(recipe, run.data, seed=0)
    seen = []

    def snapshot(models, epoch):
        parts = {**models, "loss": run.loss}
        seen.append({part: [p.detach().clone() for p in parts[part].parameters()] for part in parts})
        return {}

    snapshot(run.models, 0)
    run.fit(snapshot, tmp_path / "c.pt")
    start, warm, end = seen
    same = {part: [torch.equal(a, b) for a, b in zip(start[part], warm[part], strict=True)] for part in start}
    assert all(same["trunk"])
    assert not any(same["embedder"])
    assert sum(same["loss"]) < len(same["loss"]) / 4  # the flow has biases that learn nothing at first
    assert not any(torch.equal(a, b) for a, b in zip(warm["trunk"], end["trunk"], strict=True))


@pytest.mark.usefixtures("small")
def test_weight_decay_spares_vectors_where_the_release_does():
    run = training("cross_entropy_cars196")
    decayed, spared = run.optimizers["trunk_optimizer"].param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (5e-4, 0.0)
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert all(parameter.ndim == 1 for parameter in spared["params"])
    assert len(decayed["params"]) + len(spared["params"]) == len(list(run.models["trunk"].parameters()))
    (group,) = training("nir_cub200_128").optimizers["trunk_optimizer"].param_groups
    assert group["weight_decay"] == 4e-4


@pytest.mark.usefixtures("small")
def test_rates_follow_the_schedule_step_by_step(tmp_path):
    run = training("cross_entropy_cub200")
    seen, groups = [], run.optimizers["trunk_optimizer"].param_groups
    run.optimizers["trunk_optimizer"].register_step_pre_hook(lambda *_: seen.append(groups[0]["lr"]))
    run.fit(no_scores, tmp_path / "c.pt")
    assert seen == pytest.approx([0.02 * min((i + 1) / 100, (1 + math.cos(math.pi * i / 4)) / 2) for i in range(4)])


@pytest.mark.usefixtures("small")
def test_shuffled_sampling_takes_each_image_once_before_any_twice():
    run = training("cross_entropy_cub200")
    drawn = list(run._sampler(2 * len(run.data)))
    half = len(run.data)
    assert sorted(drawn[:half]) == sorted(drawn[half:]) == list(range(half))
    assert drawn[:half] != drawn[half:] != list(range(half))


@pytest.mark.usefixtures("small")
def test_feature_norm_ends_the_network_without_weights():
    embedder = training("cross_entropy_sop").models["embedder"]
    assert isinstance(embedder, nn.BatchNorm1d)
    assert list(embedder.parameters()) == []
    assert isinstance(training("cross_entropy_cub200").models["embedder"], nn.Identity)


@pytest.mark.usefixtures("small")
def test_last_layer_starts_scaled_where_the_release_does():
    scaled = training("nivmf_cub200_128").models["embedder"]
    plain = training("nivmf_cub200_128", **{"regime.embedder_scale": 1.0}).models["embedder"]
    torch.testing.assert_close(scaled.weight, 30 * plain.weight)
    torch.testing.assert_close(scaled.bias, plain.bias)


@pytest.mark.usefixtures("small")
def test_warm_start_of_nivmf_leaves_the_concentrations_as_they_are():
    run = training("nivmf_cub200_128")
    assert isinstance(run.loss, WarmStartedNivMFLoss)
    assert (run.loss.concentrations == 6).all()
    data = run.data.plain()
    for model in run.models.values():
        model.eval()
    with torch.no_grad():
        images = torch.stack([data.sample(i) for i in range(4)])  # the first class
        mean = nn.functional.normalize(run.models["embedder"](run.models["trunk"](images))).mean(0)
    assert torch.cosine_similarity(run.loss.proxies[0], mean, dim=0) > 0.9999


@pytest.mark.usefixtures("small")
def test_gradients_are_clipped_where_the_release_does(tmp_path):
    run = training("proxy_anchor_cub200", **{"regime.clip_value": 1e-9, "regime.warm_up_epochs": 0})
    optimizer, largest = run.optimizers["trunk_optimizer"], []

    def look(*_):
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        largest.append(max(float(gradient.abs().max()) for gradient in gradients))

    optimizer.register_step_pre_hook(look)
    run.fit(no_scores, tmp_path / "c.pt")
    assert largest == pytest.approx([1e-9] * 4)


@pytest.mark.usefixtures("small")
def test_mixed_precision_changes_little_and_something(tmp_path):
    weights = {}
    for precision in ("float32", "bfloat16"):
        run = training("cross_entropy_cub200", **{"regime.precision": precision})
        run.fit(no_scores, tmp_path / f"{precision}.pt")
        weights[precision] = torch.cat([p.detach().flatten() for p in run.models["trunk"].parameters()])
        assert weights[precision].dtype == torch.float32
    difference = (weights["float32"] - weights["bfloat16"]).norm() / weights["float32"].norm()
    assert 0 < difference < 0.01


@pytest.mark.usefixtures("small")
def test_training_sees_augmented_images_and_evaluation_plain_ones():
    data = Run("proxy_anchor_cub200", data="cub200", smoke=True).load()
    assert data.train.augmented
    assert not data.evaluation.augmented
    assert data.train.sample(0).shape == (3, 32, 32)
    assert load_data("cub200").train.views.size == 224


@pytest.mark.usefixtures("small")
def test_a_run_interrupted_in_its_warm_up_goes_on_bit_for_bit(tmp_path):
    def unfinished(models, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return {}

    def weights(run):
        return [tensor for part in (*run.models.values(), run.loss) for tensor in part.state_dict().values()]

    settings = {"regime.epochs": 4, "regime.warm_up_epochs": 3}
    whole, first, second = (training("nir_cub200_128", **settings) for _ in range(3))
    whole.fit(no_scores, tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        first.fit(unfinished, tmp_path / "part.pt")
    second.fit(no_scores, tmp_path / "part.pt")
    assert all(torch.equal(a, b) for a, b in zip(weights(second), weights(whole), strict=True))


@pytest.mark.usefixtures("small")
def test_the_command_line_runs_them_and_lists_them(tmp_path, capsys):
    command = ["run", "--data", "inshop", "--recipes", "cross_entropy_inshop", "--smoke", "--quiet"]
    assert main([*command, "--results", str(tmp_path)]) == 0
    assert {record["recipe"] for record in read_results(tmp_path)} == {"imagenet_inshop", "cross_entropy_inshop"}
    assert main(["list"]) == 0
    shown = capsys.readouterr().out.replace("\n", " ")
    assert all(name in shown for name in ("nir_cub200_512", "imagenet_inshop", "abe_sop"))
    assert main([*command[:3], "--recipes", "nir_cub200_512", "--results", str(tmp_path)]) == 2
    assert "data must be 'cub200' for the recipe 'nir_cub200_512', got 'inshop'" in capsys.readouterr().err
