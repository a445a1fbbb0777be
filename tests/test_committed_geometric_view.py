"""What the page of the geometric view, measured, shows is rendered from committed files, and says what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pml_proxyext.benchmark.experiments import Experiment
from tests.committed import assert_complete, assert_page_shows, assert_tables_are_rendered, load_example, records

ENCODERS, AUTOENCODER, REGULARIZER = map(
    load_example, ("encoder_complexity", "transport_autoencoder", "transport_regularizer")
)
EXPERIMENTS: list[Experiment] = [
    ENCODERS.EXPERIMENT,
    AUTOENCODER.EXPERIMENT,
    REGULARIZER.SEARCH,
    REGULARIZER.EXPERIMENT,
]
PAGE = "geometric_view_measured.md"


def test_the_page_shows_every_table_once_and_the_figures() -> None:
    assert_page_shows(PAGE, EXPERIMENTS, [experiment.name for experiment in EXPERIMENTS])


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_tables_are_rendered_from_complete_committed_files(experiment: Experiment, tmp_path: Path) -> None:
    assert_tables_are_rendered(PAGE, experiment, tmp_path)
    assert_complete(experiment)
    for record in records(experiment.name):
        assert all(np.isfinite(value) for value in record["metrics"].values())


def test_the_regularizer_had_the_trials_of_the_loss_alone_and_tests_use_the_best() -> None:
    searched, tested = records("search_transport_regularizer"), records("transport_regularizer")
    assert {record["split"] for record in searched} == {"validation"}
    assert {record["split"] for record in tested} == {"test"}
    chosen = REGULARIZER.best_settings(searched)
    for name in REGULARIZER.SEARCHED_METHODS:
        tried = [record["overrides"] for record in searched if record["recipe"] == name]
        assert tried == REGULARIZER.trials(name, 6)
        assert all(record["tuned"] == chosen[name] for record in tested if record["recipe"] == name)
    for base in REGULARIZER.BASES:
        with_weight = REGULARIZER.trials(base + REGULARIZER.SUFFIX, 6)
        weights = [trial.pop("embedding_reg_weight") for trial in with_weight]
        assert with_weight == REGULARIZER.trials(base, 6)
        assert weights[0] == 0.1
        assert all(0.01 <= weight <= 3 for weight in weights)


def test_the_gain_of_triplets_stays_when_the_regularizer_is_taken_off() -> None:
    found = {d.method.recipe: d for d in REGULARIZER.differences(records("transport_regularizer"))}
    assert set(found) == {"supcon_transport", "triplet_transport", "triplet_without"}
    assert found["triplet_transport"].base.recipe == "triplet"
    assert found["triplet_transport"].gain.low > 0.015
    assert found["triplet_transport"].adjusted_p < 0.01
    assert found["triplet_without"].base.recipe == "triplet_transport"
    for name in ("supcon_transport", "triplet_without"):
        assert found[name].gain.low < 0 < found[name].gain.high < 0.008
        assert abs(found[name].gain.mean) < 0.001
    kept = {record["recipe"]: record["tuned"] for record in records("transport_regularizer")}
    assert kept["triplet_without"] | {"embedding_reg_weight": 0.106} == kept["triplet_transport"]
    alone = [r for r in records("search_transport_regularizer") if r["recipe"] == "triplet"]
    ranked = sorted(alone, key=lambda record: -record["metrics"][REGULARIZER.SCORE])
    assert ranked[1]["overrides"] == kept["triplet_without"]
    assert ranked[0]["metrics"][REGULARIZER.SCORE] - ranked[1]["metrics"][REGULARIZER.SCORE] < 0.005


def test_supcon_spreads_by_itself() -> None:
    costs = [r["metrics"]["transport_cost"] for r in records("transport_regularizer") if r["recipe"] == "supcon"]
    assert 1.42 < min(costs) < max(costs) < 1.47


def test_two_trials_of_six_gain_and_none_with_a_large_weight() -> None:
    for base in REGULARIZER.BASES:
        gains = REGULARIZER.gains_by_weight(records("search_transport_regularizer"), base)
        assert sum(gain > 0 for _, gain in gains) == 2
        assert [gain < 0 for weight, gain in gains if weight >= 0.5] == [True, True]
    assert gains[0][1] == max(gain for _, gain in gains) > 0.02


def encoders(metric: str, recipe: str, lr: float = ENCODERS.RATE) -> np.ndarray:
    """Return a metric of the encoders of a loss, for each seed."""
    return np.array(ENCODERS.values(records("encoder_complexity"), metric, recipe=recipe, lr=lr))


def breaks(kind: str, recipe: str, lr: float = ENCODERS.RATE) -> np.ndarray:
    return encoders(f"breaks_per_length_{kind}", recipe, lr)


def test_losses_differ_in_pieces_and_proxies_make_more_than_there_were() -> None:
    means = {name: breaks("different", name).mean() for name in ("untrained", *ENCODERS.LOSSES)}
    assert max(means.values()) > 2 * min(means.values())
    assert min(means, key=means.__getitem__) == "triplet"
    for name in ("normalized_softmax", "proxy_anchor", "nir_proxy_anchor"):
        assert (breaks("different", name) > breaks("different", "untrained")).all()
        assert means[name] > max(means[other] for other in ("supcon", "contrastive", "el_nivmf"))


def test_training_leaves_fewer_pieces_within_unseen_classes() -> None:
    for name in ENCODERS.LOSSES:
        for rate in ENCODERS.RATES:
            assert (breaks("same", name, rate) < breaks("different", name, rate)).all()
        assert (breaks("same", name) < 0.8 * breaks("different", name)).all()
    assert (breaks("same", "untrained") > 0.9 * breaks("different", "untrained")).all()


def test_retrieval_goes_with_pieces_across_losses_but_not_within_them() -> None:
    for rate in (*ENCODERS.RATES, None):
        for kind in ENCODERS.KINDS:
            assert 0.7 < np.mean(ENCODERS.correlations(records("encoder_complexity"), rate, kind)) < 0.9
    low, high = ENCODERS.RATES
    score = ENCODERS.SCORE
    for name in set(ENCODERS.LOSSES) - {"el_nivmf"}:
        assert breaks("different", name, high).mean() < breaks("different", name, low).mean()
        gain = encoders(score, name, high) - encoders(score, name, low)
        assert (
            (gain > 0).all() if name in ("normalized_softmax", "proxy_anchor", "nir_proxy_anchor") else (gain < 0).all()
        )
    assert breaks("different", "untrained").mean() > breaks("different", "supcon").mean()
    assert (encoders(score, "untrained") < 0.7 * encoders(score, "supcon")).all()


def test_saturation_is_the_share_of_different_images() -> None:
    for record in records("encoder_complexity"):
        assert abs(record["metrics"]["saturation"] - record["metrics"]["different_images"]) < 0.005


def made(dim: int, kind: str, metric: str) -> np.ndarray:
    """Return a metric of one way to draw latents, for each seed."""
    return np.array(AUTOENCODER.values(records("transport_autoencoder"), dim, kind, metric))


def test_transport_mixes_less_than_a_normal_law_and_midpoints_more_in_every_run() -> None:
    for dim in AUTOENCODER.DIMS:
        assert (made(dim, "midpoints", "mixed") > made(dim, "normal", "mixed")).all()
        assert (made(dim, "map_1", "mixed") < 0.7 * made(dim, "normal", "mixed")).all()
        assert made(dim, "map_1", "mixed").mean() < 0.52 * made(dim, "normal", "mixed").mean()
    normal = [made(dim, "normal", "mixed").mean() for dim in AUTOENCODER.DIMS]
    assert 0.17 < normal[0] < normal[1] < normal[2] < 0.35


def test_dropping_a_tenth_removes_mixtures_above_two_dimensions_alone() -> None:
    for dim, factor in ((4, 0.41), (8, 0.17)):
        fewer, every = made(dim, "map_0.9", "mixed"), made(dim, "map_1", "mixed")
        assert (fewer < every).all()
        assert fewer.mean() < factor * every.mean()
        assert fewer.mean() < 0.05
        assert made(dim, "map_1", "coverage").mean() - made(dim, "map_0.9", "coverage").mean() < 0.01
        assert made(dim, "map_0.9", "imbalance").mean() - made(dim, "map_1", "imbalance").mean() < 0.01
    assert made(2, "map_0.9", "mixed").mean() > 0.8 * made(2, "map_1", "mixed").mean()
    assert made(2, "test", "mixed").mean() > 0.08


def test_dropping_half_makes_classes_uneven_and_covers_less() -> None:
    for dim in (4, 8):
        assert (made(dim, "map_0.5", "imbalance") > 1.5 * made(dim, "map_0.9", "imbalance")).all()
        assert (made(dim, "map_0.5", "coverage") < made(dim, "map_0.9", "coverage") - 0.02).all()


def test_smaller_angles_bring_images_nearer_to_those_trained_on() -> None:
    names = [f"map_{share:g}" for share in AUTOENCODER.SHARES]
    for dim in (4, 8):
        nearest = [made(dim, name, "nearest").mean() for name in names]
        assert nearest == sorted(nearest, reverse=True)
    way = made(8, "map_1", "nearest") - made(8, "atoms", "nearest")
    assert (made(8, "map_1", "nearest") - made(8, "map_0.9", "nearest") > 0.6 * way).all()
    assert made(8, "atoms", "mixed").mean() < 0.05
    assert made(8, "atoms", "coverage").mean() > 0.97


def test_the_rule_of_three_sigmas_fails_in_eight_dimensions_and_in_two() -> None:
    assert made(8, "test", "outside").min() > 0.3
    assert made(2, "midpoints", "outside").max() == 0
