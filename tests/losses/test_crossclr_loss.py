from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pml_proxyext.losses import CrossCLRLoss
from pml_proxyext.losses.cross_modal_samples import CrossModalSamples

CASES = json.loads((Path(__file__).parents[1] / "golden" / "crossclr.json").read_text())["cases"]
RELEASED = [case for case in CASES if case["kind"] == "only_intra"]
FULL = [case for case in CASES if case["kind"] == "full"]


def tensor(rows: list[Any]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def require_golden(value: Tensor, leaves: list[Tensor], expected: dict[str, Any]) -> None:
    torch.testing.assert_close(value, tensor(expected["loss"]), rtol=1e-9, atol=1e-12)
    gradients = torch.autograd.grad(value, leaves)
    for gradient, name in zip(gradients, ("grad_a", "grad_b"), strict=True):
        torch.testing.assert_close(gradient, tensor(expected[name]), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("case", RELEASED, ids=lambda case: case["name"])
@pytest.mark.parametrize(
    ("expected", "switches"),
    [
        ("official", None),
        ("variant_self_dropped_weight_on_logit", {"weight_on": "logit"}),
        ("variant_paper_eq2_weight_on_exp", {}),
    ],
)
def test_the_release_and_its_two_departures_match_the_fixtures(case, expected, switches):
    leaves = [tensor(case[name]).requires_grad_() for name in ("emb_a", "emb_b")]
    if switches is None:
        loss = CrossCLRLoss.as_released(**case["hyper"])
    else:
        loss = CrossCLRLoss(**case["hyper"], weighting="none", prune_threshold=None, **switches)
    require_golden(loss(leaves[0], ref_emb=leaves[1]), leaves, case[expected])


def built(hyper: dict[str, Any]) -> CrossCLRLoss:
    assert hyper["cosine"]
    return CrossCLRLoss(
        temperature=hyper["tau"],
        negative_weight=hyper["lam"],
        weight_scale=hyper["kappa"],
        prune_threshold=hyper["gamma"],
        weighting=hyper["weighting"],
        weight_on=hyper["lam_on"],
        self_logit=hyper["self_logit"],
        score=hyper["score"],
        self_term=hyper["self_term"],
        intra_modality=hyper["intra"],
    )


def pool_of(case: dict[str, Any]) -> CrossModalSamples | None:
    """The batch has the ids 0, 1, ..., and stands in the queue at ``idx``."""
    queue = case["queue"]
    if queue is None:
        return None
    ids = torch.arange(100, 100 + len(queue["emb_a"]))
    ids[torch.tensor(queue["idx"])] = torch.arange(case["batch"])
    return CrossModalSamples(*(tensor(queue[name]) for name in ("emb_a", "emb_b", "raw_a", "raw_b")), ids)


@pytest.mark.parametrize("case", FULL, ids=lambda case: case["name"])
def test_the_full_loss_matches_the_fixtures(case):
    leaves = [tensor(case[name]).requires_grad_() for name in ("emb_a", "emb_b")]
    raw = {"input_emb": tensor(case["raw_a"]), "ref_input_emb": tensor(case["raw_b"])}
    value = built(case["hyper"])(leaves[0], torch.arange(case["batch"]), ref_emb=leaves[1], **raw, pool=pool_of(case))
    require_golden(value, leaves, case)
