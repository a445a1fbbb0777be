import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pml_proxyext.testers import Rejection, auroc


def naive_auroc(positive, score):
    pairs = [(a, b) for a, is_a in zip(score, positive, strict=True) if is_a for b in negatives(positive, score)]
    return sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)


def negatives(positive, score):
    return [value for value, is_positive in zip(score, positive, strict=True) if not is_positive]


def naive_error(errors, certainty):
    """Return the mean over all orders of the queries, each sorted by certainty."""
    curves = []
    for order in itertools.permutations(range(len(errors))):
        kept = sorted(order, key=lambda i: -certainty[i])  # stable: ties stay in the order drawn
        curves.append([np.mean([errors[i] for i in kept[: len(errors) - k]]) for k in range(len(errors))])
    return np.mean(curves, axis=0)


queries = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=1, max_size=40)
mixed_queries = queries.filter(lambda pairs: len({wrong for wrong, _ in pairs}) == 2)


@pytest.mark.parametrize("seed", range(6))
def test_auroc_equals_a_naive_loop_over_pairs(seed):
    generator = np.random.default_rng(seed)
    positive = np.arange(30) < 9
    score = np.round(generator.normal(size=30) + positive, 1 if seed % 2 else 8)  # with and without ties
    assert auroc(positive, score) == pytest.approx(naive_auroc(positive, score), abs=1e-14)


@pytest.mark.parametrize("seed", range(4))
def test_error_equals_the_mean_over_all_orders_of_ties(seed):
    generator = np.random.default_rng(seed)
    errors = np.array([True, True, False, False, True, False])
    certainty = generator.integers(0, 3, 6)
    rejection = Rejection(errors, certainty)
    np.testing.assert_allclose(rejection.error, naive_error(errors, certainty), rtol=1e-12)
    assert rejection.area == pytest.approx(naive_error(errors, certainty).mean(), rel=1e-12)
    np.testing.assert_allclose(rejection.rejected, [k / 6 for k in range(6)])


@given(mixed_queries)
def test_a_monotone_transformation_of_the_certainty_changes_nothing(pairs):
    wrong, certainty = np.array(pairs).T
    before, after = Rejection(wrong, certainty), Rejection(wrong, np.exp(3.0 * certainty) - 7)
    np.testing.assert_array_equal(before.error, after.error)
    assert (before.auroc, before.normalized_area) == (after.auroc, after.normalized_area)


@given(mixed_queries, st.randoms(use_true_random=False))
def test_the_order_of_the_queries_changes_nothing(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    before, after = (Rejection(*np.array(each).T) for each in (pairs, shuffled))
    np.testing.assert_array_equal(before.error, after.error)
    assert before.auroc == after.auroc


@given(mixed_queries)
def test_opposite_certainties_have_opposite_auroc(pairs):
    wrong, certainty = np.array(pairs).T
    assert Rejection(wrong, certainty).auroc + Rejection(wrong, -certainty).auroc == pytest.approx(1)


@given(queries)
def test_area_lies_between_those_of_the_best_and_the_worst_certainty(pairs):
    wrong, certainty = np.array(pairs).T
    best, worst = Rejection(wrong, 1 - wrong).area, Rejection(wrong, wrong).area
    assert best - 1e-12 <= Rejection(wrong, certainty).area <= worst + 1e-12


def test_perfect_reversed_and_equal_certainty():
    wrong = np.arange(100) < 30
    perfect = Rejection(wrong, np.arange(100.0))
    assert (perfect.auroc, perfect.normalized_area) == (1, 0)
    assert perfect.error[0] == 0.3
    assert (np.diff(perfect.error) <= 0).all()
    assert (perfect.error[30:] == 0).all()
    turned = Rejection(wrong, -np.arange(100.0))
    assert turned.auroc == 0
    assert turned.normalized_area > 1
    equal = Rejection(wrong, np.zeros(100))
    assert (equal.auroc, equal.normalized_area) == (0.5, pytest.approx(1))
    np.testing.assert_allclose(equal.error, 0.3)


def test_random_certainty_is_worth_nothing():
    """AUROC and area of a random order have means 1/2 and the error itself.

    AUROC of n and m queries has the standard deviation sqrt((n + m + 1) / (12 n m)), the mean area that of the sample.
    Both are allowed four of them: a false alarm in 16000 for each, and none ever with this seed.
    """
    generator = np.random.default_rng(0)
    wrong = np.arange(2000) < 400
    rejections = [Rejection(wrong, generator.random(2000)) for _ in range(50)]
    deviation = math.sqrt(2001 / (12 * 400 * 1600) / len(rejections))
    assert np.mean([r.auroc for r in rejections]) == pytest.approx(0.5, abs=4 * deviation)
    areas = np.array([r.area for r in rejections])
    assert areas.mean() == pytest.approx(0.2, abs=4 * areas.std(ddof=1) / math.sqrt(len(areas)))
    assert np.mean([r.normalized_area for r in rejections]) == pytest.approx(1, abs=0.05)


def test_error_at_rounds_to_whole_queries_and_keeps_one():
    rejection = Rejection([True, False, True, False], certainty=[1, 2, 3, 4])
    np.testing.assert_allclose(rejection.error_at([0, 0.12, 0.13, 0.5, 1]), [1 / 2, 1 / 2, 1 / 3, 1 / 2, 0])
    assert float(rejection.error_at(0.25)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("wrong", [True, False])
def test_without_two_outcomes_order_is_worth_nan_and_the_error_is_known(wrong):
    rejection = Rejection([wrong] * 3, [1, 2, 3])
    assert math.isnan(rejection.auroc)
    assert math.isnan(rejection.normalized_area)
    assert rejection.area == wrong


def test_nan_certainty_stays_visible():
    rejection = Rejection([True, False, False], [0.1, math.nan, 0.3])
    values = [rejection.auroc, rejection.area, rejection.normalized_area, *rejection.error, *rejection.error_at([0])]
    assert np.isnan(values).all()


def test_infinite_certainties_are_ordered():
    assert Rejection([True, True, False], [-math.inf, 0.0, math.inf]).auroc == 1
    assert auroc([True, False], [math.inf, math.inf]) == 0.5


def test_no_query_has_no_error():
    rejection = Rejection([], [])
    assert np.isnan([rejection.auroc, rejection.area, rejection.normalized_area, *rejection.error_at([0, 0.5])]).all()
    assert rejection.error.shape == (0,)


@pytest.mark.parametrize(
    ("errors", "certainty", "message"),
    [
        ([True], [1, 2], r"errors and certainty must have shape \(N,\), got shapes \(1,\) and \(2,\)"),
        ([[True]], [[1]], r"got shapes \(1, 1\)"),
        ([0.2, 1], [1, 2], "errors must be booleans, got float64"),
    ],
)
def test_bad_input_is_named(errors, certainty, message):
    with pytest.raises(ValueError, match=message):
        Rejection(errors, certainty)
