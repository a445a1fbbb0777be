"""Donsker-Varadhan: shifts, and the moving mean of MINE, which touches gradients only."""

from __future__ import annotations

import math

import pytest
import torch

from pml_proxyext.information import DonskerVaradhan, RowDonskerVaradhan

from .calls import normal, scores_of


def gradient(value, scores):
    return torch.autograd.grad(value, scores)[0]


def off_diagonal_mean(scores):
    return scores.exp()[~torch.eye(len(scores), dtype=torch.bool)].mean()


def test_only_a_shift_of_all_scores_leaves_the_batch_value_and_of_a_row_the_row_s():
    scores, shifts = normal(5, 5, seed=1), normal(5, 1, seed=2)
    batch, row = DonskerVaradhan(), RowDonskerVaradhan()
    torch.testing.assert_close(batch(scores + 3), batch(scores))
    assert not torch.isclose(batch(scores + shifts), batch(scores))
    torch.testing.assert_close(row.per_row(scores + shifts), row.per_row(scores))


def test_scores_of_any_size_are_no_trouble():
    scores = torch.tensor([[900.0, -900.0], [800.0, -900.0]])
    assert DonskerVaradhan()(scores).item() == pytest.approx(0 - (800 - math.log(2)))
    assert RowDonskerVaradhan().per_row(scores).tolist() == [1800.0, -1700.0]


def test_mine_divides_by_a_moving_mean():
    estimator = DonskerVaradhan(ema=0.9)
    moving = None
    for seed in range(4):
        scores = normal(5, 5, seed=seed).requires_grad_()
        loss = estimator.loss(scores)
        torch.testing.assert_close(loss, -DonskerVaradhan()(scores))
        mean = off_diagonal_mean(scores)
        moving = mean.detach() if moving is None else 0.9 * moving + 0.1 * mean.detach()
        expected = gradient(mean / moving - scores.diagonal().mean(), scores)
        # The moving mean is kept in float32.
        torch.testing.assert_close(gradient(loss, scores), expected, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(estimator.log_moving_mean.exp().double(), moving, rtol=1e-5, atol=0)
    assert not torch.allclose(expected, gradient(DonskerVaradhan().loss(scores), scores), rtol=1e-2)


def test_the_moving_mean_is_for_training_and_for_the_loss():
    estimator = DonskerVaradhan(ema=0.5)
    estimator.loss(normal(4, 4, seed=1))
    before = estimator.log_moving_mean.clone()
    scores = normal(4, 4, seed=2).requires_grad_()
    torch.testing.assert_close(estimator(scores), DonskerVaradhan()(scores))
    estimator.eval()
    grad = gradient(estimator.loss(scores), scores)
    torch.testing.assert_close(grad, gradient(DonskerVaradhan().loss(scores), scores))
    assert estimator.log_moving_mean == before
    estimator.train().loss(scores)
    assert estimator.log_moving_mean != before


def test_the_moving_mean_survives_a_checkpoint():
    trained, restored = DonskerVaradhan(ema=0.8), DonskerVaradhan(ema=0.8)
    trained.loss(normal(4, 4, seed=1, scale=3.0))
    restored.load_state_dict(trained.state_dict())
    scores = normal(4, 4, seed=2).requires_grad_()
    expected = gradient(trained.loss(scores), scores)
    torch.testing.assert_close(gradient(restored.loss(scores), scores), expected, rtol=0, atol=0)
    assert not torch.allclose(gradient(DonskerVaradhan(ema=0.8).loss(scores), scores), expected, rtol=1e-2)


def test_a_plain_estimator_has_no_state():
    assert DonskerVaradhan().state_dict() == {}
    assert DonskerVaradhan(ema=0.9).state_dict().keys() == {"log_moving_mean"}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_batch_that_is_not_finite_shows_and_leaves_the_moving_mean(bad):
    estimator = DonskerVaradhan(ema=0.9)
    good = normal(4, 4, seed=1)
    estimator.loss(good)
    before = estimator.log_moving_mean.clone()
    broken = good.clone()
    broken[0, 1] = bad
    assert not estimator.loss(broken).isfinite()
    assert estimator.log_moving_mean == before


def test_huge_scores_keep_the_moving_mean_and_its_gradient_finite():
    estimator = DonskerVaradhan(ema=0.9)
    estimator.loss(normal(4, 4, seed=1))
    scores = (1e4 * torch.eye(4).roll(1, 0)).requires_grad_()
    grad = gradient(estimator.loss(scores), scores)
    # The batch has nearly all of the moving mean, so that the factor is 1 / (1 - 0.9).
    assert grad.sum().item() == pytest.approx(10 - 1, rel=1e-3)


@pytest.mark.parametrize("ema", [0.0, 1.0, -0.5, 2.0, math.nan, "0.9"])
def test_a_decay_is_inside_the_unit_interval(ema):
    with pytest.raises(ValueError, match="ema must be"):
        DonskerVaradhan(ema=ema)


def test_the_decay_is_shown():
    assert repr(DonskerVaradhan(ema=0.9)) == "DonskerVaradhan(ema=0.9)"
    assert repr(DonskerVaradhan()) == "DonskerVaradhan()"


def test_a_row_of_a_pair_has_its_own_normaliser():
    positive, negatives = scores_of("pair", rows=3, negatives=6)
    one_by_one = [RowDonskerVaradhan()((positive[i : i + 1], negatives[i : i + 1])) for i in range(3)]
    torch.testing.assert_close(RowDonskerVaradhan().per_row((positive, negatives)), torch.stack(one_by_one))
