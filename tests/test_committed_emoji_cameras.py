"""What the page of Cross-GAN shows of emoji across two vendors is rendered from committed result files."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import numpy as np

from pml_proxyext.benchmark.summaries import Estimate
from pml_proxyext.benchmark.two_views.cameras import CURVE_RANKS
from tests.committed import assert_complete, assert_page_shows, assert_tables_are_rendered, load_example, records

SCRIPT = load_example("emoji_cameras")
RECORDS = records("emoji_cameras")
CHANCE = 1 / 695


def rank_1(recipe: str) -> list[float]:
    return SCRIPT.values(RECORDS, recipe, "recall_at_1")


def added(with_it: str, without: str) -> Estimate:
    """Return what a term adds to rank-1, seed by seed."""
    return Estimate.of([one - other for one, other in zip(rank_1(with_it), rank_1(without), strict=True)])


def test_the_page_shows_every_table_once_and_the_figure() -> None:
    assert_page_shows("crossgan.md", [SCRIPT.EXPERIMENT], ["emoji_cameras"])


def test_tables_are_rendered_from_complete_committed_files(tmp_path: Path) -> None:
    assert_tables_are_rendered("crossgan.md", SCRIPT.EXPERIMENT, tmp_path)
    assert_complete(SCRIPT.EXPERIMENT)
    assert {(record["split"], record["data"], record["pairs"]) for record in RECORDS} == {
        ("test", "emoji_cameras", 695)
    }
    for recipe in SCRIPT.METHODS:
        assert {record["seed"] for record in RECORDS if record["recipe"] == recipe} == set(range(5))


def test_scores_are_shares_and_curves_rise() -> None:
    for record in RECORDS:
        curve, scores = record["curve"], record["metrics"]
        assert len(curve) == len(CURVE_RANKS)
        assert 0 <= curve[0] <= curve[-1] <= 1
        assert curve == sorted(curve)
        for rank in (1, 5, 10):
            assert scores[f"recall_at_{rank}"] == curve[CURVE_RANKS.index(rank)]
        assert np.isfinite(list(scores.values())).all()


def test_alignment_is_20_times_chance_and_10_times_the_autoencoders_alone() -> None:
    unaligned = mean(rank_1("unaligned"))
    for recipe in ("aligned", "crossing"):
        assert min(rank_1(recipe)) >= 20 * CHANCE
        assert mean(rank_1(recipe)) >= 10 * unaligned
    assert unaligned <= 3 * CHANCE


def test_latents_have_not_collapsed() -> None:
    for recipe in SCRIPT.METHODS:
        assert min(SCRIPT.values(RECORDS, recipe, "effective_rank")) > 3
        assert min(SCRIPT.values(RECORDS, recipe, "trace")) > 0.5


def test_no_adversarial_reading_adds_to_rank_1_and_mapping_takes_from_it() -> None:
    """What the page says of five seeds; nothing asks that the term should help or harm."""
    mapped = added("adversarial", "aligned")
    assert mapped.mean + mapped.half_width < 0
    for with_it, without in (("crossing_adversarial", "crossing"), ("shuffled", "aligned"), ("prior", "aligned")):
        difference = added(with_it, without)
        assert abs(difference.mean) < difference.half_width
        assert difference.mean < 0


def test_crossing_makes_no_difference_to_retrieval_and_spreads_latents() -> None:
    for metric in SCRIPT.METRICS:
        pairs = zip(*(SCRIPT.values(RECORDS, recipe, metric) for recipe in ("crossing", "aligned")), strict=True)
        difference = Estimate.of([one - other for one, other in pairs])
        assert abs(difference.mean) < difference.half_width
    ranks = [SCRIPT.values(RECORDS, recipe, "effective_rank") for recipe in ("crossing", "aligned")]
    assert min(ranks[0]) > max(ranks[1])


def test_descriptors_are_ahead_of_everything_learnt() -> None:
    best = max(max(rank_1(recipe)) for recipe in SCRIPT.METHODS)
    assert best < rank_1("raw")[0] < rank_1("pixels")[0] < rank_1("hog")[0]
    assert best < rank_1("cca")[0]
