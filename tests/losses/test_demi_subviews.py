from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pml_proxyext.losses.demi_subviews import both_subviews, check_widths, take_subview

ROWS = torch.arange(12.0).view(2, 6)


@pytest.mark.parametrize(
    ("subview", "columns"),
    [(None, [0, 1, 2]), (slice(1, 3), [1, 2]), (slice(None, None, 4), [0, 4]), (lambda z: z.flip(1), range(5, -1, -1))],
)
def test_a_subview_is_a_part_or_a_function(subview, columns):
    assert torch.equal(take_subview(subview, ROWS), ROWS[:, list(columns)])


def test_an_odd_width_is_halved_downwards():
    assert take_subview(None, ROWS[:, :5]).shape == (2, 2)


@pytest.mark.parametrize(("subview", "width"), [(None, 1), (slice(6, None), 6), (slice(0), 6)])
def test_a_subview_without_coordinates_is_refused(subview, width):
    with pytest.raises(ValueError, match=f"subview must take at least one coordinate, got .* of width {width}"):
        take_subview(subview, ROWS[:, :width])


@pytest.mark.parametrize("wrong", [lambda z: z[:, 0], lambda z: z.long()])
def test_a_function_must_return_a_matrix_of_numbers(wrong):
    with pytest.raises(ValueError, match="the subview must"):
        take_subview(wrong, ROWS)


def test_one_batch_has_one_subview_and_two_have_the_same_function_of_each():
    calls = []

    def first(rows: Tensor) -> Tensor:
        calls.append(rows)
        return rows[:, :1]

    one, same = both_subviews(first, ROWS, ROWS, None, None)
    assert one is same
    other = ROWS + 1
    assert torch.equal(both_subviews(first, ROWS, other, None, None)[1], other[:, :1])
    assert len(calls) == 3


def test_given_subviews_count_and_are_compared_with_the_whole_second_view_unless_told_otherwise():
    given, other = ROWS - 1, ROWS + 1
    for found, expected in zip(both_subviews(None, ROWS, other, given, None), (given, other), strict=True):
        assert torch.equal(found, expected)
    assert torch.equal(both_subviews(None, ROWS, other, given, given)[1], given)
    assert both_subviews(None, ROWS.double(), other, given.half(), None)[0].dtype == torch.float64


def test_different_widths_are_refused():
    check_widths(ROWS, ROWS)
    with pytest.raises(ValueError, match=r"sub_emb must be as wide as sub_ref_emb .* got widths 6 and 5"):
        check_widths(ROWS, ROWS[:, 1:])
