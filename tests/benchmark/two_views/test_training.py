import math

import numpy as np
import pytest
import torch
from torch import nn

from pml_proxyext.benchmark.datasets.paired_views import PairedSet, View, stand_in
from pml_proxyext.benchmark.trainer import seeded
from pml_proxyext.benchmark.two_views import training
from pml_proxyext.benchmark.two_views.methods import METHODS
from pml_proxyext.benchmark.two_views.training import score, train

DATA = stand_in("test")


def trained(name, steps=8, seed=0):
    method = METHODS[name]
    with seeded(seed, part=0):
        return train(method, method.trials(1)[0], DATA.train, steps)


def weights(networks):
    return torch.cat([parameter.detach().ravel() for network in networks for parameter in network.parameters()])


def by_hand(a, b, partners):
    """Return the scores of both directions by sorting, without ties."""
    found = {}
    similarity = (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T
    relevant = partners[:, None] == np.arange(len(b))
    for direction, (s, r) in {"a_to_b": (similarity, relevant), "b_to_a": (similarity.T, relevant.T)}.items():
        ranks = [np.flatnonzero(r[i][np.argsort(-s[i])]) + 1 for i in range(len(s))]
        first = np.array([rank[0] for rank in ranks])
        found[f"{direction}_median_rank"] = np.median(first)
        found |= {f"{direction}_recall_at_{k}": np.mean(first <= k) for k in (1, 5, 10)}
        precisions = [np.mean((np.arange(len(rank)) + 1) / rank) for rank in ranks]
        found[f"{direction}_mean_average_precision"] = np.mean(precisions)
    for name in ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank", "mean_average_precision"):
        found[name] = (found[f"a_to_b_{name}"] + found[f"b_to_a_{name}"]) / 2
    return found


def test_scores_are_those_by_hand():
    networks = trained("ntxent", steps=1)
    with torch.no_grad():
        a, b = networks[0](DATA.evaluation.a.inputs).numpy(), networks[1](DATA.evaluation.b.inputs).numpy()
    expected = by_hand(a, b, DATA.evaluation.partners.numpy())
    assert score(networks, DATA.evaluation) == pytest.approx(expected, abs=1e-6)
    assert 0.05 < expected["mean_average_precision"] < 0.95


def test_scores_of_what_is_not_finite_are_nan():
    data = DATA.evaluation
    broken = PairedSet(View(data.a.inputs * math.nan, data.a.features), data.b, data.partners)
    assert all(math.isnan(value) for value in score((nn.Linear(24, 3), nn.Linear(16, 3)), broken).values())


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns(name):
    metric = "mean_average_precision"
    before, after = (score(trained(name, steps), DATA.evaluation)[metric] for steps in (1, 40))
    assert after > before + 0.1


def test_a_run_is_repeated_to_the_bit_and_another_seed_is_another_run():
    assert torch.equal(weights(trained("crossclr")), weights(trained("crossclr")))
    assert not torch.equal(weights(trained("crossclr")), weights(trained("crossclr", seed=1)))


def test_initial_weights_and_batches_do_not_depend_on_the_method(monkeypatch):
    seen = {}

    class Recorded(nn.Module):
        def forward(self, embeddings, labels, **rest):
            seen[name].append((embeddings.detach().clone(), labels))
            return embeddings.sum() * 0

    for name in ("ntxent", "clip"):
        seen[name] = []
        real = METHODS[name].make
        extra = [nn.Parameter(torch.zeros(()))] if name == "clip" else []

        def make(real=real, extra=extra, **own):
            real(**own)
            recorded = Recorded()
            recorded.more = nn.ParameterList(extra)
            return recorded

        method = training.Method(name, make, METHODS[name].own, None)
        with seeded(0, part=0):
            train(method, {"lr": 1e-9, "dropout": 0.3, "temperature": 0.1}, DATA.train, 3)
    for (a, labels), (other, other_labels) in zip(seen["ntxent"], seen["clip"], strict=True):
        assert torch.equal(labels, other_labels)
        torch.testing.assert_close(a, other, rtol=1e-4, atol=1e-5)


def test_batches_take_every_row_once_before_any_twice():
    batches = list(training._batches(10, 3, 7))
    assert [len(batch) for batch in batches] == [3] * 7
    for epoch in (batches[:3], batches[3:6]):
        assert len(set(torch.cat(epoch).tolist())) == 9
    assert not torch.equal(torch.cat(batches[:3]), torch.cat(batches[3:6]))


def test_the_loss_gets_partners_ids_and_raw_features(monkeypatch):
    calls = []

    class Recorded(nn.Module):
        def forward(self, embeddings, labels, **rest):
            calls.append((labels, rest))
            return embeddings.sum() * 0

    method = training.Method("x", lambda **own: Recorded(), {}, None)
    train(method, {"lr": 0.1, "dropout": 0.0}, DATA.train, 1)
    ((labels, rest),) = calls
    assert len(labels) == len(DATA.train)
    assert torch.equal(rest["ref_input_emb"], DATA.train.b.features[labels])
    rows = torch.cdist(rest["input_emb"], DATA.train.a.features).argmin(1)
    assert torch.equal(rest["input_emb"], DATA.train.a.features[rows])
    assert torch.equal(DATA.train.partners[rows], labels)


def test_the_temperature_of_clip_is_learned(monkeypatch):
    kept = []
    method = METHODS["clip"]

    def make(**own):
        kept.append(method.make(**own))
        return kept[0]

    learning = training.Method("x", make, method.own, None)
    with seeded(0, part=0):
        train(learning, method.trials(1)[0], DATA.train, 8)
    (parameter,) = kept[0].parameters()
    assert abs(parameter.item() - math.log(10)) > 1e-3
