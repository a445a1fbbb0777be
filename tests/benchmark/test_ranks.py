import math

import numpy as np
import pytest
from scipy import stats

from pml_proxyext.benchmark.ranks import average_ranks
from pml_proxyext.benchmark.summaries import summarise


def record(recipe, seed, score, **more):
    common = {"data": "glyphs", "split": "test", "steps": 400, "title": recipe.title()}
    return {"recipe": recipe, "seed": seed, "metrics": {"mean_average_precision_at_r": score}, **common, **more}


def block(seed, *scores, **more):
    return [record(name, seed, score, **more) for name, score in zip("abcde", scores, strict=False)]


def rank(*records):
    return average_ranks(summarise(records))


def shown(ranking):
    return {method.name: method.rank for method in ranking.methods}


def test_ranks_are_averaged_over_seeds_and_data():
    ranking = rank(*block(0, 0.9, 0.8, 0.7), *block(1, 0.7, 0.8, 0.6), *block(0, 0.1, 0.3, 0.2, data="emoji"))
    assert shown(ranking) == pytest.approx({"B": 4 / 3, "A": 2, "C": 8 / 3})
    assert [method.name for method in ranking.methods] == ["B", "A", "C"]
    assert (ranking.blocks, ranking.data) == (3, ["emoji", "glyphs"])


def test_equal_scores_share_a_rank_and_diverged_runs_are_last():
    assert shown(rank(*block(0, 0.5, 0.5, 0.4))) == {"A": 1.5, "B": 1.5, "C": 3}
    assert shown(rank(*block(0, math.nan, 0.5, 0.4, math.nan))) == {"B": 1, "C": 2, "A": 3.5, "D": 3.5}


def test_only_blocks_with_all_methods_count():
    ranking = rank(*block(0, 0.9, 0.8), *block(1, 0.1, 0.2), *block(2, 0.5))
    assert ranking.blocks == 2
    assert shown(ranking) == {"A": 1.5, "B": 1.5}


def test_a_method_without_one_of_the_data_sets_is_left_out():
    ranking = rank(*block(0, 0.9, 0.8, 0.7), *block(0, 0.1, 0.3, data="emoji"))
    assert set(shown(ranking)) == {"A", "B"}
    assert ranking.blocks == 2


def test_untrained_lines_have_no_rank():
    assert set(shown(rank(*block(0, 0.9, 0.8), record("untrained", 0, 0.4, steps=0)))) == {"A", "B"}


def test_environments_are_blocks_of_their_own():
    environments = [{"environment": {"torch": version}} for version in ("2.13.0", "2.14.0")]
    lines = [*block(0, 0.9, 0.8, **environments[0]), *block(0, 0.1, 0.2, **environments[1])]
    ranking = rank(*lines)
    assert ranking.blocks == 2
    assert shown(ranking) == {"A": 1.5, "B": 1.5}
    assert rank(lines[0], lines[3]) is None  # never one beside the other


def test_a_method_is_the_same_on_all_data_whatever_its_settings_there():
    lines = [record("a", 0, 0.9, overrides={"lr": 1}), record("b", 0, 0.8)]
    lines += [record("a", 0, 0.2, data="emoji", overrides={"lr": 2}), record("b", 0, 0.3, data="emoji")]
    assert shown(rank(*lines)) == {"A": 1.5, "B": 1.5}


def test_variants_on_one_data_set_stand_apart():
    lines = [record("a", 0, 0.9, overrides={"lr": 1}), record("a", 0, 0.8), record("a", 0, 0.7, steps=100)]
    assert shown(rank(*lines)) == {"A (lr=1)": 1, "A, 400 steps": 2, "A, 100 steps": 3}


def test_friedman_of_a_textbook_example():
    # by hand, without ties: 12 / (n k (k + 1)) * sum of squared rank sums - 3 n (k + 1)
    scores = [[0.9, 0.8, 0.7], [0.9, 0.7, 0.8], [0.9, 0.8, 0.7], [0.8, 0.9, 0.7]]
    ranking = rank(*(line for seed, row in enumerate(scores) for line in block(seed, *row)))
    statistic = 12 / (4 * 3 * 4) * (5**2 + 8**2 + 11**2) - 3 * 4 * 4
    assert ranking.p_value == pytest.approx(stats.chi2.sf(statistic, 2))


@pytest.mark.parametrize("lines", [[*block(0, 0.9, 0.8), *block(1, 0.9, 0.8)], block(0, 0.9, 0.8, 0.7)])
def test_friedman_needs_three_methods_and_two_blocks(lines):
    assert math.isnan(rank(*lines).p_value)


@pytest.mark.parametrize("lines", [[], block(0, 0.9), [record("a", 0, 0.9), record("b", 1, 0.8)]])
def test_nothing_to_rank_is_none(lines):
    assert rank(*lines) is None


def test_intervals_hold_the_rank_and_stay_within_the_ranks_there_were():
    generator = np.random.default_rng(0)
    scores = generator.normal([3, 1, 1, 0], 1, (8, 4))
    ranking = rank(*(line for seed, row in enumerate(scores.tolist()) for line in block(seed, *row)))
    ranks = dict(zip("ABCD", stats.rankdata(-scores, axis=1).T, strict=True))
    for method in ranking.methods:
        assert method.rank == pytest.approx(ranks[method.name].mean())
        assert ranks[method.name].min() <= method.low < method.rank < method.high <= ranks[method.name].max()


def test_intervals_of_two_methods_are_binomial():
    # with two methods a rank is 1 or 2, so the resampled mean is known: a binomial of 12 with 4 / 12
    wins = [True] * 8 + [False] * 4
    ranking = rank(
        *(line for seed, win in enumerate(wins) for line in block(seed, 0.5 + 0.1 * win, 0.5 + 0.1 * (not win)))
    )
    tail = stats.norm.cdf(math.sqrt(12 / 11) * stats.t.ppf(0.025, 11))
    first, second = ranking.methods
    assert first.rank == pytest.approx(1 + 4 / 12)
    assert first.low == pytest.approx(1 + stats.binom.ppf(tail, 12, 4 / 12) / 12)
    assert first.high == pytest.approx(1 + stats.binom.ppf(1 - tail, 12, 4 / 12) / 12)
    assert (second.low, second.high) == pytest.approx((3 - first.high, 3 - first.low))


def test_one_block_claims_no_interval():
    assert all(math.isnan(method.low) and math.isnan(method.high) for method in rank(*block(0, 0.9, 0.8)).methods)
