import pytest
import torch
from torch import nn

from pml_proxyext.benchmark.datasets.emoji_drawings import drawings_stand_in
from pml_proxyext.benchmark.self_supervised import training
from pml_proxyext.benchmark.self_supervised.evaluation import plain_view
from pml_proxyext.benchmark.self_supervised.methods import METHODS, Method
from pml_proxyext.benchmark.self_supervised.training import random_view, train
from pml_proxyext.benchmark.trainer import seeded

IMAGES = drawings_stand_in("test")[0].images[:40]
SETTINGS = {"lr": 3e-3, "temperature": 0.1}


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(training, "_BATCH", 16)


def trained(method, steps=2, seed=0, **settings):
    with seeded(seed, part=0):
        return train(method, {**SETTINGS, **settings}, IMAGES, steps)


def weights(network):
    return torch.cat([value.detach().ravel().float() for value in network.state_dict().values()])


def recorded(needs_view, needs_part, steps=3):
    """Return what a method is given at every step, with a rate that leaves the networks as they are."""
    seen = []

    class Recorded(nn.Module):
        def forward(self, encoded):
            seen.append(encoded)
            return sum(one.sum() for one in encoded if one is not None)

    trained(Method("x", lambda temperature: Recorded(), needs_view, needs_part), steps, lr=1e-12)
    return seen


def test_views_are_crops_of_other_colours():
    view = random_view(IMAGES, torch.Generator().manual_seed(0))
    assert view.shape == (40, 3, 32, 32)
    assert view.dtype == torch.float32
    assert 0 <= view.min() < view.max() <= 1
    distances = (view - plain_view(IMAGES)).abs().flatten(1).mean(1)
    assert (distances > 0.01).all()
    assert torch.equal(view, random_view(IMAGES, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns(name):
    method = METHODS[name]
    before, after = (trained(method, steps)[1] for steps in (1, 40))
    assert after < before - 0.1


def test_a_run_is_repeated_to_the_bit_and_another_seed_is_another_run():
    first, again, other = (weights(trained(METHODS["demi_is"], seed=seed)[0]) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_initial_weights_batches_and_views_do_not_depend_on_the_method():
    """Batch norm sees another batch where a method does without one of the views; crops and steps agree to rounding."""
    both, only_views = recorded(True, True), recorded(True, False)
    for a, b in zip(both, only_views, strict=True):
        torch.testing.assert_close(a.view, b.view, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(a.other, b.other, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(a.other_of_part, b.other_of_part, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(both[0].view, both[1].view, rtol=1e-2)
    for a, b in zip(both, recorded(False, True), strict=True):
        torch.testing.assert_close(a.part, b.part, rtol=1e-4, atol=1e-5)


def test_methods_are_given_what_they_look_at():
    assert [one is None for one in recorded(True, False, 1)[0]] == [False, False, True, False]
    assert [one is None for one in recorded(False, True, 1)[0]] == [True, False, False, False]


def test_parts_are_crops_of_the_view_and_the_other_view_is_encoded_by_both_heads(monkeypatch):
    calls = []
    original = training.random_crops

    def watched(images, size, area, generator=None):
        found = original(images, size, area, generator)
        calls.append((images, size, found))
        return found

    monkeypatch.setattr(training, "random_crops", watched)
    monkeypatch.setattr(training, "random_colours", lambda crops, *_: crops)
    (encoded,) = recorded(True, True, 1)
    (_, _, view), (_, _, other), (cropped, size, _) = calls
    assert cropped is view
    assert cropped is not other
    assert size == 16
    assert not torch.allclose(encoded.other, encoded.other_of_part, rtol=1e-2)


def test_all_that_is_trained_moves():
    method = METHODS["demi_boosted"]
    start, end = (dict(trained(method, 1, lr=lr)[0].named_parameters()) for lr in (1e-12, 1e-3))
    assert all(not torch.equal(end[name], value) for name, value in start.items())


def test_both_heads_learn(monkeypatch):
    made = []

    def head(original=training._head):
        made.append(original())
        return made[-1]

    monkeypatch.setattr(training, "_head", head)
    for lr in (1e-12, 1e-3):
        trained(METHODS["demi_boosted"], 1, lr=lr)
    (first, first_of_part, last, last_of_part) = map(weights, made)
    assert not torch.equal(first, last)
    assert not torch.equal(first_of_part, last_of_part)
    assert not torch.equal(first, first_of_part)


def test_a_trained_network_has_the_batch_norm_of_whole_drawings():
    network, _ = trained(METHODS["demi_is"])
    assert not network.training
    before_norm = [*network][: next(i for i, layer in enumerate(network) if isinstance(layer, nn.BatchNorm2d))]
    with torch.no_grad():
        maps = nn.Sequential(*before_norm)(plain_view(IMAGES).contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(network[len(before_norm)].running_mean, maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_batches_take_every_row_once_before_any_twice():
    batches = list(training._batches(10, 3, 7, torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in batches] == [3] * 7
    for epoch in (batches[:3], batches[3:6]):
        assert len(set(torch.cat(epoch).tolist())) == 9
    assert not torch.equal(torch.cat(batches[:3]), torch.cat(batches[3:6]))


def test_the_loss_returned_is_the_mean_of_the_last_twenty_steps(monkeypatch):
    values = iter(range(25))

    class Counting(nn.Module):
        def forward(self, encoded):
            return encoded.other.sum() * 0 + next(values)

    assert trained(Method("x", lambda temperature: Counting()), 25)[1] == pytest.approx(14.5)
