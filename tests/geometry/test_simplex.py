"""The regular simplex by its defining cosines, in every dimension that has room for it."""

import pytest
import torch

from pml_proxyext.geometry import regular_simplex


@pytest.mark.parametrize(("num_vertices", "dim"), [(2, 1), (2, 5), (3, 2), (5, 4), (5, 5), (100, 99), (100, 128)])
def test_vertices_are_unit_vectors_with_equal_cosines_that_sum_to_zero(num_vertices, dim):
    simplex = regular_simplex(num_vertices, dim, dtype=torch.float64)
    cosines = torch.full((num_vertices, num_vertices), -1 / (num_vertices - 1), dtype=torch.float64)
    assert simplex.shape == (num_vertices, dim)
    torch.testing.assert_close(simplex @ simplex.T, cosines.fill_diagonal_(1.0), rtol=0, atol=1e-14)
    assert simplex.sum(0).abs().max() < 1e-13
    assert simplex[:, num_vertices - 1 :].count_nonzero() == 0


def test_other_precisions_are_the_rounded_float64_simplex():
    exact = regular_simplex(7, 9, dtype=torch.float64)
    assert regular_simplex(7, 9).dtype == torch.get_default_dtype()
    for dtype in (torch.float32, torch.bfloat16):
        assert torch.equal(regular_simplex(7, 9, dtype=dtype), exact.to(dtype))


def test_too_few_vertices_or_coordinates_are_refused():
    with pytest.raises(ValueError, match="num_vertices must be an integer >= 2, got 1"):
        regular_simplex(1, 4)
    with pytest.raises(ValueError, match="dim must be an integer >= 4, got 3"):
        regular_simplex(5, 3)
