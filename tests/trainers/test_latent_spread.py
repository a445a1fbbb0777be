"""Trace and effective rank against eigenvalues by numpy, and where they are known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pml_proxyext.trainers.latent_spread import LatentSpread


@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 10_000))
def test_both_are_those_of_numpys_eigenvalues(rows, width, seed):
    latents = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    eigenvalues = np.linalg.eigvalsh(np.atleast_2d(np.cov(latents.double().numpy().T)))
    shares = eigenvalues[eigenvalues > 1e-12 * eigenvalues.max()] / eigenvalues.sum()
    found = LatentSpread.of(latents)
    assert found.trace == pytest.approx(eigenvalues.sum(), rel=1e-6)
    assert found.effective_rank == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-4)
    assert 1 - 1e-9 <= found.effective_rank <= min(rows - 1, width) + 1e-9


def test_even_directions_count_one_each_and_scale_does_not_matter():
    cross = torch.cat([torch.eye(5), -torch.eye(5)]) * 0.01
    found = LatentSpread.of(torch.cat([cross, torch.zeros(10, 3)], dim=1) + 7)
    assert found.effective_rank == pytest.approx(5, rel=1e-3)
    assert found.trace == pytest.approx(10 * 1e-4 / 9, rel=1e-3)


def test_collapse_is_zero_and_what_is_not_finite_is_nan():
    assert LatentSpread.of(torch.ones(4, 3)) == (0, 0)
    assert all(math.isnan(value) for value in LatentSpread.of(torch.tensor([[0.0], [math.inf]])))
