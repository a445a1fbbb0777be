"""Who owns what. What ranks compute of their slices is tested with ShardedProxies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pml_proxyext.losses import NIRLoss, NivMFLoss
from pml_proxyext.wrappers.rank_slices import RankSlice, class_axis, class_range


@given(st.integers(1, 10**7), st.integers(1, 64))
def test_ranks_share_all_classes_evenly_and_in_order(num_classes: int, world_size: int) -> None:
    ranges = [class_range(num_classes, rank, world_size) for rank in range(world_size)]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == num_classes
    assert all(stop == first for (_, stop), (first, _) in zip(ranges[:-1], ranges[1:], strict=True))
    sizes = {stop - first for first, stop in ranges}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("name", "axis"),
    [("W", 1), ("proxies", 0), ("slice.loss.proxies", 0), ("concentrations", 0), ("flow.W.weight", None)],
)
def test_classes_lie_in_parameters_of_known_names(name: str, axis: int | None) -> None:
    assert class_axis(name) == axis


def test_all_but_the_classes_is_shared() -> None:
    assert list(RankSlice(NivMFLoss(5, 4), 0, 5).shared_parameters()) == ["loss.log_temperature"]
    nir = RankSlice(NIRLoss(5, 4), 0, 5)
    assert all(name.startswith("loss.flow.") for name in nir.shared_parameters())
    assert len(nir.shared_parameters()) == len(list(nir.loss.parameters())) - 1
    assert nir.base is nir.loss.proxy_loss
