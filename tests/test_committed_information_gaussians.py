"""What the page on known information shows is rendered from committed result files, which agree with stored tables."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from pml_proxyext.benchmark.gaussian_information import REFERENCES
from tests import committed

PAGE = "information_gaussians.md"
STORED = json.loads((Path(__file__).parent / "golden" / "demi_expected_table.json").read_text())

#: From our names to those of the stored tables.
ORACLE_NAMES = {
    "infonce_direct": "NCE_full",
    "infonce_sub": "NCE_sub",
    "cnce": "CNCE_true",
    "cnce_importance": "IS",
    "ess": "ESS",
    "club_conditional": "CLUBcond",
    "log_ratio": "MC",
    "sum_conditional": "NCE+CNCE",
    "sum_importance": "NCE+IS",
}
LEARNED_NAMES = {
    "infonce_direct": "direct",
    "infonce_sub": "nce_sub",
    "boosted_total": "BO_total",
    "importance_boosted": "IS|phi_BO",
    "importance_importance": "IS|phi_IS",
    "sum_boosted": "DEMI_BO",
    "sum_importance": "DEMI_IS",
}
#: Means and standard errors of an independent run in numpy, by (information, candidates): (2, 16), (2, 64), (4, 16) and
#: (4, 64). None: not run, or no standard error recorded.
REFERENCE_VALUES: dict[str, list[tuple[float, float | None] | None]] = {
    "InfoNCE": [(1.573, 0.005), (1.853, 0.006), (2.366, 0.004), (3.142, 0.006)],
    "NWJ, scores + 1 (JS)": [(1.992, 0.010), (2.009, 0.008), (4.028, 0.022), (4.003, 0.020)],
    "DV, minibatch": [(2.040, 0.009), (2.013, 0.008), (4.326, 0.018), (4.055, 0.015)],
    "DV by rows": [(2.549, 0.011), (2.176, 0.008), (6.104, 0.020), (4.897, 0.014)],
    "SMILE, tau 1": [(2.344, None), (2.350, None), (4.701, None), (4.679, None)],
    "SMILE, tau 5": [(2.046, None), (2.027, None), (4.398, None), (4.228, None)],
    "Interpolated, alpha 0.5, baseline 1": [(1.839, 0.007), None, (3.127, 0.007), None],
    "L1Out": [(2.548, 0.011), (2.178, 0.008), (6.107, 0.020), (4.893, 0.015)],
    "CLUB": [(6.851, 0.026), (6.894, 0.024), (13.794, 0.037), (13.727, 0.036)],
}


EXPERIMENT = committed.load_example("information_on_gaussians").EXPERIMENT


def records(*recipes: str) -> list[dict[str, Any]]:
    return [record for record in committed.records(EXPERIMENT.name) if record["recipe"] in recipes]


def oracle() -> dict[tuple[int, int], dict[str, float]]:
    return {(record["total"], record["candidates"]): record["metrics"] for record in records("oracle")}


def learned() -> dict[tuple[str, int, int], dict[str, float]]:
    """Return means over seeds."""
    runs: dict[tuple[str, int, int], list[dict[str, float]]] = {}
    for record in records("quad", "mlp"):
        runs.setdefault((record["recipe"], record["total"], record["candidates"]), []).append(record["metrics"])
    return {cell: {name: mean(run[name] for run in found) for name in found[0]} for cell, found in runs.items()}


def test_the_page_shows_every_table_once_and_the_figure() -> None:
    committed.assert_page_shows(PAGE, [EXPERIMENT], [EXPERIMENT.name])


def test_tables_are_rendered_from_the_committed_file(tmp_path: Path) -> None:
    committed.assert_tables_are_rendered(PAGE, EXPERIMENT, tmp_path)


def test_every_run_is_there_once_from_one_environment_and_one_commit_within_five_minutes() -> None:
    committed.assert_complete(EXPERIMENT)
    assert sum(record["cpu_seconds"] for record in committed.records(EXPERIMENT.name)) < 300  # of one thread


def test_estimates_with_the_best_critics_are_those_of_the_stored_table() -> None:
    found = oracle()
    assert {f"{total},{candidates}" for total, candidates in found} == set(STORED["oracle"])
    for (total, candidates), metrics in found.items():
        for name, stored_name in ORACLE_NAMES.items():
            expected, error = STORED["oracle"][f"{total},{candidates}"][stored_name]
            tolerance = 4 * math.hypot(error, metrics[f"{name}_se"]) + 0.005
            assert metrics[name] == pytest.approx(expected, abs=tolerance), (total, candidates, name)


def test_estimates_with_learned_critics_are_those_of_the_stored_table() -> None:
    found = learned()
    assert {",".join(map(str, cell)) for cell in found} == set(STORED["learned"]["values"])
    for cell, metrics in found.items():
        stored = STORED["learned"]["values"][",".join(map(str, cell))]
        for name, stored_name in LEARNED_NAMES.items():
            tolerance = 0.05 if cell[0] == "quad" else 0.15
            assert metrics[name] == pytest.approx(stored[stored_name][0], abs=tolerance), (cell, name)


def test_other_estimators_come_to_what_they_came_to_elsewhere() -> None:
    found = {(record["total"], record["candidates"]): record["metrics"] for record in records("references")}
    assert list(found) == [(2, 16), (2, 64), (4, 16), (4, 64)]
    assert set(REFERENCE_VALUES) == set(REFERENCES)
    for title, values in REFERENCE_VALUES.items():
        for value, metrics in zip(values, found.values(), strict=True):
            if value is not None:
                error = metrics[f"{title}_se"]
                tolerance = 4 * math.hypot(error, error if value[1] is None else value[1]) + 0.005
                assert metrics[title] == pytest.approx(value[0], abs=tolerance), title


def test_bounds_with_the_best_critics_stay_below_the_truth_and_their_ceilings() -> None:
    for (total, candidates), metrics in oracle().items():
        cap = math.log(candidates)
        for name, truth, ceiling in (
            ("infonce_direct", total, cap),
            ("infonce_sub", total / 2, cap),
            ("cnce", total / 2, cap),
            ("sum_conditional", total, 2 * cap),
        ):
            assert metrics[name] <= truth + 1e-6, (total, candidates, name)
            assert metrics[name] <= ceiling + 1e-5, (total, candidates, name)
        assert metrics["sum_conditional"] >= metrics["infonce_direct"]


def test_importance_weights_exceed_the_truth_where_the_page_says_so() -> None:
    """The reading of the first table."""
    found = oracle()

    def above(name: str, share: float, by: float) -> list[tuple[int, int]]:
        return [cell for cell, metrics in found.items() if metrics[name] - share * cell[0] > by * metrics[f"{name}_se"]]

    assert above("sum_importance", 1.0, by=5.0) == [(5, 256), (5, 1024), (10, 4096)]
    assert above("sum_importance", 1.0, by=2.0) == [(5, 256), (5, 1024), (5, 4096), (10, 1024), (10, 4096)]
    assert above("cnce_importance", 0.5, by=4.0) == [
        *((5, candidates) for candidates in (64, 128, 256, 1024, 4096)),
        (10, 1024),
        (10, 4096),
        (15, 4096),
    ]


def test_donsker_varadhan_and_smile_are_no_bounds() -> None:
    """By five standard errors, with the best critic; that is why the page calls them estimates."""
    found = {(record["total"], record["candidates"]): record["metrics"] for record in records("references")}
    metrics = found[4, 16]
    for title in ("DV, minibatch", "DV by rows", "SMILE, tau 1", "SMILE, tau 5"):
        assert not REFERENCES[title][0].is_lower_bound
        assert not REFERENCES[title][0].is_upper_bound
        assert metrics[title] - 4 > 5 * metrics[f"{title}_se"], title


def test_learned_bounds_stay_below_those_of_the_best_critics() -> None:
    """Up to the errors of both means, about 0.01 each."""
    best = oracle()
    for (kind, total, candidates), metrics in learned().items():
        stored = best[total, candidates]
        for name, of_best in (
            ("infonce_direct", "infonce_direct"),
            ("boosted_total", "infonce_direct"),
            ("infonce_sub", "infonce_sub"),
        ):
            assert metrics[name] <= stored[of_best] + 0.04, (kind, total, candidates, name)
            assert kind == "mlp" or metrics[name] >= stored[of_best] - 0.1, (kind, total, candidates, name)


def test_training_on_the_importance_weighted_estimate_drives_it_up() -> None:
    found = learned()
    assert all(metrics["sum_importance"] > metrics["sum_boosted"] for metrics in found.values())
    raised = found["quad", 5, 128]["sum_importance"]
    assert raised - oracle()[5, 128]["sum_importance"] > 0.25
    assert raised - 5 > 0.2
