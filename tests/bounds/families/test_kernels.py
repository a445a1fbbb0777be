"""Kernels of von Mises-Fisher distributions by quadrature on the circle, and of Gaussians by quadrature on the line."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch

ANGLES = np.linspace(0, 2 * math.pi, 4096, endpoint=False)
STEP = 2 * math.pi / len(ANGLES)


def circle_batch(kappa_1: float, kappa_2: float) -> tuple[BoundBatch, np.ndarray, np.ndarray]:
    """Give a batch whose first and last samples are at the angles 0.4 and 2, and both densities on a grid."""
    rows = [[math.cos(0.4), math.sin(0.4)], [3.0, 1.0], [2 * math.cos(2.0), 2 * math.sin(2.0)]]
    batch = BoundBatch(torch.tensor(rows, dtype=torch.float64), torch.tensor([0, 0, 1]))
    p, q = (np.exp(kappa * np.cos(ANGLES - mean)) for kappa, mean in ((kappa_1, 0.4), (kappa_2, 2.0)))
    return batch.given(kappa_1=kappa_1, kappa_2=kappa_2), p / (p.sum() * STEP), q / (q.sum() * STEP)


@pytest.mark.parametrize(("kappa_1", "kappa_2"), [(0.0, 3.0), (5.0, 5.0), (40.0, 2.0)])
def test_kernels_are_integrals(kappa_1: float, kappa_2: float) -> None:
    batch, p, q = circle_batch(kappa_1, kappa_2)
    log_bc, log_elk = math.log((np.sqrt(p * q)).sum() * STEP), math.log((p * q).sum() * STEP)
    selves = math.log((p * p).sum() * STEP) + math.log((q * q).sum() * STEP)
    kl = (p * (np.log(p) - np.log(q))).sum() * STEP
    suprema = math.log(p.max()) + math.log(q.max())
    expected = {
        "vmf.bc_le1": (log_bc, 0.0),
        "vmf.elk_cs": (2 * log_elk, selves),
        "vmf.kl_bc": (-2 * log_bc, kl),
    }
    for name, values in expected.items():
        found = REGISTRY[name].evaluate(batch)
        assert (found.lhs, found.rhs) == pytest.approx(values, rel=1e-9, abs=1e-12)
    found = REGISTRY["vmf.elk_le_bc"].evaluate(batch)
    assert found.lhs == pytest.approx(log_elk, rel=1e-9)
    # The grid misses the modes by half a step, where the density is lower by kappa (STEP / 2)^2 / 2 at most.
    assert found.rhs == pytest.approx(log_bc + suprema / 2, abs=(kappa_1 + kappa_2) * STEP**2 / 16)


def test_gaussians_are_drawn_anew_for_every_batch_and_lose_their_spread_at_zero() -> None:
    one, other = (BoundBatch(torch.eye(3) + shift, torch.tensor([0, 0, 1])) for shift in (0.0, 0.1))
    bound = REGISTRY["gauss.bd_maha"]
    assert bound.evaluate(one).rhs - bound.evaluate(one).lhs != bound.evaluate(other).rhs - bound.evaluate(other).lhs
    found = REGISTRY["gauss.bd_kl"].evaluate(one.given(spread=0.0))
    assert (found.lhs, found.rhs) == pytest.approx((2 / 4, 2 / 2), rel=1e-12)  # squared distance 2, unit variances


def test_gaussian_divergences_by_quadrature() -> None:
    # The last two coordinates are equal in both means, and of D independent coordinates divergences add up.
    batch = BoundBatch(torch.tensor([[0.3, 0.1], [2.0, 5.0], [1.1, 0.1]]), torch.tensor([0, 0, 1]))
    draws = np.random.default_rng(int(abs(batch.embeddings.numpy().sum()) * 1e6) % 2**31).standard_normal((2, 2))
    grid, distance, divergence = np.linspace(-60, 60, 240001), 0.0, 0.0
    for column in range(2):
        logs = []
        for row, log_variance in zip((0, -1), draws[:, column], strict=True):
            squared = (grid - float(batch.embeddings[row, column])) ** 2 / math.exp(log_variance)
            logs.append(-squared / 2 - math.log(2 * math.pi) / 2 - log_variance / 2)
        distance -= math.log((np.exp((logs[0] + logs[1]) / 2)).sum() * 5e-4)
        divergence += (np.exp(logs[0]) * (logs[0] - logs[1])).sum() * 5e-4
    found = REGISTRY["gauss.bd_kl"].evaluate(batch)
    assert (found.lhs, found.rhs) == pytest.approx((2 * distance, divergence), rel=1e-9)


@pytest.mark.parametrize("name", ["prob.mcinfonce_jensen", "prob.hib_jensen"])
def test_noise_is_always_the_same_and_leaves_the_random_state_alone(name: str) -> None:
    batch = BoundBatch(torch.eye(4), torch.tensor([0, 0, 1, 1]))
    before = torch.get_rng_state()
    first, second = (REGISTRY[name].evaluate(batch) for _ in range(2))
    assert (first.lhs, first.rhs) == (second.lhs, second.rhs)
    assert first.slack > 1e-6
    assert torch.equal(torch.get_rng_state(), before)
