"""Relations of the losses on two views against loops over samples."""

from __future__ import annotations

import math

import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch
from pml_proxyext.bounds.families.two_views import views

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.tensor([0, 1, 2, 0, 2, 1])
BATCH = BoundBatch(
    torch.randn(6, 4, generator=GENERATOR, dtype=torch.float64),
    LABELS,
    torch.randn(3, 4, generator=GENERATOR, dtype=torch.float64),
    {"temperature": 0.4, "negative_weight": 0.3, "concentration": 1.5},
)
COSINES = BATCH.cosines.tolist()
PARTNERS = [(0, 3), (1, 5), (2, 4)]


def sides(name):
    return [side.item() for side in REGISTRY[name].sides(BATCH)]


def crossclr_by_loops(intra, extra=0.0):
    total = 0.0
    for view in (0, 1):
        for pair in PARTNERS:
            own, partner = pair[view], pair[1 - view]
            others = [other for other in PARTNERS if other is not pair]
            positive = math.exp(COSINES[own][partner] / 0.4)
            inter = sum(math.exp(COSINES[own][other[1 - view]] / 0.4) for other in others)
            within = sum(math.exp(COSINES[own][other[view]] / 0.4) for other in others)
            total -= math.log(positive / (positive + inter + intra * within + extra)) / 6
    return total


def hard_by_loops(concentration):
    values = []
    for first, second in PARTNERS:
        for own, partner in ((first, second), (second, first)):
            logits = [COSINES[own][k] / 0.4 for k in range(6) if k not in (own, partner)]
            mean = sum(math.exp(concentration * x) for x in logits) / len(logits)
            weighted = sum(math.exp(concentration * x) / mean * math.exp(x) for x in logits)
            values.append(math.log1p(weighted / math.exp(COSINES[own][partner] / 0.4)))
    return sum(values) / len(values)


def test_views_are_the_first_and_the_second_sample_of_each_class():
    first, second = views(BATCH)
    torch.testing.assert_close(first, BATCH.embeddings[[0, 1, 2]])
    torch.testing.assert_close(second, BATCH.embeddings[[3, 5, 4]])


def test_crossclr_is_the_loop():
    assert sides("crossclr.eq_ntxent") == pytest.approx([crossclr_by_loops(0.0)] * 2)
    assert sides("crossclr.intra_adds") == pytest.approx([crossclr_by_loops(0.0), crossclr_by_loops(0.3)])
    assert sides("crossclr.weight_monotone") == pytest.approx([crossclr_by_loops(0.3), crossclr_by_loops(0.5)])
    assert sides("crossclr.released_adds") == pytest.approx([crossclr_by_loops(0.3), crossclr_by_loops(0.3, 1.0)])
    low, high = (math.log(1 + 1.3 * 2 * math.exp(gap / 0.4)) for gap in (-2, 2))
    assert sides("crossclr.floor")[0] == pytest.approx(low)
    assert sides("crossclr.ceiling")[1] == pytest.approx(high)


def test_pruning_takes_something_away():
    pruned, whole = sides("crossclr.pruning_removes")
    assert whole == pytest.approx(crossclr_by_loops(0.3))
    assert pruned < whole - 0.01


def test_hard_negatives_are_the_loop():
    assert sides("hardneg.eq_ntxent") == pytest.approx([hard_by_loops(0.0)] * 2)
    assert sides("hardneg.ge_ntxent") == pytest.approx([hard_by_loops(0.0), hard_by_loops(1.5)])
    assert sides("hardneg.concentration_monotone") == pytest.approx([hard_by_loops(1.5), hard_by_loops(2.5)])
    # 200 is near enough to infinity for cosines that differ by more than a hundredth.
    assert sides("hardneg.le_hardest")[1] == pytest.approx(hard_by_loops(200.0), rel=1e-3)
    assert sides("hardneg.floor")[0] == pytest.approx(math.log(1 + 4 * math.exp(-5)))


def test_codes_are_the_loop():
    codes = [[1 / (1 + math.exp(-x)) for x in row] for row in BATCH.embeddings.tolist()]
    columns = range(4)

    def xor(a, b, k):
        return codes[a][k] * (1 - codes[b][k]) + codes[b][k] * (1 - codes[a][k])

    alignment = hamming = difference = 0.0
    for a, b in PARTNERS:
        for k in columns:
            alignment += xor(a, b, k) / 12
            hamming += ((codes[a][k] > 0.5) != (codes[b][k] > 0.5)) / 12
            difference += abs(codes[a][k] - codes[b][k]) / 12
    assert sides("dcvh.hamming_le_alignment") == pytest.approx([hamming, 2 * alignment])
    assert sides("dcvh.difference_le_alignment") == pytest.approx([difference, alignment])
    way = {(a, b): sum(xor(a, b, k) for k in columns) / 4 for a, b in ((0, 1), (1, 2), (0, 2))}
    assert sides("dcvh.triangle") == pytest.approx([way[0, 2], way[0, 1] + way[1, 2]])


def test_joint_cross_entropy_is_the_loop():
    logits = (BATCH.embeddings @ BATCH.classifier.T).tolist()
    total = 0.0
    for row, label in zip(logits, LABELS.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(x) for x in row))
        total += sum(log_sum - row[k] for k in (label, (label + 1) % 3)) / 2 / 6
    assert sides("dcvh.entropy_of_labels") == pytest.approx([math.log(2), total])
