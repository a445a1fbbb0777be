"""Floors of cross-entropy and SupCon in the registry: stored batches and minima, and loops over PML's loss."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss
from pytorch_metric_learning.reducers import SumReducer

from pml_proxyext.bounds import REGISTRY, BoundBatch, witnesses

GOLDEN = Path(__file__).parents[2] / "golden"
BATCHES = json.loads((GOLDEN / "bounds_batches.json").read_text())["cases"]
MINIMA = json.loads((GOLDEN / "bounds_minima.json").read_text())


def stored(case: dict[str, Any]) -> BoundBatch:
    embeddings, proxies = (torch.tensor(case[name], dtype=torch.float64) for name in ("embeddings", "proxies"))
    return BoundBatch(embeddings, torch.tensor(case["labels"]), proxies, {"temperature": case["tau"]})


@pytest.mark.parametrize("case", BATCHES, ids=range(len(BATCHES)))
def test_values_of_the_stored_batches(case: dict[str, Any]) -> None:
    batch = stored(case)
    sides = {
        "graf.sc_stats": ("B_sc_stats", "supcon_out"),
        "graf.sc_unbalanced_claim": ("B_sc_simplex_formula", "supcon_out"),
        "graf.sc_universal": ("B_sc_universal", "supcon_out"),
        "graf.ce_any_labels": ("B_ce_any_labels", "ce_raw"),
    }
    if case["kind"] == "proxy_balanced":
        sides["graf.ce_fro"] = ("B_ce_balanced_formula", "ce_raw")
        sides["graf.normsoftmax"] = ("B_normsoftmax_simplex", "normsoftmax")
    for name, (lhs, rhs) in sides.items():
        relation = REGISTRY[name]
        assert relation.lhs.value(batch).item() == pytest.approx(case["numpy"][lhs], rel=1e-9, abs=1e-12), name
        assert relation.rhs.value(batch).item() == pytest.approx(case["numpy"][rhs], rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize("case", MINIMA["supcon_batch_minimum"], ids=lambda case: f"{case['counts']}@{case['tau']}")
def test_exact_minima_are_the_stored_ones(case: dict[str, Any]) -> None:
    batch = witnesses.poles(case["counts"], temperature=case["tau"])
    certified, simplex = REGISTRY["graf.sc_minimum_le_simplex"].sides(batch)
    antipodal, found = REGISTRY["graf.sc_antipodal_le_minimum"].sides(batch)
    assert certified <= found
    # The stored dual bounds are up to 2e-9 below the stored minima.
    assert certified.item() == pytest.approx(case["minimum"], rel=2e-9)
    assert found.item() == pytest.approx(case["minimum"], rel=2e-9)
    assert simplex.item() == pytest.approx(case["simplex_formula"], rel=1e-9)
    assert antipodal.item() == pytest.approx(case["antipodal_floor"], rel=1e-9)


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_total_is_the_sum_of_pml_losses_over_all_multisets(num_classes: int) -> None:
    # Each class has a third sample, which is in no multiset; nor are the classes after the third.
    generator = torch.Generator().manual_seed(num_classes)
    labels = torch.arange(num_classes).repeat(3)[torch.randperm(3 * num_classes, generator=generator)]
    embeddings = torch.randn(len(labels), 4, generator=generator, dtype=torch.float64)
    taken = [i for k in range(min(num_classes, 3)) for i in torch.where(labels == k)[0][:2].tolist()]
    loss_func = SupConLoss(temperature=0.4, reducer=SumReducer())
    total = 0.0
    for draw in itertools.combinations_with_replacement(taken, 4):
        # PML returns 0 for a batch of one class, which the theorem counts like any other.
        if len(set(labels[list(draw)].tolist())) > 1:
            total += loss_func(embeddings[list(draw)], labels[list(draw)]).item()
        else:
            total += one_class_loss(embeddings[list(draw)], 0.4)
    batch = BoundBatch(embeddings, labels, hyper={"temperature": 0.4})
    floor, value = REGISTRY["graf.sc_total"].sides(batch)
    assert value.item() == pytest.approx(total, rel=1e-11)
    assert floor < value


def one_class_loss(embeddings: torch.Tensor, temperature: float) -> float:
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    value = 0.0
    for i in range(len(unit)):
        others = [float(unit[i] @ unit[j]) / temperature for j in range(len(unit)) if j != i]
        value += torch.tensor(others, dtype=torch.float64).logsumexp(0).item() - sum(others) / len(others)
    return value


def test_floor_of_the_total_is_the_stored_one() -> None:
    (case,) = (
        case for case in MINIMA["graf_all_batches"] if (case["K"], case["n_per_class"], case["batch"]) == (3, 2, 4)
    )
    lhs, rhs = REGISTRY["graf.sc_total"].sides(witnesses.simplex(3, 2, temperature=case["tau"]))
    assert lhs.item() == pytest.approx(case["total"], rel=1e-12)
    assert rhs.item() == pytest.approx(case["total"], rel=1e-12)


def test_minimum_can_be_computed_where_gradients_are_switched_off() -> None:
    with torch.no_grad():
        assert REGISTRY["graf.sc_minimum"].sides(witnesses.simplex(2, 2, temperature=2.5))[0] > 0


@pytest.mark.parametrize(
    "relation", ["graf.sc_balanced", "graf.sc_stats", "graf.ce_fro", "graf.ce_wd", "graf.sc_total"]
)
def test_slack_has_a_gradient_that_agrees_with_differences(relation: str) -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings, proxies = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (6, 3))
    batch = BoundBatch(embeddings, torch.tensor([0, 1, 2, 0, 1, 2]), proxies, {"lambda_": 0.1, "temperature": 0.7})

    def slack(embeddings: torch.Tensor) -> torch.Tensor:
        lhs, rhs = REGISTRY[relation].sides(batch.moved(embeddings))
        return rhs - lhs

    assert torch.autograd.gradcheck(slack, (embeddings.requires_grad_(),))
