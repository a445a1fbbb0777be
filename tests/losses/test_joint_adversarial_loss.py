"""Both sides of the game against stored numbers, torch's cross-entropy, and the theory of its optimum."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from pml_proxyext.losses import JointAdversarialLoss

CASES = json.loads((Path(__file__).parents[1] / "golden" / "crossgan.json").read_text())["gan"]
GAME = JointAdversarialLoss()


def logits(seed: int = 0, n: int = 7) -> torch.Tensor:
    return 3 * torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("case", CASES, ids=["small", "large"])
def test_values_are_the_stored_ones(case):
    true, generated = (torch.tensor(case[name], dtype=torch.float64) for name in ("logit_real", "logit_fake"))
    assert GAME(true, generated).item() == pytest.approx(case["d_loss_bce"], rel=1e-9)
    assert GAME.generator_loss(generated).item() == pytest.approx(case["g_loss_nonsat"], rel=1e-9)
    # What the minimax game would have the generator lower.
    minimax = GAME.generator_loss(true) - GAME(true, generated)
    assert minimax.item() == pytest.approx(case["g_loss_minimax"], rel=1e-9)


def test_values_and_gradients_are_those_of_cross_entropy():
    for seed in range(20):
        true, generated = (logits(2 * seed + part).requires_grad_() for part in (0, 1))
        ones = torch.ones_like(true)
        pairs = [
            (
                GAME(true, generated),
                sum(binary_cross_entropy_with_logits(*p) for p in ((true, ones), (generated, 0 * ones))),
            ),
            (GAME.generator_loss(generated), binary_cross_entropy_with_logits(generated, ones)),
        ]
        for found, expected in pairs:
            torch.testing.assert_close(found, expected)
            inputs = [true, generated]
            for mine, theirs in zip(
                *(torch.autograd.grad(v, inputs, allow_unused=True) for v in (found, expected)), strict=True
            ):
                assert (mine is None) == (theirs is None)
                if mine is not None:
                    torch.testing.assert_close(mine, theirs)


def test_gradients_agree_with_finite_differences():
    true, generated = logits(1).requires_grad_(), logits(2).requires_grad_()
    assert torch.autograd.gradcheck(GAME, (true, generated))
    assert torch.autograd.gradcheck(GAME.generator_loss, generated)


def test_the_best_discriminator_is_the_log_ratio_and_measures_the_divergence():
    """Two coins as samples in exact proportion, so that means are expectations."""
    p, q = torch.tensor([0.8, 0.2], dtype=torch.float64), torch.tensor([0.3, 0.7], dtype=torch.float64)
    best = (p / q).log()
    true, generated = best.repeat_interleave(torch.tensor([8, 2])), best.repeat_interleave(torch.tensor([3, 7]))
    middle = (p + q) / 2
    divergence = ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()) / 2
    assert GAME(true, generated).item() == pytest.approx(math.log(4) - 2 * divergence.item())
    for nudge in (-0.1, 0.1):
        assert GAME(true + nudge, generated + nudge) > GAME(true, generated)


def test_a_sure_discriminator_still_teaches_the_generator():
    generated = torch.full((3,), -200.0, requires_grad=True)
    loss = GAME.generator_loss(generated)
    loss.backward()
    assert loss.item() == pytest.approx(200)
    torch.testing.assert_close(generated.grad, torch.full((3,), -1 / 3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_left_before_anything_is_summed(dtype):
    true, generated = logits(1, 64).to(dtype), logits(2, 64).to(dtype)
    value = GAME(true, generated)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), GAME(true.double(), generated.double()), rtol=1e-5, atol=0)


def test_nan_is_visible():
    broken = torch.tensor([0.0, math.nan])
    assert GAME(broken, torch.zeros(2)).isnan()
    assert GAME(torch.zeros(2), broken).isnan()
    assert GAME.generator_loss(broken).isnan()


def test_compiles_into_one_graph():
    compiled = torch.compile(GAME, fullgraph=True, backend="aot_eager")
    true, generated = logits(1), logits(2)
    torch.testing.assert_close(compiled(true, generated), GAME(true, generated))
