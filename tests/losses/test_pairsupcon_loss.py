from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.reducers import DoNothingReducer
from torch import Tensor

from pml_proxyext.losses import HardNegNTXentLoss, PairSupConLoss
from pml_proxyext.utils import pair_labels

CASES = json.loads((Path(__file__).parents[1] / "golden" / "pairsupcon.json").read_text())["cases"]
INSTANCE = [case for case in CASES if case["kind"] == "instdisc"]
FULL = [case for case in CASES if case["kind"] == "full"]
SIDES = ("emb1", "emb2")


def tensor(rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def leaves_of(case: dict[str, Any]) -> list[Tensor]:
    return [tensor(case[side]).requires_grad_() for side in SIDES]


def require_golden(value: Tensor, leaves: dict[str, Tensor], expected: dict[str, Any]) -> None:
    torch.testing.assert_close(value, tensor(expected["loss"]), rtol=1e-9, atol=1e-12)
    for (name, leaf), gradient in zip(
        leaves.items(), torch.autograd.grad(value, list(leaves.values()), allow_unused=True), strict=True
    ):
        if expected[f"grad_{name}"] is None:
            assert gradient is None or (gradient == 0).all()
        else:
            expected_gradient = tensor(expected[f"grad_{name}"])
            torch.testing.assert_close(gradient, expected_gradient, rtol=1e-8, atol=1e-11, msg=lambda m: f"{leaf}: {m}")


def instance_cases() -> list[Any]:
    cases = []
    for case in INSTANCE:
        cases.append(pytest.param(case, case, False, id=case["name"]))
        if case["detached_weights_variant"] is not None:
            cases.append(pytest.param(case, case["detached_weights_variant"], True, id=f"{case['name']}-detached"))
    return cases


@pytest.mark.parametrize(("case", "expected", "detach_weights"), instance_cases())
@pytest.mark.parametrize("which", ["PairSupConLoss", "HardNegNTXentLoss"])
def test_contrast_matches_the_release_and_its_detached_form(case, expected, detach_weights, which):
    leaves, y = leaves_of(case), torch.tensor(case["pair_labels"])
    hyper = {
        "temperature": case["hyper"]["temperature"],
        "concentration": {"HardNeg": 1.0, "Orig": 0.0}[case["hyper"]["contrast_type"]],
        "detach_weights": detach_weights,
    }
    if not case["hyper"]["normalize_inputs"]:
        hyper["distance"] = DotProductSimilarity(normalize_embeddings=False)
    if which == "HardNegNTXentLoss":
        value = HardNegNTXentLoss(**hyper)(torch.cat(leaves), pair_labels(y))
    else:
        loss = PairSupConLoss(leaves[0].shape[1], projection=False, classifier_weight=0.0, **hyper)
        value = loss(leaves[0], y, ref_emb=leaves[1])
    require_golden(value, dict(zip(SIDES, leaves, strict=True)), expected)


@pytest.mark.parametrize("case", FULL, ids=lambda case: case["name"])
def test_both_terms_match_the_release_in_all_its_modes(case):
    hyper = dict(case["hyper"])
    mode, contrast_type = hyper.pop("mode"), hyper.pop("contrast_type")
    hyper["concentration"] = {"HardNeg": 1.0, "Orig": 0.0}[contrast_type]
    if mode == "classification":
        hyper["beta"] = 0.0
    if mode == "contrastive":
        hyper["classifier_weight"] = 0.0
    leaves = leaves_of(case)
    loss = PairSupConLoss(case["dim"], **hyper).double()
    names = ["classify_weight", "proj_weight1", "proj_weight2"]
    parameters = [loss.classifier.weight, *loss.projection.parameters()]
    with torch.no_grad():
        for name, parameter in zip(names, parameters, strict=True):
            parameter.copy_(tensor(case[name]))
    all_leaves = dict(zip([*SIDES, *names], [*leaves, *parameters], strict=True))
    y = torch.tensor(case["pair_labels"])
    require_golden(loss(leaves[0], y, ref_emb=leaves[1]), all_leaves, case)

    loss.reducer = DoNothingReducer()
    found = loss(leaves[0], y, ref_emb=leaves[1])
    weights = {"instdisc_loss": hyper["beta"], "classification_loss": 1.0}
    for name in weights.keys() & case["losses"].keys():
        expected = tensor(weights[name] * case["losses"][name])
        torch.testing.assert_close(found[name]["losses"].mean(), expected, rtol=1e-9, atol=1e-12)
