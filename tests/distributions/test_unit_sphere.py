"""Membership of the unit sphere, to the resolution of each dtype."""

import pytest
import torch
from torch.nn.functional import normalize

from pml_proxyext.distributions import unit_sphere


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_rounded_unit_vectors_belong_and_others_do_not(dtype):
    vectors = normalize(torch.randn(200, 512, generator=torch.Generator().manual_seed(0)), dim=1)
    assert unit_sphere.check(vectors.to(dtype)).all()
    assert not unit_sphere.check((1.1 * vectors).to(dtype)).any()
    assert unit_sphere.check(vectors.to(dtype)).shape == (200,)


def test_nan_and_zero_do_not_belong():
    assert unit_sphere.check(torch.tensor([[0.0, 0.0], [float("nan"), 1.0]])).tolist() == [False, False]
