from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import ContrastiveLoss, MultiSimilarityLoss, NTXentLoss, SupConLoss
from torch import Tensor

from pml_proxyext.losses import CrossCLRLoss
from pml_proxyext.miners import InfluentialNegativeMiner

SEEDS = st.integers(0, 10_000)


def features(rows: int, seed: int, width: int = 4) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.4


def pairs(found: tuple[Tensor, ...]) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    a1, p, a2, n = (indices.tolist() for indices in found)
    return set(zip(a1, p, strict=True)), set(zip(a2, n, strict=True))


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    rows=st.integers(1, 8),
    threshold=st.sampled_from([0.2, 0.6, 0.9]),
    score=st.sampled_from(["max", "raw"]),
    second=st.booleans(),
)
def test_pairs_are_those_of_a_loop(seed, rows, threshold, score, second):
    x, labels = features(rows, seed), torch.arange(rows) // 2 + 50
    scores = [sum(cosine(a, b) for b in x.tolist()) / rows for a in x.tolist()]
    unit = max(scores) if score == "max" else 1.0
    left_out = [unit > 0 and s / unit > threshold for s in scores]
    everything = [(i, k) for i in range(rows) for k in range(rows)]
    positive = {(i, k) for i, k in everything if i // 2 == k // 2 and (second or i != k)}
    negative = {(i, k) for i, k in everything if i // 2 != k // 2 and not left_out[k]}
    miner = InfluentialNegativeMiner(threshold, score)
    found = miner(x, labels, features(rows, seed + 1, 7), labels.clone()) if second else miner(x, labels)
    assert pairs(found) == (positive, negative)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, rows=st.integers(2, 8), threshold=st.sampled_from([0.3, 0.9, 1.0]))
def test_ntxent_with_its_pairs_is_crossclr_without_weights_and_intra_modality_terms(seed, rows, threshold):
    a, b, raw_a, raw_b = (features(rows, 4 * seed + k) - 0.4 * (k < 2) for k in range(4))
    ids, miner, ntxent = torch.arange(rows), InfluentialNegativeMiner(threshold), NTXentLoss(temperature=0.2)
    directions = [(a, b, miner(raw_a, ids, raw_b, ids.clone())), (b, a, miner(raw_b, ids, raw_a, ids.clone()))]
    expected = sum(ntxent(x, ids, mined, ref_emb=y, ref_labels=ids.clone()) for x, y, mined in directions) / 2
    loss = CrossCLRLoss(0.2, prune_threshold=threshold, weighting="none", intra_modality=False)
    torch.testing.assert_close(loss(a, ids, ref_emb=b, input_emb=raw_a, ref_input_emb=raw_b), expected)


@pytest.mark.parametrize("ref_labels", ["same object", "missing"])
def test_partners_are_positive_when_the_second_view_has_no_labels_of_its_own(ref_labels):
    x, ids = features(5, 0), torch.arange(5)
    found = InfluentialNegativeMiner()(x, ids, features(5, 1), ids if ref_labels == "same object" else None)
    assert pairs(found)[0] == {(i, i) for i in range(5)}


@pytest.mark.parametrize("loss", [NTXentLoss(), SupConLoss(), ContrastiveLoss(), MultiSimilarityLoss()])
def test_pair_losses_of_pml_take_its_pairs(loss):
    embeddings, labels = features(8, 0).requires_grad_(), torch.arange(8) % 4
    few = loss(embeddings, labels, InfluentialNegativeMiner(0.5)(features(8, 1), labels))
    every = loss(embeddings, labels, InfluentialNegativeMiner(1.0)(features(8, 1), labels))
    assert torch.equal(every, loss(embeddings, labels))
    assert few.isfinite()
    assert few != every
    few.backward()


def test_counts_what_it_leaves_out():
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    miner = InfluentialNegativeMiner(collect_stats=True)
    a1, _, a2, _ = miner(x, torch.arange(3))
    assert (miner.num_influential, miner.num_pos_pairs, miner.num_neg_pairs) == (2, 0, 2)
    assert (len(a1), len(a2)) == (0, 2)


def test_an_empty_batch_has_no_pairs():
    found = InfluentialNegativeMiner()(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    assert [len(indices) for indices in found] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((features(3, 0), None), "^labels are required, got None$"),
        ((features(3, 0), torch.zeros(3)), "^labels must be integers, got torch.float32$"),
        ((features(3, 0), torch.arange(4)), "labels"),
        ((torch.arange(3)[:, None], torch.arange(3)), "^embeddings must be floating point"),
        (
            (features(3, 0), torch.arange(3), features(2, 0)),
            r"^ref_emb must have one row for each .* \(2, 4\) and \(3, 4\)$",
        ),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        InfluentialNegativeMiner()(*arguments)


def test_invalid_hyper_parameters_are_named():
    with pytest.raises(ValueError, match=r"^threshold must be a finite number, got nan$"):
        InfluentialNegativeMiner(math.nan)
    with pytest.raises(ValueError, match=r"^score must be one of 'max', 'raw', got 'mean'"):
        InfluentialNegativeMiner(score="mean")
