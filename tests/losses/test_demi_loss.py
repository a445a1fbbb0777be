from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pytorch_metric_learning import miners
from pytorch_metric_learning.distances import DotProductSimilarity, LpDistance
from pytorch_metric_learning.losses import NTXentLoss
from pytorch_metric_learning.reducers import DoNothingReducer
from pytorch_metric_learning.utils.loss_and_miner_utils import get_all_pairs_indices, get_all_triplets_indices
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from pml_proxyext.losses import DEMILoss
from pml_proxyext.wrappers import CrossBatchMemory, DistributedLossWrapper, SelfSupervisedLoss

CASES = json.loads((Path(__file__).parents[1] / "golden" / "demi_loss.json").read_text())["cases"]
MANY = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 10_000)
PARTS = st.sampled_from(["boosted", "is"])


def tensor(rows: list[Any]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_it_matches_the_fixtures(case):
    leaves = {name: tensor(case[name]).requires_grad_() for name in ("embeddings", "ref_emb") if name in case}
    labels = {name: torch.tensor(case[name]) for name in ("labels", "ref_labels") if name in case}
    settings_of_case = {name: case[name] for name in ("cond_weight", "temperature", "detach_sub")}
    loss = DEMILoss(slice(case["sub_dims"]), case["mode"], **settings_of_case, collect_stats=True)
    expected = case["expected"]
    value = loss(**leaves, **labels)
    torch.testing.assert_close(value, tensor(expected["loss"]), rtol=1e-9, atol=1e-12)
    for leaf, gradient in zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True):
        torch.testing.assert_close(gradient, tensor(expected[f"grad_{leaf}"]), rtol=1e-8, atol=1e-11)
    for name in ("bound_sub", "bound_cond"):
        assert getattr(loss, name) == pytest.approx(expected[name], rel=1e-9, abs=1e-12)
    loss.reducer = DoNothingReducer()
    found = loss(**leaves, **labels)["loss"]
    assert torch.stack(found["indices"], 1).tolist() == expected["pairs"]
    torch.testing.assert_close(found["losses"], tensor(expected["losses_per_pair"]), rtol=1e-9, atol=1e-12)
    sub = DEMILoss(slice(case["sub_dims"]), temperature=case["temperature"], cond_weight=0.0)(**leaves, **labels)
    torch.testing.assert_close(sub, tensor(expected["loss_sub"]), rtol=1e-9, atol=1e-12)
