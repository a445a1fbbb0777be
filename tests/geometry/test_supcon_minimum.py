"""The minimum of a batch against stored minima, PML's loss on free embeddings, and a certificate written anew."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pml_proxyext.geometry import (
    regular_simplex,
    supcon_antipodal_floor,
    supcon_batch_minimum,
    supcon_simplex_floor,
)

from .supcon_witness import pml_supcon

STORED = json.loads((Path(__file__).parents[1] / "golden" / "bounds_minima.json").read_text())["supcon_batch_minimum"]
UNDETERMINED = [7, 1, 1]  # the cosine between the two singletons is not in the loss
COUNTS = st.lists(st.integers(1, 8), min_size=2, max_size=6).filter(lambda counts: max(counts) > 1)
TEMPERATURES = st.sampled_from([0.05, 0.2, 1.0, 4.0])


def labels_of(counts):
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def embedded(gram):
    """Return vectors with the given Gram matrix."""
    values, vectors = torch.linalg.eigh(gram)
    return vectors * values.clamp_min(0).sqrt()


@pytest.mark.parametrize("case", STORED, ids=lambda case: f"{case['counts']} at {case['tau']}")
def test_stored_minima(case):
    found = supcon_batch_minimum(case["counts"], case["tau"])
    assert found.minimum.item() == pytest.approx(case["minimum"], rel=1e-9)
    assert found.lower_bound >= case["dual_lower_bound"] - 1e-15
    assert 0 <= found.gap < 1e-12
    if case["counts"] != UNDETERMINED:
        gram = torch.tensor(case["class_gram"], dtype=torch.float64)
        torch.testing.assert_close(found.class_gram, gram, rtol=0, atol=1e-7)  # values are flat at their minimum


def test_a_published_minimum_of_five_classes():
    assert supcon_batch_minimum([10, 6, 4, 2, 1], 0.2).minimum.item() == pytest.approx(1.6441859814, abs=1e-10)


@given(COUNTS, TEMPERATURES)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_minimum_is_the_loss_of_its_class_gram_and_between_the_closed_forms(counts, temperature):
    found = supcon_batch_minimum(counts, temperature)
    labels = labels_of(counts)
    loss = pml_supcon(embedded(found.class_gram)[labels], labels, temperature)
    assert found.minimum.item() == pytest.approx(loss.item(), rel=1e-6, abs=1e-7)  # the square root of rounding
    assert 0 <= found.gap < 1e-10
    assert supcon_antipodal_floor(counts, temperature) <= found.minimum + 1e-12
    assert found.lower_bound <= supcon_simplex_floor(counts, temperature) + 1e-12
    torch.testing.assert_close(torch.diagonal(found.class_gram), torch.ones(len(counts), dtype=torch.float64))
    assert torch.linalg.eigvalsh(found.class_gram)[0] > -1e-12


def numpy_value_and_slope(gram, counts, temperature):
    """Write f and its gradient out, one entry after another, over the cosines off the diagonal."""
    total = sum(n for n in counts if n >= 2)
    value, slope = 0.0, np.zeros_like(gram)
    for y, n in enumerate(counts):
        if n >= 2:
            terms = {k: counts[k] * math.exp((gram[y, k] - 1) / temperature) for k in range(len(counts)) if k != y}
            denominator = n - 1 + sum(terms.values())
            value += n / total * math.log(denominator)
            for k, term in terms.items():
                slope[y, k] += n / total * term / denominator / temperature
    return value, (slope + slope.T) / 2


@given(COUNTS, TEMPERATURES, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_certificate_written_anew_proves_the_minimum(counts, temperature, seed):
    found = supcon_batch_minimum(counts, temperature)
    gram = found.class_gram.numpy()
    value, slope = numpy_value_and_slope(gram, counts, temperature)
    excess = slope - np.diag((slope * gram).sum(1))
    assert value == pytest.approx(found.minimum.item(), rel=1e-12)
    assert len(counts) * np.linalg.eigvalsh(excess)[0] > -1e-10
    other = np.random.default_rng(seed).standard_normal((len(counts), 2))
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    assert numpy_value_and_slope(other @ other.T, counts, temperature)[0] >= found.lower_bound.item() - 1e-12


@pytest.mark.parametrize(
    ("counts", "temperature"), [([8, 2, 2], 1.0), ([5, 3, 1], 1.0), ([5, 4, 3, 2], 0.5), ([3, 3, 3], 0.3)]
)
def test_free_embeddings_reach_the_minimum_and_go_no_lower(counts, temperature):
    labels = labels_of(counts)
    found = supcon_batch_minimum(counts, temperature)
    generator = torch.Generator().manual_seed(0)
    free = torch.randn(len(labels), 8, generator=generator, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([free], max_iter=300, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = pml_supcon(free, labels, temperature)
        loss.backward()
        return loss

    optimizer.step(closure)
    slack = (pml_supcon(free, labels, temperature) - found.lower_bound).item()
    assert -1e-12 < slack < 1e-7


def test_narrow_embeddings_stay_above_the_minimum():
    """Four classes on a line cannot form the tetrahedron; the floor holds and is not attained."""
    labels = labels_of([2, 2, 2, 2])
    floor = supcon_batch_minimum([2, 2, 2, 2], 0.5).lower_bound
    signs = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]], dtype=torch.float64)
    assert pml_supcon(signs[labels], labels, 0.5) > floor + 0.1


@pytest.mark.parametrize("temperature", [1e-3, 0.07, 1.0, 50.0])
def test_balanced_and_two_class_batches_have_their_closed_form(temperature):
    for counts in ([4, 4, 4], [2] * 12):
        found = supcon_batch_minimum(counts, temperature)
        expected = supcon_simplex_floor(counts, temperature).item()
        assert found.minimum.item() == pytest.approx(expected, abs=1e-11)
        assert found.gap < 1e-11
    for counts in ([5, 2], [7, 1], [9, 1, 1, 1]):
        expected = supcon_antipodal_floor(counts, temperature).item()
        assert supcon_batch_minimum(counts, temperature).minimum.item() == pytest.approx(expected, abs=1e-11)


def test_balanced_class_gram_is_the_simplex():
    simplex = regular_simplex(5, 4, dtype=torch.float64)
    gram = supcon_batch_minimum([3] * 5, 0.5).class_gram
    torch.testing.assert_close(gram, simplex @ simplex.T, rtol=0, atol=1e-10)


def test_many_classes_are_certified_too():
    counts = torch.randint(1, 8, (48,), generator=torch.Generator().manual_seed(0))
    for temperature in (0.1, 1.0):
        assert supcon_batch_minimum(counts, temperature).gap < 1e-9


def test_order_of_classes_and_absent_ones_do_not_matter():
    found, moved = supcon_batch_minimum([5, 3, 2], 0.4), supcon_batch_minimum(torch.tensor([0, 2, 5, 0, 3]), 0.4)
    order = [1, 2, 0]
    assert moved.minimum.item() == pytest.approx(found.minimum.item(), rel=1e-12)
    torch.testing.assert_close(moved.class_gram[order][:, order], found.class_gram, rtol=0, atol=1e-8)


def test_batches_of_one_class_or_without_positives():
    assert supcon_batch_minimum([5], 0.3).minimum.item() == pytest.approx(math.log(4))
    for counts in ([1], [1, 1, 1]):
        found = supcon_batch_minimum(counts, 0.3)
        assert found.minimum == found.lower_bound == found.gap == 0


def test_runs_are_equal_and_leave_the_random_state_alone():
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = (supcon_batch_minimum([6, 3, 2], torch.tensor(0.5)) for _ in range(2))
    assert torch.equal(first.class_gram, second.class_gram)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperature_out_of_range_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be a finite number > 0"):
        supcon_batch_minimum([2, 2], temperature)


def test_unfit_counts_are_refused():
    with pytest.raises(ValueError, match=r"counts must be >= 0 and one of them positive, got \[0, 0\]"):
        supcon_batch_minimum([0, 0], 1.0)
