import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from pml_proxyext.benchmark.datasets.emoji_vendors import vendor_stand_in
from pml_proxyext.benchmark.trainer import seeded
from pml_proxyext.benchmark.two_views import codes
from pml_proxyext.benchmark.two_views.codes import CodeMethod, queries_per_second, score_codes, train_codes

TRAIN, HELD_OUT = vendor_stand_in()
METHODS = [
    CodeMethod("", is_binary, is_shared, is_aligned)
    for is_binary in (True, False)
    for is_shared in (True, False)
    for is_aligned in (True, False)
]


def outputs(method, steps=30, seed=0, **settings):
    with seeded(seed, part=0):
        networks = train_codes(method, 16, TRAIN, steps, lr=0.01, dropout=0.1, **settings)
    with torch.no_grad():
        return networks[0](HELD_OUT.a.inputs), networks[1](HELD_OUT.b.inputs)


def ready(embeddings, method):
    return [(part > 0.5).float() if method.is_binary else normalize(part) for part in embeddings]


def by_hand(similarity, relevant):
    """Return the mean average precision by sorting, without ties; queries without any relevant do not count."""
    scores = []
    for row, is_relevant in zip(similarity, relevant, strict=True):
        places = np.flatnonzero(is_relevant[np.argsort(-row)]) + 1
        if len(places):
            scores.append(np.mean((np.arange(len(places)) + 1) / places))
    return np.mean(scores)


def test_scores_are_those_by_hand():
    a, b = (normalize(part.inputs) for part in (HELD_OUT.a, HELD_OUT.b))
    found = score_codes(a, b, HELD_OUT, is_binary=False)
    labels = HELD_OUT.labels.float()
    share = (labels[HELD_OUT.a.emoji] @ labels[HELD_OUT.b.emoji].T > 0).numpy()
    same = (HELD_OUT.a.emoji[:, None] == HELD_OUT.b.emoji).numpy()
    s = (a @ b.T).numpy()
    for name, relevant in (("map_label", share), ("map_emoji", same)):
        assert found[name] == pytest.approx((by_hand(s, relevant) + by_hand(s.T, relevant.T)) / 2, abs=1e-5)
    hits = [same[i, s[i].argmax()] for i in range(len(s))], [same[s[:, j].argmax(), j] for j in range(s.shape[1])]
    assert found["recall_at_1_emoji"] == pytest.approx((np.mean(hits[0]) + np.mean(hits[1])) / 2, abs=1e-6)
    assert found["map_label_at_50"] < found["map_label_at_50_of_found"]


def test_equal_codes_score_by_chance():
    """The expectation over the order of ties, whatever the order of the data: near the share of relevant ones."""
    zeros = torch.zeros(len(HELD_OUT.a.emoji), 8), torch.zeros(len(HELD_OUT.b.emoji), 8)
    found = score_codes(*zeros, HELD_OUT, is_binary=True)
    assert found["recall_at_1_emoji"] == pytest.approx((3 / 72 + 2 / 48) / 2)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_seed_repeats_and_another_does_not(method):
    first, again, other = (outputs(method, steps=2, seed=seed, weight=1.0) for seed in (0, 0, 1))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("is_binary", [True, False])
@pytest.mark.parametrize("way", ["is_shared", "is_aligned"])
def test_a_shared_classifier_and_alignment_each_bring_the_views_together(is_binary, way):
    apart, together = CodeMethod("", is_binary), CodeMethod("", is_binary, **{way: True})
    scores = [
        score_codes(*ready(outputs(method, steps=100, weight=2.0), method), HELD_OUT, is_binary)["map_label"]
        for method in (apart, together)
    ]
    assert scores[1] > scores[0] + 0.03


def test_weight_is_of_the_alignment_alone():
    plain, aligned = CodeMethod("", True), CodeMethod("", True, is_aligned=True)
    assert torch.equal(outputs(plain, 2, weight=5.0)[0], outputs(plain, 2)[0])
    assert torch.equal(outputs(aligned, 2, weight=0.0)[0], outputs(plain, 2)[0])
    assert not torch.equal(outputs(aligned, 2, weight=5.0)[0], outputs(plain, 2)[0])


@pytest.mark.parametrize("is_binary", [True, False])
def test_codes_are_in_the_unit_interval_and_floats_are_not(is_binary):
    a, _ = outputs(CodeMethod("", is_binary), steps=5)
    assert ((a >= 0) & (a <= 1)).all() == is_binary


def test_trials_have_rates_in_common():
    plain, aligned = CodeMethod("", True).trials(5), CodeMethod("", False, is_aligned=True).trials(5)
    assert len(plain) == 5
    assert [{"lr": one["lr"], "dropout": one["dropout"]} for one in aligned] == plain
    assert all("weight" in one for one in aligned)


@pytest.mark.parametrize("is_binary", [True, False])
def test_search_is_timed_among_as_many_references_as_asked_for(monkeypatch, is_binary):
    name, seen = "HammingKNN" if is_binary else "FaissKNN", []
    known = getattr(codes, name)

    class Watched(known):
        def train(self, embeddings):
            seen.append(len(embeddings))
            super().train(embeddings)

    monkeypatch.setattr(codes, name, Watched)
    bits = (torch.rand(60, 16, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    assert queries_per_second(bits, bits, is_binary, references=1000) > 0
    assert seen == [1000]
