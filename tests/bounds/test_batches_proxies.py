"""Losses with proxies: stored values of independent formulas and of PML, on the batches of the card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch

CASES = json.loads((Path(__file__).parents[1] / "golden" / "bounds_batches.json").read_text())["cases"]

# The name of a value -> the relations, the side of each, and how the relation calls the hyper-parameters of the batch.
NAMES = {
    "normsoftmax": [("softtriple.eq_ns", "lhs", {}), ("softtriple.eq_ns", "rhs", {})],
    "proxynca_s": [("proxynca.eq_normsoftmax", side, {"scale": "s"}) for side in ("lhs", "rhs")],
    "cosface": [("margin.cosface_ge_ns", "rhs", {"scale": "s", "margin": "am"})],
    "arcface": [("margin.arcface_ge_ns", "rhs", {"scale": "s", "margin": "am"})],
    "sphereface_m4": [("margin.sphereface_monotone", "lhs", {"scale": "sf"})],
    "proxyanchor": [
        ("proxyanchor.lo", "rhs", {"alpha": "pa", "margin": "pd"}),
        ("proxyanchor.ours_eq_pml", "lhs", {"alpha": "pa", "margin": "pd"}),
    ],
}
COMPARED = [(name, *where) for name, places in NAMES.items() for where in places]


def stored_batch(case: dict[str, Any]) -> BoundBatch:
    embeddings, proxies = (torch.tensor(case[name], dtype=torch.float64) for name in ("embeddings", "proxies"))
    return BoundBatch(embeddings, torch.tensor(case["labels"]), proxies)


@pytest.mark.parametrize(("name", "relation", "side", "hyper"), COMPARED, ids=lambda value: str(value))
def test_values_agree(name: str, relation: str, side: str, hyper: dict[str, str]) -> None:
    for case in CASES:
        given = {own: case["hp"][theirs] for own, theirs in hyper.items()} or {"la": 1 / case["tau"]}
        found = getattr(REGISTRY[relation].evaluate(stored_batch(case).given(**given)), side)
        # ArcFace goes through acos, which makes an angle of 1e-8 of a rounding error near 0.
        tolerance = 1e-7 if name == "arcface" else 1e-9
        assert found == pytest.approx(case["numpy"][name], rel=tolerance, abs=1e-12)
        assert found == pytest.approx(case["pml"][name], rel=tolerance, abs=1e-12)
