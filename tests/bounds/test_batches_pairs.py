"""Losses on pairs and triplets: stored values of independent formulas and of PML, on the batches of the card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch

CASES = json.loads((Path(__file__).parents[1] / "golden" / "bounds_batches.json").read_text())["cases"]

# What is compared: (values of the batch, the name there) -> (relation, side). The relation admits only some batches.
NAMES = {
    ("numpy", "supcon_out"): ("supcon.in_le_out", "rhs"),
    ("numpy", "supcon_in"): ("supcon.in_le_out", "lhs"),
    ("numpy", "nca_cos"): ("nca.floor", "rhs"),
    ("numpy", "ntxent"): ("ntxent.range_hi", "lhs"),
    ("numpy", "triplet_hinge_cos_m0"): ("triplet.hinge_le_softplus", "lhs"),
    ("numpy", "triplet_softplus_cos_m0"): ("triplet.softplus_pml", "lhs"),
    ("numpy", "triplet_softplus_scaled"): ("triplet.softplus_le_ntxent", "lhs"),
    ("numpy", "triplet_hinge_l2"): ("triplet.le_batch_hard", "lhs"),
    ("numpy", "triplet_hinge_l2_avgnonzero"): ("triplet.le_contrastive_default_claim", "lhs"),
    ("numpy", "contrastive_l2_mean"): ("triplet.le_contrastive", "rhs"),
    ("pml", "contrastive_l2_default"): ("triplet.le_contrastive_default_claim", "rhs"),
    ("numpy", "margin_mean"): ("triplet.le_margin", "rhs"),
    ("pml", "margin_default"): ("triplet.le_margin_default_claim", "rhs"),
    ("numpy", "ms"): ("ms.sandwich_lo", "rhs"),
    ("numpy", "circle_mean"): ("circle.ge_hardest", "rhs"),
    ("numpy", "genlifted"): ("lifted.ge_batchhard", "rhs"),
    ("numpy", "lifted"): ("lifted.ge_half_sq", "rhs"),
    ("numpy", "dcl"): ("unif.dcl_le_ntxent", "lhs"),
    ("numpy", "uniformity_t2"): ("unif.simplex_floor", "rhs"),
    ("numpy", "B_uniformity_t2"): ("unif.simplex_floor", "lhs"),
}


def hyper_of(name: str, case: dict[str, Any]) -> dict[str, float]:
    """Give the hyper-parameters that a value was computed with, in the registry's words."""
    given = case["hp"]
    if name.endswith("_m0"):
        return {"margin": 0.0}
    if name.startswith("contrastive") or name.endswith("avgnonzero"):
        return {"pos_margin": given["pm"], "neg_margin": given["pm"] + given["m"]}
    if name.startswith("margin"):
        return {"margin": given["m"] / 2, "beta": 1.25}
    if name.startswith("ms"):
        return {key: given[key] for key in ("alpha", "beta", "base")}
    if name.startswith("circle"):
        return {"m": given["cm"], "gamma": given["g"]}
    return {"temperature": case["tau"], "margin": given["m"], "t": 2.0}


@pytest.mark.parametrize(("source", "name"), NAMES)
def test_values_agree(source: str, name: str) -> None:
    relation_name, side = NAMES[source, name]
    relation, compared = REGISTRY[relation_name], 0
    for case in CASES:
        embeddings = torch.tensor(case["embeddings"], dtype=torch.float64)
        hyper = hyper_of(name, case)
        batch = BoundBatch(embeddings, torch.tensor(case["labels"]), hyper=hyper)
        if name not in case[source] or relation.objections(batch):
            continue
        assert getattr(relation.evaluate(batch), side) == pytest.approx(case[source][name], rel=1e-9, abs=1e-9)
        compared += 1
    assert compared >= 10
