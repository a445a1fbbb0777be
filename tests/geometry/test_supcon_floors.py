"""The closed floors of SupCon against stored numbers, loops, PML's loss, all batches of small sets, and witnesses."""

import json
import math
from itertools import combinations_with_replacement
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from pml_proxyext.geometry import (
    regular_simplex,
    supcon_antipodal_floor,
    supcon_simplex_floor,
    supcon_statistics_floor,
    supcon_total_floor,
)

from .supcon_witness import looped_supcon_sum, pml_supcon

GOLDEN = Path(__file__).parents[1] / "golden"
BATCHES = json.loads((GOLDEN / "bounds_batches.json").read_text())["cases"]
MINIMA = json.loads((GOLDEN / "bounds_minima.json").read_text())
ON_COUNTS = [supcon_simplex_floor, supcon_antipodal_floor]


def float64(values):
    return torch.tensor(values, dtype=torch.float64)


def close(value, expected, rtol=1e-9):
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(expected, rel=rtol, abs=1e-300)


def labels_of(counts):
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def draw(seed, labels, dim):
    """Give embeddings from loose to nearly collapsed classes, and from random to simplex-like or opposed means."""
    generator = torch.Generator().manual_seed(seed)
    classes = int(labels.max()) + 1
    spread = 10 ** (-6 * torch.rand(1, generator=generator).item())
    means = torch.randn(classes, dim, generator=generator, dtype=torch.float64)
    if seed % 3 == 0:  # all against the largest class
        means = torch.ones(classes, dim, dtype=torch.float64)
        means[torch.bincount(labels).argmax()] *= -1
    elif seed % 3 == 1:
        means = means - means.mean(0)
    return means[labels] + spread * torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)


COUNTS = st.lists(st.integers(1, 6), min_size=2, max_size=5).filter(lambda counts: max(counts) > 1)
SEEDS, DIMS, TEMPERATURES = st.integers(0, 2**32), st.integers(1, 6), st.sampled_from([0.05, 0.3, 1.0, 4.0])
many_batches = settings(max_examples=100, deadline=None, derandomize=True)


@pytest.mark.parametrize("case", BATCHES, ids=[f"{i}-{case['kind']}" for i, case in enumerate(BATCHES)])
def test_stored_batches(case):
    labels, stored = torch.tensor(case["labels"]), case["numpy"]
    counts = torch.bincount(labels)
    close(supcon_simplex_floor(counts, case["tau"]), stored["B_sc_simplex_formula"])
    close(supcon_antipodal_floor(counts, case["tau"]), stored["B_sc_universal"])
    floor = supcon_statistics_floor(float64(case["embeddings"]), labels, case["tau"])
    close(floor, stored["B_sc_stats"])
    assert floor <= stored["supcon_out"] + 1e-12


@pytest.mark.parametrize("case", MINIMA["supcon_batch_minimum"], ids=lambda case: f"{case['counts']}")
def test_stored_formulas(case):
    close(supcon_simplex_floor(case["counts"], case["tau"]), case["simplex_formula"])
    close(supcon_antipodal_floor(case["counts"], case["tau"]), case["antipodal_floor"])


def looped_floor(labels, similarities):
    """Write the floor from the statistics out, with sums over single pairs."""
    size, total, anchors = len(labels), 0.0, 0
    for y in sorted(set(labels)):
        own = [i for i in range(size) if labels[i] == y]
        rest = [i for i in range(size) if labels[i] != y]
        if len(own) < 2:
            continue
        within = [similarities[i][j] for i in own for j in own if i != j]
        between = [similarities[i][j] for i in own for j in rest]
        exponent = sum(between) / max(len(between), 1) - sum(within) / len(within)
        total += len(own) * math.log(len(own) - 1 + len(rest) * math.exp(exponent))
        anchors += len(own)
    return total / max(anchors, 1)


@given(SEEDS, COUNTS, DIMS, TEMPERATURES)
@many_batches
def test_statistics_floor_is_that_of_a_loop_and_below_the_loss_of_pml(seed, counts, dim, temperature):
    labels = labels_of(counts)
    embeddings = draw(seed, labels, dim)
    similarities = (normalize(embeddings) @ normalize(embeddings).T / temperature).tolist()
    floor = supcon_statistics_floor(embeddings, labels, temperature)
    loss = pml_supcon(embeddings, labels, temperature)
    assert floor.item() == pytest.approx(looped_floor(labels.tolist(), similarities), rel=1e-10, abs=1e-12)
    assert floor <= loss + 1e-12 * (1 + loss)
    assert supcon_antipodal_floor(counts, temperature) <= loss + 1e-12 * (1 + loss)


@given(SEEDS, st.integers(2, 5), st.integers(2, 5), DIMS, TEMPERATURES)
@many_batches
def test_no_balanced_batch_is_below_the_simplex(seed, classes, each, dim, temperature):
    labels = labels_of([each] * classes)
    loss = pml_supcon(draw(seed, labels, dim), labels, temperature)
    assert supcon_simplex_floor([each] * classes, temperature) <= loss + 1e-12 * (1 + loss)


@pytest.mark.parametrize("counts", [[2, 2], [3, 3, 3], [2] * 10, [8, 2, 2], [4, 1]])
def test_collapsed_classes_on_a_simplex_have_the_simplex_value(counts):
    labels = labels_of(counts)
    embeddings = regular_simplex(len(counts), 12, dtype=torch.float64)[labels]
    loss = pml_supcon(embeddings, labels, 0.5).item()
    close(supcon_simplex_floor(counts, 0.5), loss, 1e-11)
    close(supcon_statistics_floor(embeddings, labels, 0.5), loss, 1e-11)


def test_seven_against_two_singletons_refute_the_simplex_formula_and_attain_the_antipodal_floor():
    labels = labels_of([7, 1, 1])
    loss = pml_supcon(torch.where(labels == 0, 1.0, -1.0).double()[:, None], labels, 1.0).item()
    assert loss == pytest.approx(math.log(6 + 2 * math.exp(-2)), rel=1e-12)
    close(supcon_antipodal_floor([7, 1, 1], 1.0), loss, 1e-12)
    close(supcon_simplex_floor([7, 1, 1], 1.0), math.log(6 + 2 * math.exp(-1.5)), 1e-14)
    assert loss < supcon_simplex_floor([7, 1, 1], 1.0) - 0.02


def all_batches_total(embeddings, labels, batch_size, temperature):
    similarities = (normalize(embeddings) @ normalize(embeddings).T / temperature).tolist()
    total = 0.0
    for batch in combinations_with_replacement(range(len(labels)), batch_size):
        rows = [[similarities[i][j] for j in batch] for i in batch]
        total += looped_supcon_sum(rows, [labels[i] for i in batch])
    return total


@pytest.mark.parametrize(
    ("classes", "per_class", "size", "temperature"), [(3, 2, 4, 1.0), (3, 2, 4, 0.3), (2, 3, 5, 0.5)]
)
def test_total_floor_is_the_sum_over_all_multisets_on_the_simplex_and_no_more_elsewhere(
    classes, per_class, size, temperature
):
    labels = labels_of([per_class] * classes)
    floor = supcon_total_floor(classes, per_class, size, temperature).item()
    simplex = regular_simplex(classes, 4, dtype=torch.float64)[labels]
    total = all_batches_total(simplex, labels.tolist(), size, temperature)
    assert floor == pytest.approx(total, rel=1e-12)
    generator = torch.Generator().manual_seed(0)
    for noise in (1e-3, 0.1, 10.0):
        moved = simplex + noise * torch.randn(simplex.shape, generator=generator, dtype=torch.float64)
        assert all_batches_total(moved, labels.tolist(), size, temperature) > floor + 1e-9


@pytest.mark.parametrize("case", MINIMA["graf_all_batches"], ids=lambda case: f"K={case['K']}, b={case['batch']}")
def test_stored_totals(case):
    close(supcon_total_floor(case["K"], case["n_per_class"], case["batch"], case["tau"]), case["total"])


def test_gradients():
    temperature = float64([0.3, 1.0]).requires_grad_()
    embeddings = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 0, 2, 1, 0])
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(lambda x: supcon_simplex_floor([3, 2, 1], x), (temperature,))
        assert check(lambda x: supcon_antipodal_floor([3, 2, 1], x), (temperature,))
        assert check(lambda x: supcon_total_floor(3, 2, 3, x), (temperature,))
        assert check(lambda z, x: supcon_statistics_floor(z, labels, x), (embeddings, temperature[0].detach()))
        assert check(lambda x: supcon_statistics_floor(embeddings.detach(), labels, x[0]), (temperature,))


@pytest.mark.parametrize("floor", ON_COUNTS)
def test_temperatures_broadcast_and_classes_may_come_in_any_order(floor):
    grid = float64([[0.1, 1.0, 3.0]])
    found = floor([5, 3, 1], grid)
    assert found.shape == (1, 3)
    for value, temperature in zip(found[0], grid[0].tolist(), strict=True):
        close(value, floor(torch.tensor([3, 0, 1, 5]), temperature).item(), 1e-14)


def test_cold_floors_keep_their_relative_accuracy():
    close(supcon_antipodal_floor([2, 2], 0.01), 2 * math.exp(-200), 1e-12)
    close(supcon_simplex_floor([2, 2, 2], 0.01), 4 * math.exp(-150), 1e-12)
    close(supcon_antipodal_floor([2, 2], 1e-300), 0.0)
    close(supcon_simplex_floor([3, 3], 1e300), math.log(5))


def test_a_single_class_has_the_log_of_its_others_although_pml_returns_zero():
    embeddings, labels = torch.eye(4, dtype=torch.float64), torch.zeros(4, dtype=torch.long)
    assert pml_supcon(embeddings, labels, 0.5) == 0
    for floor in (*(f([4], 0.5) for f in ON_COUNTS), supcon_statistics_floor(embeddings, labels, 0.5)):
        close(floor, math.log(3), 1e-14)


def test_without_positives_the_floors_are_zero_as_the_loss_of_pml_is():
    embeddings, labels = torch.eye(3, requires_grad=True), torch.arange(3)
    assert pml_supcon(embeddings, labels, 0.5) == 0
    assert [f([1, 1, 1], 0.5).item() for f in ON_COUNTS] == [0, 0]
    floor = supcon_statistics_floor(embeddings, labels, 0.5)
    assert floor == 0
    floor.backward()
    assert embeddings.grad.count_nonzero() == 0


def test_statistics_floor_ignores_lengths_rotations_and_names_of_classes():
    labels = torch.tensor([2, 0, 2, 1, 1, 2])
    embeddings = draw(5, labels, 4)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).Q
    moved = embeddings @ rotation * torch.arange(1.0, 7.0)[:, None]
    names = torch.tensor([-4, 10**12, 7])
    close(supcon_statistics_floor(moved, names[labels], 0.2), supcon_statistics_floor(embeddings, labels, 0.2).item())
    half = supcon_statistics_floor(embeddings.bfloat16(), labels, 0.2)
    close(half, supcon_statistics_floor(embeddings.bfloat16().double(), labels, 0.2).item(), 1e-14)


def test_statistics_floor_of_zero_vectors_is_finite_and_of_nan_is_nan():
    labels = torch.tensor([0, 0, 1])
    zeros = torch.zeros(3, 2, dtype=torch.float64)
    close(supcon_statistics_floor(zeros, labels, 0.5), pml_supcon(zeros, labels, 0.5).item(), 1e-12)
    assert supcon_statistics_floor(zeros + float("nan"), labels, 0.5).isnan()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: supcon_simplex_floor([2, -2], 1.0), r"counts must be >= 0 and one of them positive, got \[2, -2\]"),
        (lambda: supcon_antipodal_floor([2.0], 1.0), r"counts must be a vector of integers, got \[2.0\]"),
        (lambda: supcon_simplex_floor([2, 2], 0.0), "temperature must be a finite number > 0, got 0"),
        (lambda: supcon_antipodal_floor([2, 2], torch.tensor(-1.0)), "temperature must be > 0 everywhere"),
        (lambda: supcon_total_floor(1, 2, 3, 1.0), "num_classes must be an integer >= 2, got 1"),
        (lambda: supcon_total_floor(2, 0, 3, 1.0), "per_class must be an integer >= 1, got 0"),
        (lambda: supcon_total_floor(2, 2, 1, 1.0), "batch_size must be an integer >= 2, got 1"),
        (lambda: supcon_total_floor(10, 5000, 256, 1.0), "too many batches, got 256, 5000"),
        (
            lambda: supcon_statistics_floor(torch.ones(2, 2), torch.tensor([0]), 1.0),
            r"labels must have shape \(2,\), at least one, got \(1,\)",
        ),
        (
            lambda: supcon_statistics_floor(torch.ones(0, 2), torch.ones(0, dtype=torch.long), 1.0),
            r"labels must have shape \(0,\), at least one",
        ),
        (lambda: supcon_statistics_floor(torch.ones(2, 2), torch.ones(2), 1.0), "labels must be integers"),
        (lambda: supcon_statistics_floor(torch.ones(2), torch.ones(2).long(), 1.0), "embeddings must have shape"),
    ],
)
def test_arguments_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
