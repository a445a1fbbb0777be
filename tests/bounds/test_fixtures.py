"""Both sides of every relation of the card against numbers computed independently of this package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch, Kind

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "bounds_relations.json").read_text())
KINDS = {"le": Kind.AT_MOST, "eq": Kind.EQUAL, "refuted": Kind.REFUTED}
# 29 pairs of this case coincide. The fixture's logarithms of 2 - 2 cos are of nothing but rounding errors there.
UNREPEATABLE = {("entropy.logdist", 0)}
ALL_CASES = {(name, index): case for name in GOLDEN for index, case in enumerate(GOLDEN[name]["cases"])}
CASES = [key for key in ALL_CASES if key not in UNREPEATABLE]

# The fixtures' names of hyper-parameters, and PML's, which the registry uses.
NAMES = {
    "lam": "lambda_",
    "tau": "temperature",
    "m": "margin",
    "s": "scale",
    "sc": "scale",
    "pm": "pos_margin",
    "nm": "neg_margin",
    "al": "margin",
    "a": "alpha",
    "d": "margin",
    "la": "la",
    "g": "gamma",
    "eps": "eps",
    "k1": "kappa_1",
    "k2": "kappa_2",
}
NAMES_OF_CIRCLE = {"m": "m", "g": "gamma"}


def fixture_batch(name: str, case: dict[str, Any]) -> BoundBatch:
    """Give the batch of a fixture in the registry's words."""
    names = {**NAMES, **(NAMES_OF_CIRCLE if name.startswith("circle.") else {})}
    hyper = {names.get(key, key): value for key, value in case["hp"].items()}
    if "tau2" in hyper:
        hyper["temperature_ratio"] = hyper.pop("tau2") / hyper["temperature"]
    if "m2" in hyper:
        hyper["margin_step"] = hyper.pop("m2") - hyper["margin"]
    proxies = None if case["proxies"] is None else torch.tensor(case["proxies"], dtype=torch.float64)
    embeddings = torch.tensor(case["embeddings"], dtype=torch.float64)
    return BoundBatch(embeddings, torch.tensor(case["labels"]), proxies, hyper)


def test_every_relation_of_the_card_is_registered() -> None:
    assert set(GOLDEN) <= set(REGISTRY)
    assert all(KINDS[GOLDEN[name]["kind"]] is REGISTRY[name].kind for name in GOLDEN)


@pytest.mark.parametrize(("name", "index"), CASES)
def test_both_sides_agree_with_the_fixture(name: str, index: int) -> None:
    case = GOLDEN[name]["cases"][index]
    lhs, rhs = REGISTRY[name].sides(fixture_batch(name, case))
    assert lhs.dtype == rhs.dtype == torch.float64
    # 1e-9, and 1e-7 where PML goes through cdist or acos, which lose half of the digits.
    tolerance = max(1e-9, REGISTRY[name].rtol)
    assert lhs.item() == pytest.approx(case["lhs"], rel=tolerance, abs=tolerance)
    assert rhs.item() == pytest.approx(case["rhs"], rel=tolerance, abs=tolerance)
