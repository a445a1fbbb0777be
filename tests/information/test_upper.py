"""CLUB and leave-one-out: columns against rows, the released form, training by likelihood."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pml_proxyext.information import CLUB, L1Out, RowDonskerVaradhan

from .calls import normal, scores_of

SEEDS = st.integers(0, 10_000)


def test_leave_one_out_goes_down_columns():
    scores = torch.tensor([[1.0, 5.0, 9.0], [2.0, 1.0, 7.0], [4.0, 3.0, 1.0]])
    columns = [torch.tensor([2.0, 4.0]), torch.tensor([5.0, 3.0]), torch.tensor([9.0, 7.0])]
    expected = torch.stack([1 - column.exp().mean().log() for column in columns])
    torch.testing.assert_close(L1Out().per_row(scores), expected)
    torch.testing.assert_close(L1Out().per_row((torch.ones(3), torch.stack(columns))), expected)
    assert not torch.allclose(RowDonskerVaradhan().per_row(scores), expected)


@given(seed=SEEDS, scale=st.sampled_from([0.1, 3.0, 100.0]))
@settings(max_examples=25, deadline=None)
def test_leave_one_out_is_never_above_club(seed, scale):
    scores = normal(5, 5, seed=seed, scale=scale)
    assert L1Out()(scores) <= CLUB()(scores) + 1e-9 * scale


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_club_does_not_see_what_is_added_to_rows_or_columns(seed):
    scores = normal(5, 5, seed=seed)
    moved = scores + normal(5, 1, seed=seed + 1) + normal(1, 5, seed=seed + 2)
    torch.testing.assert_close(CLUB()(moved), CLUB()(scores))


@pytest.mark.parametrize("form", ["square", "pair"])
def test_the_released_form_takes_the_positive_into_the_mean(form):
    scores = scores_of(form, rows=5, negatives=4)
    torch.testing.assert_close(CLUB.as_released().per_row(scores), 0.8 * CLUB().per_row(scores))
    if form == "square":
        torch.testing.assert_close(CLUB.as_released()(scores), scores.diagonal().mean() - scores.mean())
    assert repr(CLUB.as_released()) == "CLUB(include_positive=True)"


@pytest.mark.parametrize("estimator", [CLUB(), CLUB.as_released(), L1Out()])
@pytest.mark.parametrize("form", ["square", "pair"])
def test_the_loss_is_the_negative_log_likelihood(estimator, form):
    scores = scores_of(form, seed=1)
    positive = scores.diagonal() if form == "square" else scores[0]
    torch.testing.assert_close(estimator.loss(scores), -positive.mean())
