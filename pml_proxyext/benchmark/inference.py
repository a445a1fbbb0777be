"""What a few paired differences allow to say: a bootstrap interval, a p-value, and Holm's correction for several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

__all__ = ["bootstrap_interval", "holm", "paired_p_value"]

_RESAMPLES = 9999


def bootstrap_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    r"""Return a 95% interval for the mean by the bootstrap-t.

    .. math::
        \left[\bar x - t^*_{0.975}\, s,\; \bar x - t^*_{0.025}\, s\right], \qquad
        t^* = \frac{\bar x^* - \bar x}{s^*}

    with :math:`\bar x, s` the mean and standard deviation of the values, and :math:`t^*_q` the quantile over resamples
    with mean :math:`\bar x^*` and standard deviation :math:`s^*`.

    Why this one: with few seeds the usual bootstrap intervals are too short. Of intervals from 4000 simulated samples
    each, that should hold the true mean 95 times in 100, so many did (Monte-Carlo error 0.3 to 0.7):

    ==================  =============  ==============  ==================  ===================
    interval            normal, n = 5  normal, n = 10  exponential, n = 5  exponential, n = 10
    ==================  =============  ==============  ==================  ===================
    percentile          83.9           90.9            79.3                85.9
    basic               84.0           90.7            77.1                83.6
    bootstrap-t (this)  95.2           95.4            93.4                93.8
    Student's t         94.8           95.1            88.8                89.6
    ==================  =============  ==============  ==================  ===================

    The price is length: for normal values, in the median, a third longer than Student's with n = 5 and 7% longer with
    n = 10. With n = 4 it holds 95.2, and is twice as long. Where most of five values are nearly equal it is longer
    still, and may hold zero where a t test is sure of the opposite: more seeds are the cure.

    Args:
        values: one number per seed.
        seed: of the 9999 resamples; equal values give equal intervals.

    Returns:
        low and high end; NaN for fewer than four values, where a value is NaN, and where ties leave too many resamples
        without spread.

    Reference:
        Efron, "Nonparametric standard errors and confidence intervals", Canadian Journal of Statistics 9, 1981.

    Example:
        >>> low, high = bootstrap_interval([0.2, 0.3, 0.1, 0.4, 0.2])
        >>> bool(low < 0.24 < high)
        True
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2 or np.isnan(sample).any():
        return np.nan, np.nan
    if np.ptp(sample) == 0:
        return float(sample[0]), float(sample[0])
    mean, deviation = sample.mean(), sample.std(ddof=1)
    resamples = np.random.default_rng(seed).choice(sample, (_RESAMPLES, len(sample)))
    spread = np.where(np.ptp(resamples, axis=1) > 0, resamples.std(axis=1, ddof=1), 0.0)  # exactly 0 where all agree
    shift = resamples.mean(axis=1) - mean
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(shift == 0, 0.0, shift / spread)
    low, high = np.quantile(ratio, [0.025, 0.975], method="inverted_cdf")  # no mixing of a finite end with an infinite
    if not np.isfinite([low, high]).all():  # so it is with three values: one resample in nine has no spread
        return np.nan, np.nan
    return float(mean - high * deviation), float(mean - low * deviation)


def paired_p_value(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of the paired t test that the mean of the differences is zero.

    The exact sign-flip test would assume less, but has nothing to say here: with five seeds its smallest p-value is
    2 / 2^5 = 0.06, and a correction for a dozen comparisons asks for 0.004, which it reaches with nine seeds. A score
    is an average over thousands of queries, so differences between seeds are near normal. Where they are not, but
    symmetric, the t test at 5% with five seeds errs 3.4% (Laplace) to 6.4% (uniform) of the time, by simulation.

    Returns:
        the p-value; 1 if all differences are zero, NaN for fewer than two or where one is NaN.

    Example:
        >>> round(paired_p_value([0.1, 0.2, 0.3]), 4)
        0.0742
    """
    sample = np.asarray(differences, dtype=np.float64)
    if len(sample) < 2 or np.isnan(sample).any():
        return float("nan")
    if np.ptp(sample) == 0:
        return 1.0 if sample[0] == 0 else 0.0
    return float(stats.ttest_1samp(sample, 0.0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    r"""Adjust p-values so that those below :math:`\alpha` contain a false one with probability at most :math:`\alpha`.

    .. math::
        \tilde p_{(i)} = \max_{j \le i} \min\left(1, (m - j + 1)\, p_{(j)}\right)

    for the sorted values :math:`p_{(1)} \le \dots \le p_{(m)}`, whatever the dependence between the tests. A NaN stands
    for a test that could not be made: it is not counted in :math:`m` and stays NaN.

    Reference:
        Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted = np.asarray(p_values, dtype=np.float64).copy()
    order = np.argsort(adjusted)[: int((~np.isnan(adjusted)).sum())]  # NaN sorts last
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, factors * adjusted[order]))
    return adjusted.tolist()
