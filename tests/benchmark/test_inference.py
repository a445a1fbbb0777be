import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pml_proxyext.benchmark.inference import bootstrap_interval, holm, paired_p_value

SAMPLE = [0.3, -0.1, 0.5, 0.9, 0.2]
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def naive_holm(p_values):
    """Reject step by step as Holm's procedure does; the adjusted p-value is the smallest level that rejects."""
    adjusted = []
    for p in p_values:
        level = 0.0
        for rank, smaller in enumerate(sorted(p_values)):
            level = max(level, (len(p_values) - rank) * smaller)
            if smaller == p:
                break
        adjusted.append(min(1.0, level))
    return adjusted


def test_bootstrap_interval_equals_the_one_over_all_resamples():
    # all 5^5 resamples are equally likely, so the quantiles of t* are known exactly
    mean, deviation = np.mean(SAMPLE), np.std(SAMPLE, ddof=1)
    ratios = []
    for resample in itertools.product(SAMPLE, repeat=5):
        spread = np.std(resample, ddof=1) if len(set(resample)) > 1 else 0.0
        shift = np.mean(resample) - mean
        ratios.append(shift / spread if spread else math.copysign(math.inf, shift))
    ratios.sort()

    def ends(tail):
        count = len(ratios)
        return mean - ratios[math.ceil((1 - tail) * count) - 1] * deviation, mean - ratios[
            int(tail * count)
        ] * deviation

    low, high = bootstrap_interval(SAMPLE)
    # 9999 draws put the 2.5% quantile between the exact 2.0% and 3.0% ones but for chance 2 * 0.0015 (binomial)
    outer, inner = ends(0.020), ends(0.030)
    assert outer[0] <= low <= inner[0]
    assert inner[1] <= high <= outer[1]


def test_bootstrap_interval_holds_its_level_with_five_seeds():
    # 95.2% in 4000 samples, percentile intervals 84%. With 500 samples a true level of 95% falls below 91.5% with
    # probability 5e-4; the generators are fixed.
    generator = np.random.default_rng(0)
    intervals = [bootstrap_interval(generator.normal(2.0, 3.0, 5), seed) for seed in range(500)]
    assert np.mean([low <= 2.0 <= high for low, high in intervals]) > 0.915


def test_bootstrap_interval_moves_and_scales_with_the_values():
    low, high = bootstrap_interval(SAMPLE)
    assert bootstrap_interval([1 + 2 * value for value in SAMPLE]) == pytest.approx((1 + 2 * low, 1 + 2 * high))


def test_bootstrap_interval_is_the_same_each_time_and_leaves_the_generator_alone():
    before = np.random.get_state()[1].tolist()
    assert bootstrap_interval(SAMPLE) == bootstrap_interval(SAMPLE)
    assert np.random.get_state()[1].tolist() == before


@pytest.mark.parametrize("values", [[0.1], [0.1, 0.2, 0.3], [0.1, 0.2, math.nan, 0.3, 0.2], [0.0, 0.0, 0.0, 0.0, 1.0]])
def test_bootstrap_interval_claims_nothing_where_it_cannot(values):
    assert all(math.isnan(end) for end in bootstrap_interval(values))


def test_bootstrap_interval_of_equal_values_is_a_point():
    assert bootstrap_interval([0.1] * 5) == (0.1, 0.1)


def test_paired_p_value_is_that_of_the_t_test():
    # by hand: mean 0.36, standard deviation 0.371, t = 2.170
    t = 0.36 / (math.sqrt(sum((x - 0.36) ** 2 for x in SAMPLE) / 4) / math.sqrt(5))
    assert paired_p_value(SAMPLE) == pytest.approx(2 * stats.t.sf(t, 4), rel=1e-12)
    first, second = [0.7, 0.8, 0.75], [0.65, 0.7, 0.72]
    differences = np.subtract(first, second)
    assert paired_p_value(differences) == pytest.approx(stats.ttest_rel(first, second).pvalue, rel=1e-9)


def test_paired_p_value_keeps_its_level():
    # 2000 samples of 5 differences: within 4 standard errors of 5% (false alarm 6e-5)
    generator = np.random.default_rng(0)
    p_values = [paired_p_value(generator.normal(0, 3, 5)) for _ in range(2000)]
    assert abs(np.mean(np.array(p_values) <= 0.05) - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [([0.0] * 5, 1.0), ([0.1] * 5, 0.0), ([0.1], math.nan), ([0.1, math.nan], math.nan)],
)
def test_paired_p_value_of_odd_samples(differences, expected):
    assert paired_p_value(differences) == pytest.approx(expected, nan_ok=True)


def test_holm_of_a_known_example():
    # by hand: 4 * 0.005, 3 * 0.01, 2 * 0.03, and 1 * 0.04 raised to the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(P_VALUES)
def test_holm_equals_the_procedure_step_by_step(p_values):
    assert holm(p_values) == pytest.approx(naive_holm(p_values))


@given(P_VALUES)
def test_holm_lies_between_the_p_value_and_bonferroni(p_values):
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        assert p - 1e-12 <= adjusted <= min(1.0, len(p_values) * p) + 1e-12


def test_holm_does_not_count_tests_that_could_not_be_made():
    assert holm([math.nan, 0.01, math.nan, 0.04]) == pytest.approx([math.nan, 0.02, math.nan, 0.04], nan_ok=True)
    assert holm([]) == []
