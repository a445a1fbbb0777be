"""Gradients of both sides of the relations between pair, triplet and InfoNCE losses, against central differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pml_proxyext.bounds import REGISTRY, BoundBatch

# The circle loss is left out: PML takes its weights for constants, so its gradient is not that of its value.
FAMILIES = ("supcon.*", "nca.*", "ntxent.*", "npairs.*", "unif.*", "ms.*", "triplet.*", "lifted.*", "smoothap.*")
NAMES = [relation.id for relation in REGISTRY.select(*FAMILIES)]
WARM = {"temperature": 0.3}


@pytest.mark.parametrize("name", NAMES)
def test_gradients_agree_with_differences(name: str) -> None:
    relation = REGISTRY[name]
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(6, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    hyper = {key: WARM.get(key, one.default) for key, one in relation.hyper.items()}

    def sides(moved: Tensor) -> tuple[Tensor, Tensor]:
        # A floor that depends on the sizes alone has no graph; adding zero gives it one.
        lhs, rhs = relation.sides(BoundBatch(moved, torch.tensor([0, 0, 1, 1, 2, 2]), hyper=hyper))
        return lhs + 0 * moved.sum(), rhs + 0 * moved.sum()

    assert torch.autograd.gradcheck(sides, (embeddings,), fast_mode=True)
