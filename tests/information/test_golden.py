"""All estimators against numbers computed independently of torch: values, rows and gradients of 16 cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pml_proxyext.information import (
    CLUB,
    JS,
    NWJ,
    SMILE,
    TUBA,
    Chain,
    CNCEBoosted,
    CNCEImportance,
    CNCEVariational,
    DonskerVaradhan,
    InfoNCE,
    Interpolated,
    L1Out,
    MutualInformationEstimator,
    RowDonskerVaradhan,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "demi_bounds.json").read_text())
CASES = {case["name"]: case for case in GOLDEN["cases"]}
SQUARES = [name for name in CASES if name.startswith("K")]
# Besides relative errors, rounding errors of differences between scores of up to 200.
TOLERANCE = {"rtol": 1e-9, "atol": 1e-12}
GRADIENT_TOLERANCE = {"rtol": 1e-8, "atol": 1e-12}


def tensor(numbers: Any) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


ROWS: dict[str, Callable[[dict[str, Any]], tuple[MutualInformationEstimator, tuple[Any, ...]]]] = {
    "infonce": lambda given: (InfoNCE(), (given["scores"],)),
    "infonce_symmetric": lambda given: (InfoNCE(symmetric=True), (given["scores"],)),
    "row_dv": lambda given: (RowDonskerVaradhan(), (given["scores"],)),
    "leave_one_out_upper": lambda given: (L1Out(), (given["scores"],)),
    "dv": lambda given: (DonskerVaradhan(), (given["scores"],)),
    "nwj": lambda given: (NWJ(), (given["scores"],)),
    "tuba": lambda given: (TUBA(), (given["scores"], given["log_baseline"])),
    "js_plugin_nwj": lambda given: (JS(), (given["scores"],)),
    "smile": lambda given: (SMILE(given["tau"]), (given["scores"],)),
    "club": lambda given: (CLUB.as_released(), (given["scores"],)),
    "club_no_diag": lambda given: (CLUB(), (given["scores"],)),
    "interpolated": lambda given: (Interpolated(given["alpha"]), (given["scores"], given["log_q"])),
    "cnce_is": lambda given: (CNCEImportance(), (given["psi"], given["phi"])),
    "cnce_bo_total": lambda given: (CNCEBoosted(), (given["psi"], given["phi"])),
    "demi_is_sum": lambda given: (Chain(CNCEImportance()), ([given["psi"], given["phi"]],)),
}
VALUES: dict[str, Callable[[dict[str, Any]], Tensor]] = {
    "js": lambda given: -JS().loss(given["scores"]),
    "cnce_bo_increment": lambda given: CNCEBoosted().increment(given["psi"], given["phi"]).mean(),
}
LEAVES = {
    "grad_scores": "scores",
    "grad_scores_of_value": "scores",
    "grad_phi": "phi",
    "grad_psi_if_not_detached": "psi",
    "grad_log_baseline": "log_baseline",
}


def value_of(name: str, given: dict[str, Any]) -> Tensor:
    if name in VALUES:
        return VALUES[name](given)
    estimator, arguments = ROWS[name](given)
    return estimator(*arguments)


def given_in(case: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of a square case, each tensor a leaf."""
    numbers = {"scores": case["scores"], "psi": case["psi"], "phi": case["scores"], **case["params"]}
    return {
        name: tensor(value).requires_grad_() if isinstance(value, list) else value for name, value in numbers.items()
    }


SQUARE_VALUES = [(case, name) for case in SQUARES for name in CASES[case]["expected"]]


def test_the_fixture_is_used_as_a_whole():
    assert len(CASES) == 16
    assert {name for _, name in SQUARE_VALUES} == ROWS.keys() | VALUES.keys()
    fields = {field for case, name in SQUARE_VALUES for field in CASES[case]["expected"][name]}
    assert fields == {"value", "per_row", "uncapped_per_row"} | LEAVES.keys()


@pytest.mark.parametrize(("case", "name"), SQUARE_VALUES)
def test_values_rows_and_gradients(case, name):
    given, expected = given_in(CASES[case]), CASES[case]["expected"][name]
    value = value_of(name, given)
    torch.testing.assert_close(value, tensor(expected["value"]), **TOLERANCE)
    if "per_row" in expected:
        estimator, arguments = ROWS[name](given)
        torch.testing.assert_close(estimator.per_row(*arguments), tensor(expected["per_row"]), **TOLERANCE)
    if "uncapped_per_row" in expected:
        uncapped = CNCEImportance().uncapped(given["psi"], given["phi"])
        torch.testing.assert_close(uncapped, tensor(expected["uncapped_per_row"]), **TOLERANCE)
    for field, leaf in LEAVES.items():
        if field in expected:
            (grad,) = torch.autograd.grad(value, given[leaf], retain_graph=True)
            torch.testing.assert_close(grad, tensor(expected[field]), **GRADIENT_TOLERANCE)


@pytest.mark.parametrize(("case", "name"), [(case, name) for case, name in SQUARE_VALUES if "extreme" not in case])
def test_values_in_float32(case, name):
    given = {
        key: value.detach().float() if isinstance(value, Tensor) else value
        for key, value in given_in(CASES[case]).items()
    }
    value = value_of(name, given)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), tensor(CASES[case]["expected"][name]["value"]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("queue")])
def test_explicit_negatives(case):
    numbers, expected = CASES[case], CASES[case]["expected"]
    psi = tensor(numbers["psi_pos"]), tensor(numbers["psi_neg"])
    phi = tensor(numbers["phi_pos"]), tensor(numbers["phi_neg"])
    found = {
        "infonce_psi": (InfoNCE(), (psi,)),
        "cnce_is": (CNCEImportance(), (psi, phi)),
        "cnce_bo_total": (CNCEBoosted(), (psi, phi)),
    }
    assert found.keys() == expected.keys()
    for name, (estimator, arguments) in found.items():
        torch.testing.assert_close(estimator(*arguments), tensor(expected[name]["value"]), **TOLERANCE)
        torch.testing.assert_close(estimator.per_row(*arguments), tensor(expected[name]["per_row"]), **TOLERANCE)


def test_negatives_of_a_model():
    case = CASES["variational"]
    scores = tensor(case["phi_pos"]), tensor(case["phi_neg_from_q"])
    rows = CNCEVariational().per_row(scores, tensor(case["kl_per_row"]))
    torch.testing.assert_close(rows, tensor(case["expected"]["cnce_var"]["per_row"]), **TOLERANCE)
    torch.testing.assert_close(rows.mean(), tensor(case["expected"]["cnce_var"]["value"]), **TOLERANCE)


def test_a_chain_of_three():
    case = CASES["chain3_is"]
    scores, expected = list(tensor(case["stage_scores"])), case["expected"]
    chain = Chain(CNCEImportance(), num_stages=3)
    torch.testing.assert_close(chain.per_stage(scores).mean(1), tensor(expected["stage_values"]), **TOLERANCE)
    torch.testing.assert_close(chain(scores), tensor(expected["sum"]), **TOLERANCE)
    uncapped = [
        RowDonskerVaradhan().per_row(scores[0]),
        CNCEImportance().uncapped(scores[0], scores[1]),
        CNCEImportance().uncapped(scores[0] + scores[1], scores[2]),
    ]
    torch.testing.assert_close(sum(uncapped), tensor(expected["uncapped_sum_per_row"]), **TOLERANCE)
    total = RowDonskerVaradhan().per_row(sum(scores))
    torch.testing.assert_close(total, tensor(expected["row_dv_of_total_per_row"]), **TOLERANCE)
