"""Who owns what. What ranks compute of their slices is tested with ShardedProxies."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning.losses import ArcFaceLoss

from pml_proxyext.losses import NIRLoss, NivMFLoss
from pml_proxyext.wrappers.rank_slices import RankSlice, class_range


@given(st.integers(1, 10**7), st.integers(1, 64))
def test_ranks_share_all_classes_evenly_and_in_order(num_classes: int, world_size: int) -> None:
    ranges = [class_range(num_classes, rank, world_size) for rank in range(world_size)]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == num_classes
    assert all(stop == first for (_, stop), (first, _) in pairwise(ranges))
    sizes = {stop - first for first, stop in ranges}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("loss", "axes"),
    [
        (NivMFLoss(4, 4), {"proxies": 0, "concentrations": 0}),
        (NivMFLoss(5, 4, "cosine"), {"proxies": 0}),
        (ArcFaceLoss(4, 4), {"W": 1}),
        (ArcFaceLoss(1, 4), {"W": 1}),
        (NivMFLoss(1, 4), {"proxies": 0, "concentrations": 0}),
        (NIRLoss(4, 4), {"proxy_loss.proxies": 0}),
        (NIRLoss(4, 4, ArcFaceLoss(4, 4)), {"proxy_loss.W": 1}),
    ],
    ids=lambda value: "" if isinstance(value, dict) else type(value).__name__,
)
def test_dimension_of_the_classes_is_found(loss: Any, axes: dict[str, int]) -> None:
    assert RankSlice(loss, 0, 5).class_axes == axes


def test_all_but_the_classes_is_shared() -> None:
    assert list(RankSlice(NivMFLoss(5, 4), 0, 5).shared_parameters()) == ["log_temperature"]
    nir = RankSlice(NIRLoss(5, 4), 0, 5)
    assert all(name.startswith("flow.") for name in nir.shared_parameters())
    assert len(nir.shared_parameters()) == len(list(nir.loss.parameters())) - 1
    assert nir.base is nir.loss.proxy_loss
