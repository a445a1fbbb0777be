"""Gradients of both sides of the relations between losses with proxies, kernels and our own, by differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pml_proxyext.bounds import REGISTRY, BoundBatch

# The variances of Gaussians are drawn anew when the sum of the embeddings changes, so these have no derivative.
FAMILIES = ("proxynca.*", "proxyanchor.*", "softtriple.*", "margin.*", "vmf.*", "prob.*", "nivmf.*", "nir.*", "abe.*",
            "binomial.*", "crossentropy.*")  # fmt: skip
NAMES = [relation.id for relation in REGISTRY.select(*FAMILIES)]
MILD = {"temperature": 0.5, "scale": 2.0, "alpha": 4.0, "la": 4.0, "kappa_1": 5.0, "kappa_2": 3.0, "norm_ratio": 1.5}


@pytest.mark.parametrize("name", NAMES)
def test_gradients_agree_with_differences(name: str) -> None:
    relation = REGISTRY[name]
    rows = torch.randn(9, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    embeddings = rows[:6].clone().requires_grad_()
    hyper = {key: MILD.get(key, one.default) for key, one in relation.hyper.items()}
    if relation.id.startswith("margin.") and relation.hyper["scale"].high < 2:
        hyper["scale"] = 1.0

    def sides(moved: Tensor) -> tuple[Tensor, Tensor]:
        lhs, rhs = relation.sides(BoundBatch(moved, torch.tensor([0, 0, 1, 1, 2, 2]), rows[6:], hyper))
        return lhs + 0 * moved.sum(), rhs + 0 * moved.sum()  # constants have no graph of their own

    assert torch.autograd.gradcheck(sides, (embeddings,), fast_mode=True)
