import dataclasses

import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import ProxyNCALoss, SupConLoss
from pytorch_metric_learning.utils import common_functions as c_f

from pml_proxyext.benchmark.datasets import MemorySet
from pml_proxyext.benchmark.optimization import loss_parameter_groups
from pml_proxyext.benchmark.parts import Part
from pml_proxyext.benchmark.recipe import Recipe
from pml_proxyext.benchmark.run import Run
from pml_proxyext.benchmark.training import Training
from pml_proxyext.losses import ProxyAnchorLoss

DATA = Run("supcon", smoke=True).load().train


def small(name, steps=6, **changes):
    return dataclasses.replace(Run(name).resolved_recipe(), batch_size=16, steps=steps, **changes)


def digest(models, epoch):
    """Stand in for retrieval scores: a number that no other weights give."""
    weights = [tensor.double().flatten() for model in models.values() for tensor in model.state_dict().values()]
    return {"mean_average_precision_at_r": float(torch.cat(weights).square().sum())}


def weights(training):
    parts = [*training.models.values(), training.loss]
    return [tensor for part in parts for tensor in part.state_dict().values()]


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("name", ["el_nivmf", "nir_proxy_anchor", "multi_similarity"])
def test_fit_resumed_equals_uninterrupted_bit_for_bit(tmp_path, name):
    whole = Training(small(name), DATA, seed=3)
    whole.fit(digest, tmp_path / "whole.pt")

    def killed(models, epoch):
        if epoch == 2:
            raise _Killed
        return digest(models, epoch)

    first = Training(small(name), DATA, seed=3)
    with pytest.raises(_Killed):
        first.fit(killed, tmp_path / "part.pt")
    torch.manual_seed(99)  # the new process's generators are somewhere else
    np.random.seed(99)
    second = Training(small(name), DATA, seed=3)
    scores = second.fit(digest, tmp_path / "part.pt")
    assert second.curve == whole.curve
    assert [step for step, _ in whole.curve] == [2, 4, 6]
    assert scores == whole.curve[-1][1]
    assert all(torch.equal(a, b) for a, b in zip(weights(second), weights(whole), strict=True))


def test_fit_other_seeds_give_other_weights(tmp_path):
    runs = [Training(small("supcon"), DATA, seed) for seed in (0, 1)]
    scores = [run.fit(digest, tmp_path / f"{seed}.pt") for seed, run in enumerate(runs)]
    assert scores[0] != scores[1]


def test_fit_reaches_the_last_step_when_chunks_do_not_divide_it(tmp_path):
    training = Training(small("supcon", steps=7), DATA, seed=0)
    training.fit(digest, tmp_path / "c.pt")
    assert [step for step, _ in training.curve] == [2, 4, 6, 7]


def test_fit_trains_network_and_proxies(tmp_path):
    training = Training(small("proxy_anchor"), DATA, seed=0)
    before = [tensor.clone() for tensor in weights(training)]
    training.fit(digest, tmp_path / "c.pt")
    assert all(not torch.equal(a, b) for a, b in zip(weights(training), before, strict=True))


def test_fit_leaves_the_generators_of_the_process_alone(tmp_path):
    torch.manual_seed(5)
    state, numpy_state, source = torch.get_rng_state(), np.random.get_state()[1].copy(), c_f.NUMPY_RANDOM
    Training(small("el_nivmf"), DATA, seed=0).fit(digest, tmp_path / "c.pt")
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()
    assert c_f.NUMPY_RANDOM is source


def test_fit_unreadable_checkpoint_is_reported_and_training_starts_anew(tmp_path):
    checkpoint = tmp_path / "c.pt"
    checkpoint.write_bytes(b"not a checkpoint")
    training = Training(small("supcon"), DATA, seed=0)
    with pytest.warns(UserWarning, match="unreadable"):
        training.fit(digest, checkpoint)
    assert training.curve[-1][0] == 6


def test_fit_logs_through_the_presets_of_pml(tmp_path):
    training = Training(small("proxy_anchor"), DATA, seed=0, log_directory=tmp_path / "log")
    training.fit(digest, tmp_path / "c.pt")
    names = {path.name for path in (tmp_path / "log").iterdir()}
    assert "loss_histories.csv" in names
    assert any(name.startswith("events.out.tfevents") for name in names)


def test_init_from_data_starts_from_the_class_means_of_the_embeddings():
    training = Training(small("el_nivmf", init_from_data=True), DATA, seed=0)
    plain = Training(small("el_nivmf", init_from_data=False), DATA, seed=0)
    for model in plain.models.values():
        model.eval()
    with torch.no_grad():
        embeddings = plain.models["embedder"](plain.models["trunk"](DATA.images))
    plain.loss.init_from(embeddings, DATA.labels)
    torch.testing.assert_close(training.loss.proxies, plain.loss.proxies)
    assert not torch.equal(training.loss.proxies, Training(small("el_nivmf"), DATA, seed=0).loss.proxies)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 10_000}, rf"at most the number of images, {len(DATA)}, got 10000"),
        ({"batch_size": 32}, r"images_per_class times the number of classes, 1 \* 24, got 32"),
        ({"batch_size": 15, "images_per_class": 2}, "multiple of images_per_class, got 15 and 2"),
    ],
)
def test_training_data_that_cannot_fill_a_batch_is_an_error(changes, message):
    recipe = dataclasses.replace(Run("proxy_anchor").resolved_recipe(), **changes)
    with pytest.raises(ValueError, match=message):
        Training(recipe, DATA, seed=0)


def test_loss_parameter_groups_forgotten_parameter_is_an_error():
    recipe = Recipe("x", "X", Part("pytorch_metric_learning.losses.ProxyNCALoss"))
    with pytest.raises(ValueError, match="cover every parameter, got none for 'proxies'"):
        loss_parameter_groups(ProxyNCALoss(3, 4), recipe)
    assert loss_parameter_groups(SupConLoss(), recipe) == []


def test_loss_parameter_groups_multiply_the_rate_of_the_network():
    recipe = Recipe("x", "X", None, lr=0.01, lr_multipliers={"proxies": 7.0})
    for loss in (ProxyNCALoss(3, 4), ProxyAnchorLoss(3, 4)):
        (group,) = loss_parameter_groups(loss, recipe)
        assert group["lr"] == pytest.approx(0.07)
        assert group["params"] == [loss.proxies]


def test_fit_chunks_draw_different_batches(tmp_path):
    class Recorded(MemorySet):
        def __getitem__(self, index):
            drawn.append(index)
            return super().__getitem__(index)

    drawn = []
    data = DATA.first_classes(24)
    data.__class__ = Recorded
    Training(small("proxy_anchor"), data, seed=0).fit(digest, tmp_path / "c.pt")
    chunks = [drawn[start : start + 32] for start in (0, 32, 64)]  # three chunks of two batches of 16
    assert len(drawn) == 96
    assert len({tuple(chunk) for chunk in chunks}) == 3
